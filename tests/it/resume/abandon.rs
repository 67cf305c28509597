//! A load that is given up for good must not leave keys behind that never expire.

use super::{ROUNDS, assert_no_marks, stopped};
use crate::drill::{self, Drill, Targets, mark, sessions, stat};
use crate::scene::{Scene, assert_refused, keys_in, servers, started};
use crate::support::compare::Snapshot;
use crate::support::loader::{Output, Running};
use crate::support::server::Server;
use std::time::Duration;

/// Ten thousand years from now; the offset while loading is more.
const FAR_MS: i64 = 300_000_000_000_000;

fn assert_right(servers: &[Server]) {
    for server in servers {
        for (name, entry) in &Snapshot::of(server).keys {
            let far = entry.deadline_ms.is_some_and(|at| at > FAR_MS);
            assert!(!far, "{name:?} has the deadline {:?}", entry.deadline_ms);
        }
    }
}

#[test]
fn deadlines_are_put_right_and_markers_removed() {
    let (drill, targets) = stopped(281);
    let shifted = |server| {
        Snapshot::of(server).keys.values().any(|entry| entry.deadline_ms.is_some_and(|at| at > FAR_MS))
    };
    assert!(targets.masters.iter().any(shifted), "there is nothing to put right");
    let before: u64 = targets.masters.iter().map(keys_in).sum();
    let output = drill.load(&targets).arg("--abandon").run_ok();
    assert!(output.stdout.contains("abandoned"), "{output}");
    assert_no_marks(&targets.marks());
    assert_right(&targets.masters);
    // Only the markers and what is past its deadline are gone.
    let after: u64 = targets.masters.iter().map(keys_in).sum();
    assert!(after > before / 2 && after <= before - 3, "{before} keys before, {after} after");
    assert!(!drill.checkpoint().exists());
    // It is as if there had never been a load: its keys are somebody's.
    assert_refused(&drill.load(&targets).run(), 5, &["not empty"]);
    drill.load(&targets).arg("--flush-targets").run_ok();
    drill.assert_loaded(&targets.masters);
}

/// Begins to give an interrupted load up, has that ended once the first deadlines are put right, and gives it up again;
/// what both runs said.
fn cut_short(more: &[&str], end: fn(Running) -> Output) -> (Output, Output) {
    let drill = Drill::of(&sessions(20_000, 0));
    let targets = Targets::new();
    drill.interrupt_at(&drill.loader_into(&targets), &targets, 0.3);
    let abandon = drill.load(&targets).arg("--abandon").args(more);
    targets.proxies[0].delay(Duration::from_millis(20));
    let deadlines = || stat(&targets.masters[0], "cmdstat_pexpireat", "calls");
    let before = deadlines();
    let mut run = abandon.spawn();
    run.wait_until("the first deadlines", || deadlines() > before);
    let first = end(run);
    targets.fast();
    assert!(targets.marks().iter().any(Option::is_some), "it was over at once");
    let second = abandon.run_ok();
    assert_no_marks(&targets.marks());
    assert_right(&targets.masters);
    (first, second)
}

#[test]
fn it_can_be_killed_and_run_again() {
    cut_short(&[], Running::kill9);
}

#[test]
fn it_can_be_interrupted_and_run_again() {
    let (first, second) = cut_short(&["--json"], |run| {
        run.sigint();
        run.finish()
    });
    assert_refused(&first, 9, &["a signal asked to stop", "run the same command again"]);
    assert!(!first.stderr.contains("nothing was written"), "{first}");
    let report: serde_json::Value = serde_json::from_str(&second.stdout).expect("JSON");
    assert_eq!(report["outcome"], "abandoned");
    assert_eq!(report["targets"].as_array().map(Vec::len), Some(3));
}

#[test]
fn a_loader_at_work_is_stopped_by_it() {
    let drill = Drill::mixed(drill::seed(282), 2 * ROUNDS);
    let targets = Targets::new();
    targets.slow();
    let mut run = drill.load(&targets).spawn();
    drill.wait_for(&mut run, &targets.masters[0], 0.2);
    // On this machine it is refused.
    assert_refused(&drill.load(&targets).arg("--abandon").run(), 6, &["another loader"]);
    let there = Scene::new();
    drill.load(&targets).arg("--abandon").arg("--checkpoint").arg(there.dir().join("checkpoint")).run_ok();
    let output = run.finish();
    assert_eq!(output.code, Some(6), "{output}");
    assert_no_marks(&targets.marks());
    assert_right(&targets.masters);
}

#[test]
fn nothing_to_abandon_is_no_harm() {
    let drill = Drill::mixed(drill::seed(283), ROUNDS / 10);
    let targets = servers(3);
    targets[0].cmd(&["SET", "theirs", "1"]).expect("SET");
    let output = drill.loader().servers(&targets).arg("--abandon").run_ok();
    assert!(output.stdout.ends_with("no load is under way; nothing was changed\n"), "{output}");
    assert_eq!(targets.iter().map(keys_in).sum::<u64>(), 1);
    // A load that is complete stays known to be.
    targets[0].cmd(&["DEL", "theirs"]).expect("DEL");
    let load = drill.loader().servers(&targets);
    load.run_ok();
    let output = load.clone().arg("--abandon").run_ok();
    assert!(output.stdout.ends_with("no load is under way; nothing was changed\n"), "{output}");
    assert!(load.run_ok().stdout.contains("an earlier run has loaded"));
}

/// A load that has diverged can be abandoned as well.
#[test]
fn a_diverged_load() {
    let (drill, targets) = stopped(284);
    let text = mark(&targets.masters[1]).expect("a marker").text;
    let diverged = text.replace("phase=loading", "phase=diverged@0:17");
    targets.masters[1].cmd(&["SET", crate::support::loader::MARKER, &diverged]).expect("SET");
    assert_refused(&drill.load(&targets).run(), 8, &["--restart --flush-targets"]);
    drill.load(&targets).arg("--abandon").run_ok();
    assert_no_marks(&targets.marks());
    assert_right(&targets.masters);
}

/// What is left in a directory is of no use to anybody, and is removed.
#[test]
fn directories_are_emptied() {
    let drill = Drill::mixed(drill::seed(285), 4 * ROUNDS);
    let out = drill.dir().join("out");
    let loader = drill.loader().args(&["--shards", "3", "--output"]).arg(&out);
    let mut run = loader.spawn();
    run.wait_until("a marker file", || out.join("shard-2/redcluster-load.marker").exists());
    run.kill9();
    let output = loader.clone().arg("--abandon").run_ok();
    assert!(output.stdout.contains("shard-2: unfinished files removed"), "{output}");
    for shard in ["shard-0", "shard-1", "shard-2"] {
        let left = std::fs::read_dir(out.join(shard)).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{shard} holds something");
    }
    loader.run_ok();
    drill.assert_loaded(&started(["shard-0", "shard-1", "shard-2"].map(|shard| out.join(shard)).to_vec()));
}
