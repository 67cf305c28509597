//! What most tests of a load begin and end with: a directory of their own, targets, a load, a verdict.

use crate::support::aof;
use crate::support::loader::{Loader, MARKER, Output, Running};
use crate::support::proxy::Proxy;
use crate::support::server::Server;
use crate::support::wire;
use redis::Value;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

/// A directory for the source, the topology and the checkpoint of one test.
#[derive(Debug)]
pub struct Scene {
    home: TempDir,
}

impl Scene {
    /// An empty directory.
    pub fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a temporary directory can be made") }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        self.home.path()
    }

    /// Writes a file into it.
    pub fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        aof::write_file(self.dir(), name, bytes.as_ref())
    }

    /// The tool, to be run in it.
    pub fn loader(&self) -> Loader {
        Loader::new(self.dir())
    }

    /// The tool with a source and servers as targets.
    pub fn load(&self, source: &Path, targets: &[Server]) -> Loader {
        self.loader().arg(source).servers(targets)
    }

    /// The tool with a source and `shards` directories as targets, which [`started`] takes when it is done.
    pub fn load_into_directories(&self, source: &Path, shards: usize) -> (Loader, Vec<PathBuf>) {
        let out = self.dir().join("out");
        let loader = self.loader().arg(source).arg("--checkpoint").arg(self.dir().join("out.checkpoint"));
        let loader = loader.arg("--shards").arg(shards.to_string()).arg("--output").arg(&out);
        (loader, (0..shards).map(|shard| out.join(format!("shard-{shard}"))).collect())
    }
}

/// Masters behind proxies that delay: a load with one small batch in flight takes long enough to be met in the middle.
#[derive(Debug)]
pub struct Slow {
    /// The masters themselves.
    pub targets: Vec<Server>,
    proxies: Vec<Proxy>,
}

impl Slow {
    /// Empty masters that answer late.
    pub fn start(count: usize) -> Self {
        Self::of(servers(count))
    }

    /// Puts delays before these.
    pub fn of(targets: Vec<Server>) -> Self {
        let proxies: Vec<_> = targets.iter().map(|target| Proxy::start(target.addr())).collect();
        proxies.iter().for_each(|proxy| proxy.delay(Duration::from_millis(3)));
        Self { targets, proxies }
    }

    /// The tool, loading into them in small steps. The same again resumes.
    pub fn load(&self, scene: &Scene, source: &Path) -> Loader {
        let addrs: Vec<String> = self.proxies.iter().map(Proxy::addr).collect();
        let limits = ["--batch-bytes", "1KiB", "--in-flight-bytes", "1KiB"];
        scene.loader().arg(source).masters(&addrs).args(&limits)
    }

    /// Starts a load and waits until each target has got something, and none of them all.
    pub fn start_load(&self, loader: &Loader) -> Running {
        let mut running = loader.spawn();
        running.wait_until("keys on all targets", || self.targets.iter().all(|target| keys_in(target) > 30));
        running
    }

    /// From now on they answer at once.
    pub fn hurry(&self) {
        self.proxies.iter().for_each(|proxy| proxy.delay(Duration::ZERO));
    }

    /// Kills a load when each target has got something; the next one meets no delay.
    pub fn kill_midway(&self, loader: &Loader) {
        self.start_load(loader).kill9();
        self.hurry();
        for target in &self.targets {
            assert_eq!(target.cmd(&["EXISTS", MARKER]), Ok(Value::Int(1)), "the load is under way");
        }
    }
}

/// Empty masters, started side by side.
pub fn servers(count: usize) -> Vec<Server> {
    side_by_side(vec![(); count], |()| Server::start(&[]))
}

/// A server for each AOF directory, which it loads itself.
pub fn started(dirs: Vec<PathBuf>) -> Vec<Server> {
    side_by_side(dirs, |dir| {
        Server::loading(&dir).unwrap_or_else(|log| panic!("{} is refused:\n{log}", dir.display()))
    })
}

/// The judge: one server that loaded the source.
pub fn reference(source: &Path) -> Server {
    Server::loading(source).unwrap_or_else(|log| panic!("the reference refuses {}:\n{log}", source.display()))
}

fn side_by_side<T: Send, R: Send>(items: Vec<T>, start: impl Fn(T) -> R + Sync) -> Vec<R> {
    thread::scope(|scope| {
        let start = &start;
        let threads: Vec<_> = items.into_iter().map(|item| scope.spawn(move || start(item))).collect();
        threads.into_iter().map(|thread| thread.join().expect("a server starts")).collect()
    })
}

/// Keys in all databases, without expiring anything.
pub fn keys_in(server: &Server) -> u64 {
    let reply = server.cmd(&["INFO", "KEYSPACE"]).expect("INFO answers");
    let text = wire::text(&reply);
    let counts =
        text.lines().filter_map(|line| line.split_once("keys=")?.1.split(',').next()?.parse::<u64>().ok());
    counts.sum()
}

/// Nothing was written: no key in any database (no marker either), no function.
pub fn assert_untouched(targets: &[Server]) {
    for server in targets {
        assert_eq!(keys_in(server), 0, "{} holds keys", server.addr());
        let functions = server.cmd(&["FUNCTION", "LIST"]).expect("FUNCTION LIST answers");
        assert!(wire::items(&functions).is_empty(), "{} holds functions", server.addr());
    }
}

/// Makes targets as good as new.
pub fn empty(targets: &[Server]) {
    for server in targets {
        server.cmd(&["FLUSHALL"]).expect("FLUSHALL");
        server.cmd(&["FUNCTION", "FLUSH"]).expect("FUNCTION FLUSH");
    }
}

/// Ended with this code, and stderr says all of this and what to do about it.
pub fn assert_refused(output: &Output, code: i32, words: &[&str]) {
    assert_eq!(output.code, Some(code), "wrong exit code, expected {code} for {words:?}: {output}");
    for word in words.iter().chain(&["what to do: "]) {
        assert!(output.stderr.contains(word), "{word:?} is missing: {output}");
    }
    assert!(!output.stderr.contains("panicked"), "{output}");
}
