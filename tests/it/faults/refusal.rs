//! Targets that refuse for a while: OOM, NOREPLICAS, READONLY, BUSY.
//!
//! The bug: a hole, because one batch is refused and the next one, already under way, is not; or a load that gives up,
//! or never ends, although it only had to wait.
//! Its mechanism: what is refused is refused batch by batch, and the reason passes between two of them.
//! The guard: each batch names the marker of the one before; the loader waits, reads the marker, and goes on from there.

use super::ROUNDS;
use crate::drill::{self, Drill, Targets, mark, set, stat};
use crate::support::loader::{Output, Running};
use std::thread;

/// A load with many batches in flight, so that there is a next one.
fn deep(drill: &Drill, targets: &Targets) -> Running {
    targets.delay(5);
    let limits = ["--batch-bytes", "4KiB", "--in-flight-bytes", "32KiB"];
    drill.loader().args(&limits).masters(&targets.addrs()).spawn()
}

fn assert_complete(drill: &Drill, targets: &Targets, output: &Output) {
    assert_eq!(output.code, Some(0), "{output}");
    drill.assert_loaded(&targets.masters);
}

/// Refuses until the loader has met it, again and again, each time after it has got on, on each lane in turn.
fn passing(seed: u64, option: &str, error: &str) {
    const TIMES_MIN: usize = 5;
    let drill = Drill::mixed(seed, 2 * ROUNDS);
    let targets = Targets::new();
    let mut run = deep(&drill, &targets);
    let mut times = 0;
    let output = loop {
        let master = &targets.masters[times % 3];
        let before = mark(master);
        let ended = drill::or_end(&mut run, || {
            let now = mark(master);
            now != before && now.is_some_and(|mark| mark.phase == "loading" && mark.at.2 > 0)
        });
        let refused = stat(master, error, "count");
        set(master, option, "1");
        let ended = ended.or_else(|| drill::or_end(&mut run, || stat(master, error, "count") > refused));
        set(master, option, "0");
        if let Some(output) = ended {
            break output;
        }
        times += 1;
    };
    assert!(times >= TIMES_MIN, "only {times} refusals: {output}");
    assert_complete(&drill, &targets, &output);
}

#[test]
fn memory_runs_out_for_a_while() {
    passing(drill::seed(61), "maxmemory", "errorstat_OOM");
}

#[test]
fn replicas_are_missing_for_a_while() {
    passing(drill::seed(62), "min-replicas-to-write", "errorstat_NOREPLICAS");
}

#[test]
fn a_master_is_a_replica_for_a_while() {
    let drill = Drill::mixed(drill::seed(63), ROUNDS);
    let targets = Targets::new();
    let mut run = deep(&drill, &targets);
    let (master, addr) = (&targets.masters[0], targets.proxies[0].addr());
    for fraction in [0.1, 0.3, 0.5] {
        drill.wait_for(&mut run, master, fraction);
        let refused = stat(master, "errorstat_READONLY", "count");
        // Nobody listens there, so that it keeps its data.
        master.cmd(&["REPLICAOF", "127.0.0.1", "1"]).expect("REPLICAOF");
        run.wait_until("a refusal", || stat(master, "errorstat_READONLY", "count") > refused);
        drill::wait_for_log(&mut run, &format!("{addr} is a replica of 127.0.0.1:1"));
        master.cmd(&["REPLICAOF", "NO", "ONE"]).expect("REPLICAOF NO ONE");
    }
    targets.fast();
    assert_complete(&drill, &targets, &run.finish());
}

#[test]
fn a_slow_script_keeps_a_master_busy() {
    let drill = Drill::mixed(drill::seed(64), ROUNDS);
    let targets = Targets::new();
    let mut run = deep(&drill, &targets);
    let (master, addr) = (&targets.masters[0], targets.proxies[0].addr());
    drill.wait_for(&mut run, master, 0.2);
    set(master, "busy-reply-threshold", "1");
    let mut conn = master.conn();
    let script =
        thread::spawn(move || redis::cmd("EVAL").arg("while true do end").arg(0).query::<()>(&mut conn));
    drill::wait_for_log(&mut run, &format!("{addr} answered: BUSY"));
    master.cmd(&["SCRIPT", "KILL"]).expect("SCRIPT KILL");
    script.join().expect("no panic").expect_err("the script was killed");
    targets.fast();
    assert_complete(&drill, &targets, &run.finish());
}

/// Waiting has an end, and what happened until then is kept.
#[test]
fn memory_that_stays_full_stops_the_load_and_a_rerun_goes_on() {
    let drill = Drill::mixed(drill::seed(65), ROUNDS);
    let targets = Targets::new();
    targets.slow();
    let loader = drill.load(&targets);
    let mut run = loader.clone().args(&["--retry-for-s", "1"]).spawn();
    drill.wait_for(&mut run, &targets.masters[2], 0.3);
    set(&targets.masters[2], "maxmemory", "1");
    let output = run.finish();
    assert_eq!(output.code, Some(7), "{output}");
    assert!(output.stderr.contains("OOM") && output.stderr.contains("resumes"), "{output}");
    let reached = mark(&targets.masters[2]).expect("a marker");
    assert!(reached.phase == "loading" && reached.at.2 > 0, "{reached:?}");
    set(&targets.masters[2], "maxmemory", "0");
    targets.fast();
    loader.run_ok();
    drill.assert_loaded(&targets.masters);
}
