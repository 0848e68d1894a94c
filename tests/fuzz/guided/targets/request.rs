//! Any bytes as any request to a server in memory: the first says which call.
#![no_main]

use std::cell::RefCell;

use tape_fuzz::message::{Contract, Method};
use tape_fuzz::rpc::Rig;
use tokio::runtime::Runtime;

/// A server keeps what it is told: after so many requests it is another one.
const REQUESTS_MAX: u32 = 2_000;

struct Server {
    runtime: Runtime,
    rig: Rig,
    calls: Vec<Method>,
    asked: u32,
}

thread_local! {
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

impl Server {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let rig = {
            let _inside = runtime.enter();
            Rig::new()
        };
        Self {
            runtime,
            rig,
            calls: Contract::read().methods,
            asked: 0,
        }
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((which, message)) = bytes.split_first() else { return };
    SERVER.with_borrow_mut(|kept| {
        if kept.as_ref().is_some_and(|server| server.asked >= REQUESTS_MAX) {
            *kept = None;
        }
        let server = kept.get_or_insert_with(Server::start);
        server.asked += 1;
        let call = &server.calls[usize::from(*which) % server.calls.len()];
        // A status or an answer: whatever it is, it is one.
        server.runtime.block_on(server.rig.ask(&call.path, message, call.streams));
    });
});
