//! A real redis-server of the test's own: started, killed, stopped, restarted, and gone when the test ends.

use super::binary::Binary;
use super::{port, wire};
use redis::{Client, Connection, RedisResult, Value};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to answer, a large AOF included.
const START_TIMEOUT: Duration = Duration::from_secs(300);
const POLL_PAUSE: Duration = Duration::from_millis(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A paused or dead server must fail a test, not hang it.
const REPLY_TIMEOUT: Duration = Duration::from_secs(120);
/// How often another process may snatch the port before we give up.
const PORT_TRIES: usize = 20;
/// What a log says when somebody else holds the port.
const PORT_TAKEN: &str = "Address already in use";
const LOG_TAIL_LINES: usize = 30;
/// Linux has counted process times in 1/100 s for user space on every architecture we run on.
const MS_PER_TICK: u64 = 10;

/// A running redis-server on 127.0.0.1 with a directory of its own.
#[derive(Debug)]
pub struct Server {
    binary: Binary,
    options: Vec<(String, String)>,
    dir: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Server {
    /// Starts the tests' redis-server; `options` are `redis.conf` names and values and win over the defaults.
    pub fn start(options: &[(&str, &str)]) -> Self {
        Self::start_binary(&Binary::from_env(), options)
    }

    /// The same with a given executable, for tests between versions.
    pub fn start_binary(binary: &Binary, options: &[(&str, &str)]) -> Self {
        Self::launch(binary, options, temp_dir())
            .unwrap_or_else(|log| panic!("redis-server did not start:\n{log}"))
    }

    /// Starts in a directory that may hold files already. Err: the log of a server that ended instead.
    pub(super) fn launch(binary: &Binary, options: &[(&str, &str)], dir: TempDir) -> Result<Self, String> {
        let options = options.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let mut server = Self { binary: binary.clone(), options, dir, port: 0, child: None };
        let mut refusal = String::new();
        for _ in 0..PORT_TRIES {
            server.port = port::free();
            match server.spawn_and_wait() {
                Err(log) if log.contains(PORT_TAKEN) => refusal = log,
                Err(log) => return Err(log),
                Ok(()) => return Ok(server),
            }
        }
        Err(refusal)
    }

    /// `127.0.0.1:port`.
    pub fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The port it listens on, the same across restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its working directory: AOF, RDB, `log`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The executable it runs.
    pub fn binary(&self) -> &Binary {
        &self.binary
    }

    /// The process id; panics when it has been killed and not restarted.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server is running").id()
    }

    /// A new connection.
    pub fn conn(&self) -> Connection {
        self.try_conn().unwrap_or_else(|error| panic!("cannot connect to {}: {error}", self.addr()))
    }

    /// A new connection, where it is of interest whether one can be had.
    pub fn try_conn(&self) -> RedisResult<Connection> {
        let password = self.options.iter().rfind(|(name, _)| name == "requirepass");
        let login = password.map_or_else(String::new, |(_, word)| format!(":{word}@"));
        let client = Client::open(format!("redis://{login}{}/", self.addr()))?;
        let conn = client.get_connection_with_timeout(CONNECT_TIMEOUT)?;
        conn.set_read_timeout(Some(REPLY_TIMEOUT))?;
        Ok(conn)
    }

    /// One command over a connection of its own, in database 0.
    pub fn cmd<A: AsRef<[u8]>>(&self, args: &[A]) -> RedisResult<Value> {
        let (name, rest) = args.split_first().expect("a command has a name");
        let mut command = redis::cmd(std::str::from_utf8(name.as_ref()).expect("a command's name is text"));
        for arg in rest {
            command.arg(arg.as_ref());
        }
        command.query(&mut self.try_conn()?)
    }

    /// A field of INFO, without its name.
    pub fn info(&self, name: &str) -> Option<String> {
        let reply = self.cmd(&["INFO", "ALL"]).expect("INFO answers");
        info_field(&wire::text(&reply), name).map(str::to_owned)
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Only fails when it has ended already, which is what we want.
            let _ = child.kill();
            child.wait().expect("a child can be waited for");
        }
    }

    /// Starts again on the same port and directory with the same options, killing it first when it still runs.
    pub fn restart(&mut self) {
        self.kill9();
        for _ in 0..PORT_TRIES {
            match self.spawn_and_wait() {
                Ok(()) => return,
                Err(log) if log.contains(PORT_TAKEN) => thread::sleep(Duration::from_millis(100)),
                Err(log) => panic!("redis-server did not start again:\n{log}"),
            }
        }
        panic!("port {} stays taken", self.port);
    }

    /// Changes an option for the next [`Server::restart`].
    pub fn set_option(&mut self, name: &str, value: &str) {
        self.options.push((name.into(), value.into()));
    }

    /// SIGSTOP: the kernel still accepts connections and bytes, nobody answers.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT, after [`Server::pause`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).expect("a process id fits"))
            .expect("a process id is not 0");
        kill_process(pid, signal).expect("our own child can be signalled");
    }

    /// The last lines of its log, and what it wrote to stderr (a bad option is only told there).
    pub fn log_tail(&self) -> String {
        let read =
            |name| String::from_utf8_lossy(&fs::read(self.dir().join(name)).unwrap_or_default()).into_owned();
        let log = read("log") + &read("stderr");
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    /// User and system time it has used since its last start.
    pub fn cpu_ms(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("/proc shows the server");
        // The name, in brackets, may hold blanks; utime and stime are the 12th and 13th fields after it.
        let after_name = stat.rsplit_once(')').expect("stat has a name").1;
        let ticks = |at: usize| -> u64 {
            after_name
                .split_whitespace()
                .nth(at)
                .and_then(|word| word.parse().ok())
                .expect("stat has its times")
        };
        (ticks(11) + ticks(12)) * MS_PER_TICK
    }

    fn spawn_and_wait(&mut self) -> Result<(), String> {
        // A stale log would make an old "Address already in use" look like today's.
        let _ = fs::remove_file(self.dir().join("log"));
        let stderr = File::create(self.dir().join("stderr")).expect("the server's directory is writable");
        let child = Command::new(self.binary.path())
            .args(self.arguments())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run {}: {error}", self.binary.path().display()));
        self.child = Some(child);
        self.wait_until_ready()
    }

    fn arguments(&self) -> Vec<String> {
        let dir = self.dir().display().to_string();
        let port = self.port.to_string();
        let mut options: Vec<(&str, &str)> = vec![
            ("port", &port),
            ("bind", "127.0.0.1"),
            ("dir", &dir),
            ("logfile", "log"),
            ("daemonize", "no"),
            ("save", ""),
            ("appendonly", "no"),
            ("databases", "64"),
        ];
        if self.binary.version() >= (7, 0) {
            // Older servers allow DEBUG as they are and refuse to start with the option.
            options.push(("enable-debug-command", "yes"));
        }
        options.extend(self.options.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        options.iter().flat_map(|(name, value)| [format!("--{name}"), (*value).to_owned()]).collect()
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            let child = self.child.as_mut().expect("just started");
            if child.try_wait().expect("a child can be waited for").is_some() {
                self.child = None;
                return Err(self.log_tail());
            }
            if self.is_ready() {
                return Ok(());
            }
            thread::sleep(POLL_PAUSE);
        }
        panic!("redis-server is not ready after {START_TIMEOUT:?}:\n{}", self.log_tail());
    }

    /// Answers, has loaded, and is our child: another process's server may hold the port while ours is about to fail.
    fn is_ready(&self) -> bool {
        let Ok(reply) = self.cmd(&["INFO"]) else { return false };
        let info = wire::text(&reply);
        let pid = self.pid().to_string();
        info_field(&info, "process_id") == Some(&pid)
            && info_field(&info, "loading") == Some("0")
            && info_field(&info, "async_loading").is_none_or(|flag| flag == "0")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// A directory for one server.
pub(super) fn temp_dir() -> TempDir {
    tempfile::Builder::new()
        .prefix("redcluster-load-test.")
        .tempdir()
        .expect("a temporary directory can be made")
}

fn info_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.split_once(':').filter(|(key, _)| *key == name)).map(|(_, value)| value)
}
