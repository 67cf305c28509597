//! The loader is killed while it puts deadlines right and removes its markers.
//!
//! The bug: keys that never expire, or expire 100,000 years too early or too late; or a load that is done and cannot be
//! run again.
//! Its mechanism: putting right takes a while, and done twice it would take the offset away twice; and once the markers
//! are gone, nothing in the targets tells a done load from foreign keys.
//! The guard: only deadlines past the offset are changed, the marker says that it is being done, and the checkpoint says
//! that markers are being removed before the first one goes.

use crate::drill::{self, Drill, Targets, mark, phase, sessions, stat};
use crate::support::loader::Output;
use crate::support::server::Server;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fs;
use std::time::Duration;

const SESSIONS: usize = 20_000;

fn drill() -> (Drill, Targets) {
    (Drill::of(&sessions(SESSIONS, SESSIONS / 4)), Targets::new())
}

/// Deadlines that were looked at on this server, whoever did.
fn looked_at(server: &Server) -> u64 {
    stat(server, "cmdstat_pexpiretime", "calls")
}

/// Kills one load up to three times before it may end; returns how many kills came in settling.
fn kill_and_finish(drill: &Drill, targets: &Targets, rng: &mut StdRng) -> usize {
    let mut in_settling = 0;
    // Each step of settling takes one round trip.
    targets.delay(5);
    for _ in 0..3 {
        let master = &targets.masters[rng.random_range(0..3)];
        let mut run = drill.loader_into(targets).spawn();
        let ended = drill::or_end(&mut run, || phase(master).as_deref() == Some("settling"));
        let (before, more) = (looked_at(master), rng.random_range(1..2_500));
        let ended = ended.or_else(|| drill::or_end(&mut run, || looked_at(master) >= before + more));
        if let Some(output) = ended {
            assert_eq!(output.code, Some(0), "{output}");
            break;
        }
        run.kill9();
        in_settling += usize::from(phase(master).as_deref() == Some("settling"));
    }
    targets.fast();
    drill.loader_into(targets).run_ok();
    drill.assert_loaded(&targets.masters);
    in_settling
}

#[test]
fn killed_while_deadlines_are_put_right() {
    const LOADS: usize = 2;
    let seed = drill::seed(91);
    let mut rng = StdRng::seed_from_u64(seed);
    let (drill, targets) = drill();
    println!("seed {seed}");
    let mut in_settling = 0;
    for _ in 0..LOADS {
        in_settling += kill_and_finish(&drill, &targets, &mut rng);
        drill.reset(&targets.masters);
    }
    assert!(in_settling >= LOADS, "only {in_settling} kills came in settling");
}

/// The first marker is gone, the last one is not.
fn kill_between_markers() -> (Drill, Targets) {
    let (drill, targets) = drill();
    let mut run = drill.loader_into(&targets).spawn();
    run.wait_until("settling", || phase(&targets.masters[0]).is_some_and(|phase| phase.starts_with("settl")));
    targets.proxies[0].delay(Duration::from_millis(50));
    run.wait_until("the first marker to go", || mark(&targets.masters[1]).is_none());
    run.kill9();
    assert_eq!(phase(&targets.masters[0]).as_deref(), Some("settled"), "the markers went at once");
    targets.fast();
    (drill, targets)
}

#[test]
fn killed_while_markers_are_removed() {
    let (drill, targets) = kill_between_markers();
    drill.loader_into(&targets).run_ok();
    drill.assert_loaded(&targets.masters);
}

#[test]
fn killed_while_markers_are_removed_and_the_checkpoint_is_lost() {
    let (drill, targets) = kill_between_markers();
    fs::remove_file(drill.checkpoint()).expect("a checkpoint");
    drill.loader_into(&targets).run_ok();
    drill.assert_loaded(&targets.masters);
}

/// The last marker is gone and the loader has not heard of it: however long that took, the next run must know that all
/// is done.
#[test]
fn killed_after_the_last_marker_is_removed() {
    let (drill, targets) = drill();
    let mut run = drill.loader_into(&targets).spawn();
    run.wait_until("settling", || phase(&targets.masters[0]).is_some_and(|phase| phase.starts_with("settl")));
    targets.proxies.iter().for_each(|proxy| proxy.delay(Duration::from_millis(150)));
    run.wait_until("all markers to go", || targets.marks().iter().all(Option::is_none));
    run.kill9();
    targets.fast();
    drill.assert_loaded(&targets.masters);
    let output: Output = drill.loader_into(&targets).run();
    assert_eq!(output.code, Some(0), "the load was done: {output}");
    drill.assert_loaded(&targets.masters);
}

#[test]
fn interrupted_while_deadlines_are_put_right() {
    let (drill, targets) = drill();
    targets.delay(10);
    let mut run = drill.loader_into(&targets).spawn();
    run.wait_until("deadlines to be put right", || looked_at(&targets.masters[1]) > 0);
    drill.interrupt_and_finish(run, &targets);
}
