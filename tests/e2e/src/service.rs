//! Processes of a deployment without `tape dev`: a server, and reactors of their own.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Project, binary, free_port, python};

/// A process that ends with this.
pub struct Service {
    process: Child,
    log: PathBuf,
}

/// A `tape-server` over the project's store.
pub struct Server {
    /// Its process.
    pub service: Service,
    /// Where it listens, `127.0.0.1:port`.
    pub address: String,
    /// Where it serves metrics and health, `127.0.0.1:port`.
    pub http: String,
}

impl Server {
    /// Starts it on a free port.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(project: &Project, flags: &[&str]) -> Self {
        Self::start_at(project, &format!("127.0.0.1:{}", free_port()), flags)
    }

    /// The same at an address that was used before.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start_at(project: &Project, address: &str, flags: &[&str]) -> Self {
        Self::start_in(project, address, flags, &[])
    }

    /// On a free port, with variables of its own.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start_with(project: &Project, flags: &[&str], env: &[(&str, &str)]) -> Self {
        Self::start_in(project, &format!("127.0.0.1:{}", free_port()), flags, env)
    }

    fn start_in(project: &Project, address: &str, flags: &[&str], env: &[(&str, &str)]) -> Self {
        let http = format!("127.0.0.1:{}", free_port());
        let store = format!("sqlite:{}", project.root().join("tape.db").display());
        let mut all = vec!["--listen", address, "--http", &http, "--store", &store];
        all.extend(flags);
        Self {
            service: Service::start(project, "tape-server", &all, env),
            address: address.to_owned(),
            http,
        }
    }

    /// Where clients find it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("tape://{}", self.address)
    }
}

impl Service {
    /// Starts one of the binaries in a project's folder.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn start(project: &Project, name: &str, arguments: &[&str], env: &[(&str, &str)]) -> Self {
        Self::of(project, name, Command::new(binary(name)), arguments, env)
    }

    /// Starts a worker of the project's agent, attached to the server at `url`.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn worker(project: &Project, url: &str, env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(python());
        command.env("TAPE_URL", url);
        Self::of(project, "worker", command, &["-m", "tape.worker"], env)
    }

    /// Runs a script of the project in the Python of its agent, with the server at `url`: its file, and what it is told.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn script(project: &Project, url: &str, arguments: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(python());
        command.env("TAPE_URL", url);
        Self::of(project, "script", command, arguments, env)
    }

    fn of(project: &Project, name: &str, mut command: Command, arguments: &[&str], env: &[(&str, &str)]) -> Self {
        let log = project.root().join(format!("{name}-{}.log", free_port()));
        let file = File::create(&log).expect("a log file");
        for other in ["TAPE_URL", "TAPE_STORE_URL", "TAPE_LISTEN", "TAPE_HTTP", "TAPE_LOG"] {
            let ours = command.get_envs().any(|(name, value)| name == other && value.is_some());
            if !ours {
                command.env_remove(other);
            }
        }
        let process = command
            .args(arguments)
            .current_dir(project.root())
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a handle of the log"))
            .stderr(file)
            .spawn()
            .expect("it can be started");
        Self { process, log }
    }

    /// What it has said.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// SIGKILL.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("a child of ours");
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// SIGSTOP: it stands still when this returns.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn stand_still(&self) {
        let pid = i32::try_from(self.process.id()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGSTOP).expect("it is there");
        // Its threads stop one after the other: each of them is looked at.
        let running = || {
            let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("it is there");
            threads.flatten().any(|thread| {
                let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
                let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
                state.is_some_and(|state| state != 'T')
            })
        };
        while running() {
            std::thread::yield_now();
        }
    }

    /// SIGCONT: a process that was stopped goes on.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn go_on(&self) {
        let pid = i32::try_from(self.process.id()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGCONT).expect("it is there");
    }

    /// SIGTERM, and its end. Whether it ended well.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn stop(&mut self) -> bool {
        let pid = i32::try_from(self.process.id()).expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGTERM).expect("it runs");
        self.process.wait().expect("a child of ours").success()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
