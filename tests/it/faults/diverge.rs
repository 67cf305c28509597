//! A target answers a command as no loading server would.
//!
//! The bug: a load that ends well although a write is missing.
//! Its mechanism: an error inside EXEC does not undo the rest of the transaction, its marker included.
//! The guard: every element of every answer is judged; one that a loading server would not meet stops the load, and the
//! marker says so, so that no later run goes on past it.

use super::ROUNDS;
use crate::drill::{self, Drill, Targets, mark, mixed, set};
use crate::scene;
use crate::support::aof;
use crate::support::loader::Output;
use std::fs;

/// Longer than this no string of a target becomes.
const LIMIT: &str = "1mb";
const HALF: usize = 600_000;

/// In the middle of it a string grows past [`LIMIT`], which a loading server does not heed.
fn source() -> Vec<u8> {
    let half = "x".repeat(HALF);
    let mut bytes = mixed(drill::seed(111), ROUNDS / 4);
    aof::push_words(&mut bytes, "SELECT 0");
    for _ in 0..2 {
        aof::push(&mut bytes, &[b"APPEND", b"long", half.as_bytes()]);
    }
    bytes.extend(mixed(drill::seed(112), ROUNDS / 4));
    bytes
}

fn assert_diverged(output: &Output) {
    assert_eq!(output.code, Some(8), "{output}");
    assert!(output.stderr.contains("--restart --flush-targets"), "{output}");
}

/// Loads until it diverges; the string's lane comes back as well.
fn diverged() -> (Drill, Targets, usize) {
    let drill = Drill::of(&source());
    let targets = Targets::new();
    targets.masters.iter().for_each(|master| set(master, "proto-max-bulk-len", LIMIT));
    let output = drill.loader_into(&targets).run();
    assert_diverged(&output);
    for words in ["APPEND", "long", "exceeds maximum allowed size"] {
        assert!(output.stderr.contains(words), "{words:?} is missing: {output}");
    }
    (drill, targets, crc32fast::hash(b"long") as usize % 3)
}

#[test]
fn a_divergence_stops_the_load_for_good() {
    let (drill, targets, lane) = diverged();
    let phase = mark(&targets.masters[lane]).expect("a marker").phase;
    assert!(phase.starts_with("diverged@"), "{phase}");
    let before = targets.marks();
    targets.masters.iter().for_each(|master| set(master, "proto-max-bulk-len", "512mb"));
    let loader = drill.loader_into(&targets);
    // Not even with --flush-targets, which is for the very start of a load.
    for more in [&[][..], &["--flush-targets"]] {
        let output = loader.clone().args(more).run();
        assert_diverged(&output);
        assert_eq!(targets.marks(), before, "a rerun has changed something");
    }
    let output = loader.clone().arg("--restart").run();
    assert_eq!(output.code, Some(5), "the targets are not empty: {output}");
    assert_eq!(targets.marks(), before);
    loader.args(&["--restart", "--flush-targets"]).run_ok();
    drill.assert_loaded(&targets.masters);
}

/// The marker is enough.
#[test]
fn a_divergence_is_known_without_the_checkpoint() {
    let (drill, targets, _) = diverged();
    fs::remove_file(drill.checkpoint()).expect("a checkpoint");
    assert_diverged(&drill.loader_into(&targets).run());
}

/// The rest of its batch is applied and its answers are known, so it counts like any other.
#[test]
fn what_was_applied_with_a_divergence_is_reported() {
    let drill = Drill::of(&aof::of_lines("SET a 1\nSETBIT bits 9000000 1\nLPUSH a x\nSET b 2"));
    let targets = scene::servers(1);
    set(&targets[0], "proto-max-bulk-len", LIMIT);
    let output = drill.loader().arg("--json").servers(&targets).run();
    assert_diverged(&output);
    let report: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(report["warnings"], serde_json::json!([]), "{report:#}");
    assert_eq!(report["shards"][0]["commands"], 4, "{report:#}");
    assert_eq!(report["ignored_errors"][0]["count"], 1, "{report:#}");
    assert_eq!(targets[0].cmd(&["GET", "b"]), Ok(redis::Value::BulkString(b"2".to_vec())));
}

/// A loading server meets the same errors, and goes on.
#[test]
fn what_fails_on_every_server_is_no_divergence() {
    let drill = Drill::of(&aof::of_lines(
        "SET a 1\nSETBIT bits -1 1\nBITFIELD bits SET u8 -1 1\nMOVE a -1\nCOPY a c DB -1\nRESTORE d 0 nonsense\n\
         FUNCTION RESTORE nonsense\nSET b 2",
    ));
    let targets = scene::servers(1);
    let output = drill.loader().arg("--json").servers(&targets).run_ok();
    let report: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(report["ignored_errors"][0]["count"], 6, "{report:#}");
    drill.assert_loaded(&targets);
}

/// Missing permission is found out while the batch is queued, so nothing of it is applied: no divergence, and once it is
/// given the same command goes on.
#[test]
fn a_permission_that_is_taken_away_stops_the_load_until_it_is_given_back() {
    let drill = Drill::mixed(drill::seed(113), ROUNDS);
    let targets = Targets::new();
    targets.slow();
    let loader = drill.load(&targets);
    let mut run = loader.spawn();
    drill.wait_for(&mut run, &targets.masters[0], 0.3);
    targets.masters[0].cmd(&["ACL", "SETUSER", "default", "-append"]).expect("ACL SETUSER");
    let output = run.finish();
    assert_eq!(output.code, Some(7), "{output}");
    assert!(output.stderr.contains("NOPERM") && output.stderr.contains("ACL SETUSER"), "{output}");
    assert_eq!(mark(&targets.masters[0]).expect("a marker").phase, "loading");
    targets.masters[0].cmd(&["ACL", "SETUSER", "default", "+append"]).expect("ACL SETUSER");
    targets.fast();
    loader.run_ok();
    drill.assert_loaded(&targets.masters);
}
