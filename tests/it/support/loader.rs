//! Running the tool itself, as an operator would, with a time limit.

use super::server::Server;
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The key that holds a lane's progress, in database 0 of each master, while a load is not complete.
pub const MARKER: &str = "redcluster-load:marker";

/// After this a run is killed and the test fails, with what it had written.
const RUN_TIMEOUT: Duration = Duration::from_secs(120);
const POLL_PAUSE: Duration = Duration::from_millis(2);

/// A command line under construction; each [`Loader::run`] or [`Loader::spawn`] starts a new process with it.
#[derive(Clone, Debug)]
pub struct Loader {
    dir: PathBuf,
    args: Vec<OsString>,
    envs: Vec<(OsString, OsString)>,
    timeout: Duration,
    /// Bytes of memory.
    memory: Option<u64>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// All it wrote to stdout.
    pub stdout: String,
    /// All it wrote to stderr.
    pub stderr: String,
}

/// A process under way; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: File,
    stderr: File,
    timeout: Duration,
}

impl Loader {
    /// Runs in `dir`, where topology and checkpoint files are written, without arguments so far.
    pub fn new(dir: impl AsRef<Path>) -> Self {
        Self {
            dir: dir.as_ref().to_path_buf(),
            args: Vec::new(),
            envs: Vec::new(),
            timeout: RUN_TIMEOUT,
            memory: None,
        }
    }

    /// Writes a topology with one replica set per address and adds `--topology`.
    #[must_use]
    pub fn masters<A: AsRef<str>>(self, addrs: &[A]) -> Self {
        let sets = addrs.iter().map(|addr| format!("[[replica_set]]\nmaster = \"{}\"\n", addr.as_ref()));
        let text = sets.collect::<Vec<_>>().join("\n");
        self.topology(&text)
    }

    /// The same, of servers started here.
    #[must_use]
    pub fn servers(self, servers: &[Server]) -> Self {
        let addrs: Vec<String> = servers.iter().map(Server::addr).collect();
        self.masters(&addrs)
    }

    /// Writes a topology with one AOF directory per shard and adds `--topology`.
    #[must_use]
    pub fn directories<P: AsRef<Path>>(self, dirs: &[P]) -> Self {
        let sets = dirs.iter().map(|dir| {
            let dir = dir.as_ref().to_str().expect("a test's path is text");
            format!("[[replica_set]]\naof = \"{}\"\n", dir.escape_default())
        });
        let text = sets.collect::<Vec<_>>().join("\n");
        self.topology(&text)
    }

    /// Writes `text` as the topology file and adds `--topology`; for unsound or unusual ones.
    #[must_use]
    pub fn topology(self, text: &str) -> Self {
        let path = self.dir.join("topology.toml");
        std::fs::write(&path, text)
            .unwrap_or_else(|error| panic!("cannot write {}: {error}", path.display()));
        self.arg("--topology").arg(path)
    }

    /// A private scratch server, if there has to be one, is of the tests' own program, whatever is on the PATH.
    #[must_use]
    pub fn own_scratch(self) -> Self {
        match std::env::var_os("REDIS_SERVER") {
            Some(program) => self.arg("--scratch").arg(program),
            None => self,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(self, args: &[A]) -> Self {
        args.iter().fold(self, Self::arg)
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.envs.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// How long a run may take before it is killed and the test fails.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The tool gets no more memory of its own than so many bytes, mapped files not counted, and ends where it wants more.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Runs to the end.
    pub fn run(&self) -> Output {
        self.spawn().wait(self.timeout)
    }

    /// Runs to the end and panics with its output unless it exits with 0.
    pub fn run_ok(&self) -> Output {
        let output = self.run();
        assert_eq!(output.code, Some(0), "the load failed: {output}");
        output
    }

    /// Starts it.
    pub fn spawn(&self) -> Running {
        // Files instead of pipes: no reader thread is needed, and the tool can never block on a full pipe.
        let open = || tempfile::tempfile().expect("a temporary file can be made");
        let (stdout, stderr) = (open(), open());
        let share = |file: &File| Stdio::from(file.try_clone().expect("a file can be shared"));
        let tool = assert_cmd::cargo::cargo_bin!("redcluster-load");
        let mut command = match self.memory {
            Some(bytes) => {
                let mut limited = Command::new("prlimit");
                limited.arg(format!("--data={bytes}")).arg(tool);
                limited
            }
            None => Command::new(tool),
        };
        // What the developer has set for daily use must not change a test.
        let theirs = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("REDCLUSTER"));
        for (name, _) in theirs {
            command.env_remove(name);
        }
        let child = command
            .args(&self.args)
            .envs(self.envs.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(share(&stdout))
            .stderr(share(&stderr))
            .spawn()
            .expect("the tool can be run");
        Running { child, stdout, stderr, timeout: self.timeout }
    }
}

impl Running {
    /// SIGKILL, and waits until it is gone.
    pub fn kill9(mut self) -> Output {
        // Only fails when it has ended already.
        let _ = self.child.kill();
        let status = self.child.wait().expect("a child can be waited for");
        self.output(status)
    }

    /// SIGTERM: stop in good order.
    pub fn sigterm(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGINT: what Ctrl-C sends.
    pub fn sigint(&self) {
        self.signal(Signal::INT);
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process id fits");
        kill_process(Pid::from_raw(pid).expect("a process id is not 0"), signal)
            .expect("our child can be signalled");
    }

    /// Its process id, for /proc.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn try_wait(&mut self) -> Option<Output> {
        let status = self.child.try_wait().expect("a child can be waited for")?;
        Some(self.output(status))
    }

    /// Waits for its end; after `timeout` it is killed and the test fails with what it had written.
    pub fn wait(mut self, timeout: Duration) -> Output {
        let deadline = Instant::now() + timeout;
        while Instant::now() < deadline {
            if let Some(output) = self.try_wait() {
                return output;
            }
            thread::sleep(POLL_PAUSE);
        }
        panic!("still running after {timeout:?}: {}", self.kill9());
    }

    /// Waits as long as [`Loader::timeout`] allows.
    pub fn finish(self) -> Output {
        let timeout = self.timeout;
        self.wait(timeout)
    }

    /// Waits until `condition` holds; panics with the output when the run ends or the time is up before.
    pub fn wait_until(&mut self, what: &str, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + self.timeout;
        while !condition() {
            if let Some(output) = self.try_wait() {
                panic!("ended before {what}: {output}");
            }
            assert!(Instant::now() < deadline, "no sign of {what}; so far: {}", self.stderr_so_far());
            thread::sleep(POLL_PAUSE);
        }
    }

    /// What it has written to stderr up to now.
    pub fn stderr_so_far(&self) -> String {
        read_whole(&self.stderr)
    }

    fn output(&self, status: ExitStatus) -> Output {
        let (stdout, stderr) = (read_whole(&self.stdout), read_whole(&self.stderr));
        Output { code: status.code(), signal: status.signal(), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both only fail when it has been waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, signal, stdout, stderr } = self;
        write!(f, "code {code:?}, signal {signal:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// From the start, whatever the shared offset is at.
fn read_whole(file: &File) -> String {
    let size = usize::try_from(file.metadata().expect("an open file has a size").len()).expect("output fits");
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, 0).expect("what was written can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}
