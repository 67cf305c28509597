//! Stopped loads that find something else than they left: other checkpoints, sources, topologies, targets, loaders. Each
//! has one outcome, with a message and an exit code, and none loses or doubles data.

mod abandon;
mod checkpoint;
mod rerun;
mod source;
mod targets;
mod two;

use crate::drill::{self, Drill, Mark, Targets, mixed_steady};
use crate::scene::assert_refused;
use crate::support::compare::{Entry, Name, Snapshot};
use crate::support::loader::Output;
use crate::support::server::Server;
use std::collections::BTreeMap;

/// Rounds of the mixed sources: some 18,000 commands, 300 batches for each lane.
const ROUNDS: usize = 200;

/// A load that was stopped in good order at some 30 %.
fn stopped(seed: u64) -> (Drill, Targets) {
    let drill = Drill::of(&mixed_steady(drill::seed(seed), ROUNDS));
    let targets = Targets::new();
    drill.interrupt_at(&drill.load(&targets), &targets, 0.3);
    (drill, targets)
}

/// A load that is done.
fn complete(seed: u64) -> (Drill, Targets) {
    let drill = Drill::of(&mixed_steady(drill::seed(seed), ROUNDS));
    let targets = Targets::new();
    drill.load(&targets).run_ok();
    (drill, targets)
}

/// The same command again goes on and ends well.
fn assert_resumes(drill: &Drill, targets: &Targets) -> Output {
    let before = targets.marks();
    let output = drill.load(targets).run_ok();
    drill.assert_loaded(&targets.masters);
    assert!(
        before.iter().flatten().any(|mark| mark.phase == "loading"),
        "there was nothing to resume: {before:?}"
    );
    assert!(output.stderr.contains("resuming at"), "it started over: {output}");
    output
}

/// Refused with this code and these words, and the targets are as they were; once `mended`, the load goes on.
fn assert_refused_and_resumes_once(
    (drill, targets): &(Drill, Targets),
    run: impl FnOnce() -> Output,
    (code, words): (i32, &[&str]),
    mended: impl FnOnce(),
) {
    let before = contents(&targets.masters);
    assert_refused(&run(), code, words);
    assert!(contents(&targets.masters) == before, "a refused run has changed the targets");
    mended();
    assert_resumes(drill, targets);
}

/// Everything that the servers hold, markers included.
fn contents(servers: &[Server]) -> Vec<BTreeMap<Name, Entry>> {
    servers.iter().map(|server| Snapshot::of(server).keys).collect()
}

/// All markers are gone.
fn assert_no_marks(found: &[Option<Mark>]) {
    assert!(found.iter().all(Option::is_none), "{found:?}");
}
