//! A private redis-server: it loads an append-only file of the loader's own making, and is read from.
//!
//! It listens on a socket in that file's directory only, and ends with the loader, however that ends: it is run by
//! a shell that waits for the end of a pipe which the loader alone holds open, and the kernel closes that even if the
//! loader is killed. (A process can ask for a signal at its parent's end, but only from inside, which would take
//! unsafe code here; and what a killed loader has written down for the next one helps only if there is a next one.)

mod program;

pub use program::Program;

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::{Connection, RedisError};

use super::aof::or_missing;
use super::control::{self, info_field};
use super::wire::pause;
use super::{Fault, Stop};
use crate::error::{Error, Kind};
use crate::topology::Endpoint;

/// The files that it makes in its directory, beside its append-only file.
const SOCKET_FILE: &str = "redcluster-load.sock";
const LOG_FILE: &str = "redcluster-load.log";

/// Runs a server (the arguments), ends it by its own process id when standard input ends, and ends with it. What is in
/// the background reads nothing unless it is told to.
const GUARD: &str = r#"
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
{ read -r end; kill -KILL "$server"; } <&3 2>/dev/null &
watch=$!
wait "$server"
status=$?
kill "$watch" 2>/dev/null
exit "$status"
"#;

/// Longer paths to sockets are refused by the system (`sun_path`).
const SOCKET_PATH_BYTES_MAX: usize = 100;
/// The pause between two looks at a server that starts.
const POLL_PAUSE: Duration = Duration::from_millis(10);
/// How long the end of a killed process may take.
const END_WAIT: Duration = Duration::from_secs(10);
/// Lines of its log that an error shows.
const LOG_LINES: usize = 5;
/// The end of its log that is read for them.
const LOG_BYTES: usize = 4 << 10;

/// What a server is started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To see whether it is fit; it holds nothing.
    Look,
    /// To load what is in its directory.
    Load,
}

/// See the module. It is ended when this is dropped.
#[derive(Debug)]
pub struct Private {
    guard: Child,
    program: Program,
    directory: PathBuf,
    /// A short way to the socket goes over it.
    opened: File,
}

impl Private {
    /// Starts one in `directory`, which is there, and waits until it has loaded.
    pub fn start(
        program: &Program,
        directory: &Path,
        databases: u64,
        purpose: Purpose,
        stop: &Stop,
    ) -> Result<Private, Fault> {
        let failed =
            |error: io::Error| Fault::Fatal(unfit(program, purpose, "cannot be run").caused_by(error));
        remove_files(directory).map_err(failed)?;
        let opened = File::open(directory).map_err(failed)?;
        let log = File::create(directory.join(LOG_FILE)).map_err(failed)?;
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, "sh"]).arg(&program.path).args(options(databases, purpose));
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_bytes().starts_with(b"REDCLUSTER")) {
            command.env_remove(name);
        }
        let guard = command
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            // Ctrl-C is for the loader, which will end it.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let directory = directory.to_owned();
        let mut private = Private { guard, program: program.clone(), directory, opened };
        private.wait_until_loaded(purpose, stop)?;
        Ok(private)
    }

    /// A new connection.
    pub fn connect(&self, timeout: Duration) -> Result<Connection, RedisError> {
        let path = self.directory.join(SOCKET_FILE);
        let path = match path.as_os_str().len() {
            0..=SOCKET_PATH_BYTES_MAX => path,
            _ => PathBuf::from(format!("/proc/self/fd/{}/{SOCKET_FILE}", self.opened.as_raw_fd())),
        };
        control::connect(&Endpoint::Unix(path), None, timeout)
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.guard.try_wait(), Ok(None))
    }

    fn wait_until_loaded(&mut self, purpose: Purpose, stop: &Stop) -> Result<(), Fault> {
        loop {
            if !self.is_running() {
                let log = last_lines(&self.directory.join(LOG_FILE));
                let ended = unfit(&self.program, purpose, "has ended before it was ready");
                return Err(Fault::Fatal(ended.place("its log", log)));
            }
            let info = self.connect(Duration::from_secs(1)).and_then(|mut connection| {
                let info: String = redis::cmd("INFO").arg("persistence").query(&mut connection)?;
                if info_field(&info, "loading") == Some("0") && purpose == Purpose::Load {
                    // From here on it is only read, and its file stays as it is.
                    redis::cmd("CONFIG")
                        .arg("SET")
                        .arg("appendonly")
                        .arg("no")
                        .query::<()>(&mut connection)?;
                }
                Ok(info)
            });
            match info {
                Ok(info) if info_field(&info, "loading") == Some("0") => return Ok(()),
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "the scratch server is not there yet"),
            }
            if pause(POLL_PAUSE, stop) {
                return Err(Fault::Wait("asked to stop".into()));
            }
        }
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // The guard sees the end of the pipe.
        drop(self.guard.stdin.take());
        let begun = Instant::now();
        while self.is_running() && begun.elapsed() < END_WAIT {
            std::thread::sleep(POLL_PAUSE);
        }
        if let Err(error) = remove_files(&self.directory) {
            tracing::debug!(%error, "files of the scratch server are left");
        }
    }
}

/// Removes the files that a private server has made in its directory, but for its append-only file.
pub fn remove_files(directory: &Path) -> io::Result<()> {
    [SOCKET_FILE, LOG_FILE].iter().try_for_each(|name| or_missing(fs::remove_file(directory.join(name))))
}

/// No file of options is read, and none is written.
fn options(databases: u64, purpose: Purpose) -> Vec<String> {
    let databases = databases.to_string();
    let append_only = if purpose == Purpose::Load { "yes" } else { "no" };
    let options = [
        ("port", "0"),
        ("unixsocket", SOCKET_FILE),
        ("unixsocketperm", "700"),
        ("dir", "."),
        ("logfile", ""),
        ("daemonize", "no"),
        ("databases", &databases),
        ("save", ""),
        ("appendonly", append_only),
        ("appendfilename", "appendonly.aof"),
        ("appenddirname", "appendonlydir"),
        ("appendfsync", "no"),
        ("aof-load-truncated", "no"),
        ("auto-aof-rewrite-percentage", "0"),
        ("proto-max-bulk-len", "1024gb"),
    ];
    options.iter().flat_map(|(name, value)| [format!("--{name}"), (*value).to_owned()]).collect()
}

fn unfit(program: &Program, purpose: Purpose, how: &str) -> Error {
    let error = |kind| Error::new(kind, format!("the scratch server {how}"));
    let (error, then) = match purpose {
        Purpose::Look => (error(Kind::Target).unwritten(), ""),
        Purpose::Load => (error(Kind::Stopped), "; then run the same command again, it resumes"),
    };
    error.place("server", program.to_string()).remedy(format!(
        "put the redis-server (or valkey-server) that wrote the source, or a later one, first on the PATH, or \
         name one with --scratch{then}"
    ))
}

fn last_lines(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let end = &bytes[bytes.len().saturating_sub(LOG_BYTES)..];
    let text = String::from_utf8_lossy(end);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join(" | ")
}
