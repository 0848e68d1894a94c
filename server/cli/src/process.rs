//! A process that `tape` runs: in a group of its own, its output read line by line, and never left behind.
//!
//! It ends when it is stopped, when its handle is dropped (also by a panic), and, on Linux, when `tape` itself is killed.
//! The last holds because the thread that starts it is the process's main thread: see [`crate::tape`].

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Last lines that are kept to be shown when it fails.
const TAIL_LINES: usize = 12;
/// How long its pipes are read after it ended: a grandchild may still hold them.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Its standard output.
    Out,
    /// Its standard error.
    Err,
}

/// What is done with each line of a process.
pub type Sink = Arc<dyn Fn(Stream, &str) + Send + Sync>;

/// What to start.
pub struct Spec {
    /// For people: `server`, `bank`, `agent`.
    pub name: &'static str,
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// Where it starts.
    pub folder: PathBuf,
    /// Variables on top of ours.
    pub env: Vec<(String, OsString)>,
    /// What is done with its output.
    pub sink: Sink,
}

/// A process that runs, or has ended.
pub struct Process {
    name: &'static str,
    child: Child,
    pid: i32,
    ended: Option<ExitStatus>,
    readers: JoinSet<()>,
    tail: Arc<Mutex<VecDeque<String>>>,
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// When there is no such program, or it may not be started.
    pub fn start(spec: Spec) -> anyhow::Result<Self> {
        let [program, arguments @ ..] = spec.command.as_slice() else {
            bail!("there is no command to start the {}", spec.name);
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&spec.folder)
            .envs(spec.env)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: Ctrl-C reaches us alone, and we end the others in order.
            .process_group(0)
            .kill_on_drop(true);
        die_with_us(&mut command);
        let mut child = command.spawn().with_context(|| {
            format!(
                "start the {} ({}) in {}",
                spec.name,
                program.to_string_lossy(),
                spec.folder.display()
            )
        })?;
        let pid = child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .context("a process that was just started has an id")?;
        let tail = Arc::<Mutex<VecDeque<String>>>::default();
        let mut readers = JoinSet::new();
        if let Some(out) = child.stdout.take() {
            readers.spawn(read(out, Stream::Out, Arc::clone(&spec.sink), Arc::clone(&tail)));
        }
        if let Some(err) = child.stderr.take() {
            readers.spawn(read(err, Stream::Err, spec.sink, Arc::clone(&tail)));
        }
        Ok(Self {
            name: spec.name,
            child,
            pid,
            ended: None,
            readers,
            tail,
        })
    }

    /// What people call it.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// How it ended, if it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Waits for its end, and for its last words.
    pub async fn wait(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.wait().await.ok();
        }
        let last_words = async { while self.readers.join_next().await.is_some() {} };
        timeout(LAST_WORDS, last_words).await.ok();
        self.ended
    }

    /// SIGKILL for the whole group, and its end.
    pub async fn kill(&mut self) -> Option<ExitStatus> {
        self.signal(Signal::SIGKILL);
        self.wait().await
    }

    /// SIGTERM, and SIGKILL if it has not ended after `patience`.
    pub async fn stop(&mut self, patience: Duration) -> Option<ExitStatus> {
        if self.has_ended().is_none() {
            self.signal(Signal::SIGTERM);
            if timeout(patience, self.wait()).await.is_err() {
                self.signal(Signal::SIGKILL);
            }
        }
        self.wait().await
    }

    /// Its last lines, indented; for the story of its failure.
    pub fn last_lines(&self) -> String {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.iter().map(|line| format!("\n    {line}")).collect()
    }

    /// Before its end was taken note of, nobody else can have its id.
    fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            killpg(Pid::from_raw(self.pid), signal).ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.has_ended().is_none() {
            self.signal(Signal::SIGKILL);
        }
    }
}

/// What an exit status says, for people.
pub fn ending(status: Option<ExitStatus>) -> String {
    use std::os::unix::process::ExitStatusExt;
    match status {
        None => "nobody knows how it ended".to_owned(),
        Some(status) => match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (_, Some(number)) => Signal::try_from(number)
                .map_or_else(|_| format!("signal {number}"), |signal| signal.as_str().to_owned()),
            _ => status.to_string(),
        },
    }
}

async fn read(from: impl AsyncRead + Unpin, stream: Stream, sink: Sink, tail: Arc<Mutex<VecDeque<String>>>) {
    let mut lines = BufReader::new(from).split(b'\n');
    while let Ok(Some(bytes)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&bytes);
        sink(stream, &line);
        let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(line.into_owned());
    }
}

/// Asks the kernel to kill the child when the thread that started it is gone, so that a SIGKILL of `tape` leaves nothing.
#[cfg(target_os = "linux")]
fn die_with_us(command: &mut Command) {
    let us = nix::unistd::getpid();
    #[allow(
        unsafe_code,
        reason = "runs between fork and exec: it makes two system calls and allocates nothing"
    )]
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            // We may have died before the request was made.
            if nix::unistd::getppid() == us {
                Ok(())
            } else {
                Err(std::io::Error::from_raw_os_error(libc_esrch()))
            }
        });
    }
}

#[cfg(target_os = "linux")]
const fn libc_esrch() -> i32 {
    nix::errno::Errno::ESRCH as i32
}

#[cfg(not(target_os = "linux"))]
fn die_with_us(_command: &mut Command) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, sink: Sink) -> Process {
        Process::start(Spec {
            name: "shell",
            command: ["sh", "-c", script].map(OsString::from).to_vec(),
            folder: ".".into(),
            env: vec![("WORD".to_owned(), "hello".into())],
            sink,
        })
        .unwrap()
    }

    fn silent() -> Sink {
        Arc::new(|_, _| ())
    }

    #[tokio::test]
    async fn each_line_reaches_the_sink() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&lines);
        let mut process = shell(
            "echo $WORD; echo there >&2",
            Arc::new(move |stream, line| heard.lock().unwrap().push((stream, line.to_owned()))),
        );
        assert_eq!(ending(process.wait().await), "exit code 0");
        let mut lines = lines.lock().unwrap().clone();
        lines.sort_by_key(|(_, line)| line.clone());
        assert_eq!(
            lines,
            [(Stream::Out, "hello".to_owned()), (Stream::Err, "there".to_owned())]
        );
    }

    #[tokio::test]
    async fn a_kill_reaches_the_whole_group() {
        // The grandchild holds the pipes: they close only when it dies too.
        let mut process = shell("sleep 1000 & wait", silent());
        assert_eq!(ending(process.kill().await), "SIGKILL");
        assert!(process.readers.is_empty(), "the grandchild lives");
    }

    #[tokio::test]
    async fn one_that_does_not_listen_is_killed() {
        let (ready, mut is_ready) = tokio::sync::mpsc::unbounded_channel();
        let heard: Sink = Arc::new(move |_, line| drop(ready.send(line.to_owned())));
        let mut process = shell("trap '' TERM; echo ready; while :; do sleep 0.05; done", heard);
        assert_eq!(is_ready.recv().await.as_deref(), Some("ready"));
        assert_eq!(ending(process.stop(Duration::from_millis(300)).await), "SIGKILL");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let spec = Spec {
            name: "agent",
            command: vec!["/no/such/program".into()],
            folder: ".".into(),
            env: Vec::new(),
            sink: silent(),
        };
        let error = Process::start(spec).err().unwrap().to_string();
        assert!(error.contains("start the agent (/no/such/program)"), "{error}");
    }
}
