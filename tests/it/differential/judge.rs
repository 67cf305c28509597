//! Loads a source into one layout of targets and compares the outcome with that of one redis-server.

use super::source::Source;
use crate::scene::{empty, servers, started};
use crate::support::compare::{Placement, Snapshot, diff};
use crate::support::generate::RELATIVE_UNIT_MS;
use crate::support::loader::{Loader, Output};
use crate::support::server::Server;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The most masters of any layout; they are kept from one source to the next.
const MASTERS_MAX: usize = 5;
/// Of a difference so many lines are shown.
const SHOWN_MAX: usize = 12;

/// Where a source goes, and how.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Their number.
    pub shards: usize,
    /// Directories instead of masters.
    pub directories: bool,
    /// Further arguments of the tool.
    pub args: Vec<String>,
}

/// What came of it.
#[derive(Debug)]
pub enum Verdict {
    /// The same, with so many keys.
    Same(usize),
    /// What differs.
    Different(Vec<String>),
    /// The tool did not load it.
    Failed(Output),
    /// The reference does not load it: nothing can be said.
    Refused(String),
}

impl Verdict {
    /// Whether two are the same kind of failure, for shrinking.
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Different(ours), Self::Different(theirs)) => {
                kinds(ours).iter().any(|kind| kinds(theirs).contains(kind))
            }
            (Self::Failed(ours), Self::Failed(theirs)) => ours.code == theirs.code,
            _ => false,
        }
    }

    /// In words.
    pub fn text(&self) -> String {
        match self {
            Self::Same(keys) => format!("the same, {keys} keys"),
            Self::Different(all) => {
                let shown: Vec<&str> = all.iter().take(SHOWN_MAX).map(String::as_str).collect();
                format!("{} differences\n  {}", all.len(), shown.join("\n  "))
            }
            Self::Failed(output) => format!("the load failed: {output}"),
            Self::Refused(log) => format!("the reference refuses the source:\n{log}"),
        }
    }
}

/// The first words of differences: MISSING, VALUE and so on.
fn kinds(differences: &[String]) -> Vec<&str> {
    differences.iter().filter_map(|line| line.split(' ').next()).collect()
}

/// A source on disk and what one redis-server makes of it.
pub struct Reference {
    dir: TempDir,
    path: PathBuf,
    made_ms: i64,
    loaded: Result<Snapshot, String>,
}

impl Reference {
    /// Writes a source and has a server load it.
    pub fn of(source: &Source) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = source.write(dir.path());
        let loaded = Server::loading(&path).map(|server| steady(&server, source.made_ms));
        Self { dir, path, made_ms: source.made_ms, loaded }
    }

    /// Its keys in all databases.
    pub fn keys(&self) -> usize {
        self.loaded.as_ref().map_or(0, |snapshot| snapshot.keys.len())
    }
}

fn steady(server: &Server, made_ms: i64) -> Snapshot {
    Snapshot::of(server).without_clock(made_ms, RELATIVE_UNIT_MS)
}

/// Servers that are kept between sources.
pub struct Fleet {
    masters: Vec<Server>,
}

impl Fleet {
    /// Starts them.
    pub fn new() -> Self {
        Self { masters: servers(MASTERS_MAX) }
    }

    /// Loads what the reference has loaded, and compares.
    pub fn judge(&mut self, reference: &Reference, layout: &Layout) -> Verdict {
        let expected = match &reference.loaded {
            Ok(snapshot) => snapshot,
            Err(log) => return Verdict::Refused(log.clone()),
        };
        let work = tempfile::tempdir_in(reference.dir.path()).expect("a directory");
        let loader = Loader::new(work.path()).arg(&reference.path).args(&layout.args);
        let loader = loader.arg("--checkpoint").arg(work.path().join("checkpoint"));
        let held = if layout.directories {
            load_into_directories(loader, work.path(), layout.shards, reference.made_ms)
        } else {
            self.load_into_masters(loader, layout.shards, reference.made_ms)
        };
        match held {
            Err(output) => Verdict::Failed(output),
            Ok(held) => {
                let differences = diff(expected, &held, Placement::Crc32);
                if differences.is_empty() {
                    Verdict::Same(reference.keys())
                } else {
                    Verdict::Different(differences)
                }
            }
        }
    }

    fn load_into_masters(
        &mut self,
        loader: Loader,
        shards: usize,
        made_ms: i64,
    ) -> Result<Vec<Snapshot>, Output> {
        self.mend();
        let targets = &self.masters[..shards];
        let output = loader.servers(targets).run();
        if output.code != Some(0) {
            return Err(output);
        }
        Ok(targets.iter().map(|target| steady(target, made_ms)).collect())
    }

    /// Makes the masters as good as new, and starts those again that have crashed.
    fn mend(&mut self) {
        for master in &mut self.masters {
            if master.cmd(&["PING"]).is_err() {
                println!("a master has crashed:\n{}", master.log_tail());
                master.restart();
            }
            master.cmd(&["SCRIPT", "FLUSH"]).expect("SCRIPT FLUSH");
        }
        empty(&self.masters);
    }
}

fn load_into_directories(
    loader: Loader,
    work: &Path,
    shards: usize,
    made_ms: i64,
) -> Result<Vec<Snapshot>, Output> {
    let out = work.join("out");
    let output = loader.arg("--shards").arg(shards.to_string()).arg("--output").arg(&out).own_scratch().run();
    if output.code != Some(0) {
        return Err(output);
    }
    let dirs = (0..shards).map(|shard| out.join(format!("shard-{shard}"))).collect();
    Ok(started(dirs).iter().map(|target| steady(target, made_ms)).collect())
}
