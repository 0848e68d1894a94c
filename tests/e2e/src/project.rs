//! A project as `tape init` makes it, and `tape dev` in it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::{Deadline, binaries, free_port, tape};

/// Between two looks: each may be a process of its own.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A scaffolded project in a folder of its own.
pub struct Project {
    _folder: tempfile::TempDir,
    root: PathBuf,
}

/// `tape dev`, until this is dropped.
pub struct Dev<'p> {
    project: &'p Project,
    process: Child,
    url: String,
    log: PathBuf,
}

impl Project {
    /// `tape init treasury`.
    ///
    /// # Panics
    /// When it fails.
    #[must_use]
    pub fn init() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let made = tape(folder.path(), &["init", "treasury"]);
        assert!(
            made.status.success(),
            "tape init: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        let root = folder.path().join("treasury");
        Self { _folder: folder, root }
    }

    /// Its folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `tape` in it.
    #[must_use]
    pub fn tape(&self, arguments: &[&str]) -> Output {
        tape(&self.root, arguments)
    }

    /// Replaces a part of one of its files.
    ///
    /// # Panics
    /// When the part is not there.
    pub fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.root.join(file);
        let text = fs::read_to_string(&path).expect("a file of the scaffold");
        assert!(text.contains(from), "{file} does not contain {from:?}");
        fs::write(&path, text.replace(from, to)).expect("the file can be written");
    }

    /// Starts `tape dev` on free ports, with these variables, and waits until the agent is attached.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn dev(&self, env: &[(&str, &str)]) -> Dev<'_> {
        let mut dev = self.start(&[], env);
        dev.wait_for("the agent", |status| !list(&status["server"]["workers"]).is_empty());
        dev
    }

    /// The same with nobody to drive runs.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn dev_without_agent(&self, env: &[(&str, &str)]) -> Dev<'_> {
        let mut dev = self.start(&["--no-agent"], env);
        dev.wait_for("the server", |status| !list(&status["server"]["reactors"]).is_empty());
        dev
    }

    fn start(&self, flags: &[&str], env: &[(&str, &str)]) -> Dev<'_> {
        let (port, http_port) = (free_port().to_string(), free_port().to_string());
        let log = self.root.join("dev.log");
        let file = File::create(&log).expect("a log file");
        let mut command = binaries::command(&self.root);
        command
            .args(["dev", "--port", &port, "--http-port", &http_port])
            .args(flags)
            .envs(env.iter().copied())
            .stdout(file.try_clone().expect("a handle of the log"))
            .stderr(Stdio::from(file));
        let process = command.spawn().expect("`tape dev` can be started");
        let url = format!("tape://127.0.0.1:{port}");
        Dev {
            project: self,
            process,
            url,
            log,
        }
    }
}

impl Dev<'_> {
    /// `tape` against its server.
    #[must_use]
    pub fn tape(&self, arguments: &[&str]) -> Output {
        let mut all = vec!["--url", &self.url];
        all.extend(arguments);
        self.project.tape(&all)
    }

    /// `tape --output json` against its server.
    ///
    /// # Panics
    /// When it fails, or prints something else.
    #[must_use]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["--output", "json"];
        all.extend(arguments);
        let said = self.tape(&all);
        serde_json::from_slice(&said.stdout).unwrap_or_else(|error| {
            panic!(
                "tape {arguments:?}: {error}; {}\n{}",
                String::from_utf8_lossy(&said.stderr),
                self.story()
            )
        })
    }

    /// Where its server is, `tape://127.0.0.1:port`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What its processes have said.
    #[must_use]
    pub fn story(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The processes that it runs.
    ///
    /// # Panics
    /// Where there is no /proc.
    #[must_use]
    pub fn children(&self) -> Vec<u32> {
        let pid = self.process.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("Linux's /proc");
        children
            .split_whitespace()
            .filter_map(|child| child.parse().ok())
            .collect()
    }

    /// SIGKILL for it alone.
    ///
    /// # Panics
    /// When it has ended already.
    pub fn kill(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("a child of ours");
    }

    /// Waits until something holds.
    ///
    /// # Panics
    /// When it does not within [`Deadline`].
    pub fn wait_until(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Deadline::start();
        while !holds() {
            assert!(!deadline.is_over(), "not so: {what}\n{}", self.story());
            thread::park_timeout(LOOK_AGAIN);
        }
    }

    fn wait_for(&mut self, what: &str, is_up: impl Fn(&Value) -> bool) {
        let deadline = Deadline::start();
        loop {
            let said = self.tape(&["--output", "json", "status"]);
            if is_up(&serde_json::from_slice(&said.stdout).unwrap_or_default()) {
                return;
            }
            let ended = self.process.try_wait().expect("a child of ours");
            assert!(ended.is_none(), "`tape dev` ended by itself:\n{}", self.story());
            assert!(!deadline.is_over(), "{what} is not there:\n{}", self.story());
            thread::park_timeout(LOOK_AGAIN);
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

impl Drop for Dev<'_> {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.process.id()) {
            kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
        }
        self.process.wait().ok();
    }
}
