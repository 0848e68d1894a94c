//! What a program tries that believes itself at home: files, environment, input, sockets, names. Each outcome in words.

use std::io::Read;
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::{env, fs, io};

pub fn read_file(path: &str) -> String {
    let folder = fs::read_dir(path).map(|entries| entries.count());
    told(
        fs::read_to_string(path).or_else(|error| folder.map(|entries| format!("{entries} entries")).map_err(|_| error)),
    )
}

pub fn write_file(path: &str) -> String {
    told(fs::write(path, "found").map(|()| "written".to_owned()))
}

pub fn environment() -> String {
    format!(
        "{} variables, {} arguments",
        env::vars_os().count(),
        env::args_os().count()
    )
}

pub fn input() -> String {
    let mut text = String::new();
    told(
        io::stdin()
            .read_to_string(&mut text)
            .map(|bytes| format!("{bytes} bytes")),
    )
}

pub fn connect(address: &str) -> String {
    told(TcpStream::connect(address).map(|_| "connected".to_owned()))
}

pub fn datagram(address: &str) -> String {
    let sent = UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"hello", address));
    told(sent.map(|bytes| format!("{bytes} bytes sent")))
}

pub fn listen(address: &str) -> String {
    told(TcpListener::bind(address).map(|_| "listening".to_owned()))
}

pub fn lookup(name: &str) -> String {
    told(
        (name, 80)
            .to_socket_addrs()
            .map(|found| format!("{} addresses", found.count())),
    )
}

fn told(outcome: io::Result<String>) -> String {
    outcome.map_or_else(|error| format!("refused: {error}"), |what| format!("done: {what}"))
}
