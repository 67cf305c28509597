//! The same command once more, and the options that change what it means.

use super::{assert_no_marks, assert_refused_and_resumes_once, assert_resumes, complete, contents, stopped};
use crate::drill::{Drill, Targets, stat};
use crate::scene::assert_refused;
use crate::support::server::Server;
use redis::Value;
use std::fs;

/// The server's own idea of what it holds.
fn digests(servers: &[Server]) -> Vec<Value> {
    servers.iter().map(|server| server.cmd(&["DEBUG", "DIGEST"]).expect("DEBUG DIGEST")).collect()
}

/// The server's own count of what was changed.
fn changes(servers: &[Server]) -> u64 {
    let count = |server: &Server| {
        server.info("rdb_changes_since_last_save").and_then(|text| text.parse::<u64>().ok())
    };
    servers.iter().map(|server| count(server).expect("INFO tells")).sum()
}

/// Says that all is done, exits with 0, and writes nothing at all.
fn assert_says_complete(drill: &Drill, targets: &Targets, more: &[&str]) {
    let before = (contents(&targets.masters), digests(&targets.masters), changes(&targets.masters));
    let checkpoint = fs::read(drill.checkpoint()).expect("a checkpoint");
    let output = drill.load(targets).args(more).run_ok();
    assert!(output.stdout.contains("nothing was done"), "{output}");
    let after = (contents(&targets.masters), digests(&targets.masters), changes(&targets.masters));
    assert!(after.0 == before.0, "a load that was done has changed the targets");
    assert_eq!((after.1, after.2), (before.1, before.2), "a load that was done has changed the targets");
    assert_eq!(fs::read(drill.checkpoint()).expect("a checkpoint"), checkpoint);
}

#[test]
fn of_a_complete_load() {
    let (drill, targets) = complete(251);
    assert_no_marks(&targets.marks());
    assert_says_complete(&drill, &targets, &[]);
    assert_says_complete(&drill, &targets, &[]);
}

/// Not even --flush-targets touches a load that is done.
#[test]
fn of_a_complete_load_with_flush_targets() {
    let (drill, targets) = complete(252);
    assert_says_complete(&drill, &targets, &["--flush-targets"]);
    drill.assert_loaded(&targets.masters);
}

#[test]
fn of_a_complete_load_whose_targets_live_on() {
    let (drill, targets) = complete(253);
    targets.masters[0].cmd(&["SET", "live", "1"]).expect("SET");
    targets.masters[1].cmd(&["FLUSHALL"]).expect("FLUSHALL");
    assert_says_complete(&drill, &targets, &[]);
}

#[test]
fn of_a_load_that_keeps_its_markers() {
    let (drill, targets) = stopped(254);
    drill.load(&targets).arg("--keep-markers").run_ok();
    let marks = targets.marks();
    assert!(marks.iter().all(|mark| mark.as_ref().is_some_and(|mark| mark.phase == "settled")), "{marks:?}");
    assert_says_complete(&drill, &targets, &["--keep-markers"]);
    // They tell of themselves: the checkpoint is not needed, and without the option they go.
    fs::remove_file(drill.checkpoint()).expect("a checkpoint");
    let changes_before = changes(&targets.masters);
    drill.load(&targets).run_ok();
    assert!(changes(&targets.masters) - changes_before < 50, "it has loaded again");
    drill.assert_loaded(&targets.masters);
}

/// Starting over is not resuming: what the targets hold is in the way, and stays.
#[test]
fn with_restart_alone() {
    let load = stopped(255);
    let run = || load.0.load(&load.1).arg("--restart").run();
    assert_refused_and_resumes_once(&load, run, (5, &["not empty", "--flush-targets"]), || {});
}

#[test]
fn with_restart_and_flush_targets() {
    for (drill, targets) in [stopped(256), complete(257)] {
        let output = drill.load(&targets).args(&["--restart", "--flush-targets"]).run_ok();
        assert!(!output.stderr.contains("resuming at"), "{output}");
        assert!(targets.masters.iter().all(|master| stat(master, "cmdstat_flushall", "calls") == 1));
        drill.assert_loaded(&targets.masters);
    }
}

/// Emptied by hand.
#[test]
fn with_restart_and_empty_targets() {
    let (drill, targets) = stopped(258);
    crate::scene::empty(&targets.masters);
    drill.load(&targets).arg("--restart").run_ok();
    drill.assert_loaded(&targets.masters);
}

/// It is for the start of a load; on a rerun, of which the first run may have died at any moment, it deletes nothing.
#[test]
fn with_flush_targets() {
    let drill = Drill::mixed(crate::drill::seed(259), super::ROUNDS);
    let targets = Targets::new();
    targets.masters[0].cmd(&["SET", "old", "1"]).expect("SET");
    targets.masters[2]
        .cmd(&["FUNCTION", "LOAD", "#!lua name=old\nredis.register_function('old', function() end)"])
        .expect("FUNCTION LOAD");
    let refused = drill.load(&targets).run();
    assert_refused(&refused, 5, &["not empty", "--flush-targets"]);
    let loader = drill.load(&targets).arg("--flush-targets");
    for fraction in [0.2, 0.5] {
        drill.interrupt_at(&loader, &targets, fraction);
    }
    fs::remove_file(drill.checkpoint()).expect("a checkpoint");
    let output = loader.run_ok();
    assert!(output.stderr.contains("resuming at"), "{output}");
    assert!(targets.masters.iter().all(|master| stat(master, "cmdstat_flushall", "calls") == 1));
    drill.assert_loaded(&targets.masters);
}

/// Other limits than those that the load began with are those of the load, since they decide where batches end.
#[test]
fn with_other_limits() {
    let (drill, targets) = stopped(260);
    let args =
        ["--batch-commands", "333", "--batch-bytes", "2KiB", "--threads", "1", "--in-flight-bytes", "3KiB"];
    let output = drill.loader().args(&args[2..]).masters(&targets.addrs()).run_ok();
    assert!(output.stderr.contains("resuming at"), "{output}");
    drill.assert_loaded(&targets.masters);
    let (drill, targets) = stopped(261);
    crate::support::loader::Loader::new(drill.dir())
        .arg(drill.source())
        .args(&args)
        .masters(&targets.addrs())
        .run_ok();
    drill.assert_loaded(&targets.masters);
}

#[test]
fn of_a_stopped_load() {
    let (drill, targets) = stopped(262);
    assert_resumes(&drill, &targets);
    assert_says_complete(&drill, &targets, &[]);
}
