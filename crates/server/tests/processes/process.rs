//! A `perpetuo` process that is killed when the test is done with it.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Output, Stdio};

pub(crate) struct Process {
    child: Child,
    stdout: BufReader<ChildStdout>,
    stderr: BufReader<ChildStderr>,
}

pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_perpetuo"));
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    command(args).output().expect("it runs")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Process {
    pub(crate) fn spawn(args: &[&str]) -> Self {
        Self::of(command(args))
    }

    /// With no more than so many file handles.
    pub(crate) fn spawn_with_handles(handles: u32, args: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        let script = format!("ulimit -n {handles} && exec \"$0\" \"$@\"");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_perpetuo")]).args(args).stdin(Stdio::null());
        Self::of(shell)
    }

    fn of(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        Self { child, stdout, stderr }
    }

    /// Waits until it has written a line with `text`.
    ///
    /// # Panics
    /// With what it wrote on stderr, when it ends before.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let mut line = String::new();
        while self.stdout.read_line(&mut line).expect("it can be read") > 0 {
            if line.contains(text) {
                return line;
            }
            line.clear();
        }
        panic!("it ended before it wrote {text:?}: {}", self.errors());
    }

    /// Waits until it has logged a line with `text`.
    pub(crate) fn wait_for_error(&mut self, text: &str) {
        let mut line = String::new();
        while self.stderr.read_line(&mut line).expect("it can be read") > 0 {
            if line.contains(text) {
                return;
            }
            line.clear();
        }
        panic!("it ended before it logged {text:?}");
    }

    /// SIGKILL, without waiting for the end.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it was running");
    }

    fn errors(&mut self) -> String {
        let mut errors = String::new();
        let _ = self.stderr.read_to_string(&mut errors);
        errors
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    probe.local_addr().expect("an address").port()
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
