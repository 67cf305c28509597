//! A master dies and a replica takes its place, which may lag behind.
//!
//! The bug: what the replica had not received is missing for good, or what it had is applied twice.
//! Its mechanism: the loader goes on where the dead master was.
//! The guard: the marker is replicated with its batch, so the new master's marker says what the new master holds, and the
//! lane goes back to it, however far that is.

use crate::drill::{self, Sets, mark, mixed_durable};
use crate::scene::assert_refused;
use crate::support::loader::{Loader, Running};

/// Two windows, so that a lane may have to go back to the one before.
const ROUNDS: usize = 1_500;

fn sets(seed: u64) -> Sets {
    Sets::of(&mixed_durable(seed, ROUNDS))
}

fn loader(sets: &Sets) -> Loader {
    sets.loader().args(&["--batch-bytes", "4KiB", "--in-flight-bytes", "32KiB"])
}

fn wait_for(sets: &Sets, run: &mut Running, fraction: f64) {
    sets.drill.wait_for(run, &sets.targets.masters[0], fraction);
}

/// The replica, which has begun to follow the load, hears nothing more.
fn cut_replica_off(sets: &Sets) {
    drill::eventually("the replica's first marker", || mark(&sets.replica).is_some());
    sets.cut_replica_off();
}

#[test]
fn a_replica_in_step_is_promoted() {
    let mut sets = sets(drill::seed(81));
    sets.follow();
    sets.targets.slow();
    let mut run = loader(&sets).spawn();
    wait_for(&sets, &mut run, 0.3);
    drill::eventually("the replica's first batch", || {
        mark(&sets.replica).is_some_and(|mark| mark.phase == "loading")
    });
    let from = sets.fail_over();
    assert!(from.as_ref().is_some_and(|mark| mark.phase == "loading"), "{from:?}");
    sets.finish(run);
}

#[test]
fn a_replica_that_lags_is_promoted() {
    for (seed, cut_at, die_at) in [(82, 0.1, 0.15), (83, 0.05, 0.4), (84, 0.2, 0.85)] {
        let mut sets = sets(drill::seed(seed));
        sets.follow();
        sets.targets.slow();
        let mut run = loader(&sets).spawn();
        wait_for(&sets, &mut run, cut_at);
        cut_replica_off(&sets);
        wait_for(&sets, &mut run, die_at);
        // However late this sees that, the replica has to have missed something.
        let at = |server| mark(server).map(|mark| mark.at);
        run.wait_until("what the replica misses", || at(&sets.targets.masters[0]) > at(&sets.replica));
        let reached = mark(&sets.targets.masters[0]).expect("a marker");
        let from = sets.fail_over().expect("the replica has a marker");
        assert!(from.at < reached.at, "it does not lag: {from:?}, {reached:?}");
        sets.finish(run);
    }
}

/// The master of before comes back as a replica: it is one to wait for again.
#[test]
fn the_old_master_follows_the_new_one() {
    let mut sets = sets(drill::seed(87));
    sets.follow();
    sets.targets.slow();
    let mut run = loader(&sets).args(&["--replica-wait-ms", "300"]).spawn();
    wait_for(&sets, &mut run, 0.3);
    sets.fail_over();
    sets.targets.masters[0].restart();
    let old = &sets.targets.masters[0];
    let port = sets.replica.port().to_string();
    old.cmd(&["REPLICAOF", "127.0.0.1", &port]).expect("REPLICAOF");
    drill::eventually("the link", || old.info("master_link_status").as_deref() == Some("up"));
    old.pause();
    sets.targets.fast();
    let output = run.finish();
    old.resume();
    assert_refused(&output, 7, &["replicas have not confirmed", "0 of 1"]);
    let output = loader(&sets).run_ok();
    assert!(output.stdout.contains("replicas      have everything\n"), "{output}");
    sets.assert_loaded();
    let same = || mark(old).is_none() && old.info("master_link_status").as_deref() == Some("up");
    drill::eventually("the old master", same);
    sets.drill.assert_loaded([old, &sets.targets.masters[1], &sets.targets.masters[2]]);
}

/// As far behind as can be: nothing of the load had reached it.
#[test]
fn a_replica_without_anything_is_promoted() {
    let mut sets = sets(drill::seed(85));
    sets.targets.slow();
    let mut run = loader(&sets).spawn();
    wait_for(&sets, &mut run, 0.3);
    assert_eq!(sets.fail_over(), None);
    sets.finish(run);
}

/// The loader dies as well, and the next run finds a checkpoint that is ahead of the new master.
#[test]
fn the_loader_is_killed_around_a_failover() {
    let mut sets = sets(drill::seed(86));
    sets.follow();
    sets.targets.slow();
    let mut run = loader(&sets).spawn();
    wait_for(&sets, &mut run, 0.1);
    cut_replica_off(&sets);
    wait_for(&sets, &mut run, 0.3);
    run.kill9();
    let from = sets.fail_over();
    let mut run = loader(&sets).spawn();
    run.wait_until("progress", || {
        mark(&sets.replica).is_some_and(|mark| Some(mark.at) > from.as_ref().map(|from| from.at))
    });
    run.kill9();
    sets.targets.fast();
    loader(&sets).run_ok();
    sets.assert_loaded();
}
