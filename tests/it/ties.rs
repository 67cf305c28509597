//! Commands that need keys of several shards at once.
//!
//! The bug: a key that is missing, stale, double or on the wrong shard.
//! Its mechanism: a command is carried out where some of its keys are not.
//! The guard: names that commands tie together are at home on one shard, where all of their commands run in order; what
//! is left there for another shard is brought to it at the end.

mod limits;
mod pieces;
mod seam;
mod shipping;
mod source;

use crate::scene::{Scene, reference, servers};
use crate::support::aof;
use crate::support::compare::assert_same;
use crate::support::loader::Output;
use crate::support::server::Server;
use std::path::Path;

const SHARDS: usize = 3;

/// Loads a source of these lines and compares.
fn loaded(lines: &str) -> (Scene, Vec<Server>, Output) {
    let scene = Scene::new();
    let source = scene.file("dump.aof", aof::of_lines(lines));
    let targets = servers(SHARDS);
    let output = scene.load(&source, &targets).run_ok();
    assert_same(&reference(&source), &targets);
    (scene, targets, output)
}

/// The dry run's `ties`, as JSON.
fn surveyed(scene: &Scene, source: &Path, targets: &[Server]) -> serde_json::Value {
    let output = scene.load(source, targets).args(&["--dry-run", "--json"]).run_ok();
    let report: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    report["ties"].clone()
}

/// How often a command was called on all of the servers.
fn calls(targets: &[Server], command: &str) -> u64 {
    let name = format!("cmdstat_{command}");
    targets.iter().map(|target| crate::drill::stat(target, &name, "calls")).sum()
}
