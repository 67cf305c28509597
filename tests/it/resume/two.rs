//! Two loaders at one load, by mistake.
//!
//! The bug: both send, and every batch is applied twice or out of order.
//! The guard: on one machine a lock beside the checkpoint; anywhere else the marker, which names the run and its owner. The
//! later run takes over; the earlier one finds the marker changed, and stops.

use super::ROUNDS;
use crate::drill::{self, Drill, Targets};
use crate::scene::{Scene, assert_refused};
use crate::support::loader::Loader;

#[test]
fn the_second_one_on_this_machine_is_refused() {
    let drill = Drill::mixed(drill::seed(271), ROUNDS);
    let targets = Targets::new();
    targets.slow();
    let loader = drill.load(&targets);
    let mut run = loader.spawn();
    drill.wait_for(&mut run, &targets.masters[0], 0.1);
    assert_refused(&loader.run(), 6, &["another loader", "dump.aof.checkpoint"]);
    targets.fast();
    let output = run.finish();
    assert_eq!(output.code, Some(0), "{output}");
    drill.assert_loaded(&targets.masters);
    // The lock goes with its owner.
    loader.run_ok();
}

/// As if on another machine: it has a checkpoint of its own.
fn elsewhere(drill: &Drill, targets: &Targets, scene: &Scene) -> Loader {
    drill.load(targets).arg("--checkpoint").arg(scene.dir().join("checkpoint"))
}

/// The first one is stopped for a moment at any place, so that the second one certainly begins in the middle.
#[test]
fn the_first_one_stops_when_a_second_one_takes_over() {
    for (seed, fraction) in [(272, 0.05), (273, 0.3), (274, 0.5)] {
        let drill = Drill::mixed(drill::seed(seed), 2 * ROUNDS);
        let targets = Targets::new();
        targets.slow();
        let mut first = drill.load(&targets).spawn();
        drill.wait_for(&mut first, &targets.masters[0], fraction);
        drill::freeze(&first);
        let there = Scene::new();
        let mut second = elsewhere(&drill, &targets, &there).spawn();
        second.wait_until("its markers", || {
            targets.marks().iter().flatten().any(|mark| mark.text.contains(" run=2 "))
        });
        drill::thaw(&first);
        assert_refused(&first.finish(), 6, &["another loader has taken over"]);
        targets.fast();
        let output = second.finish();
        assert_eq!(output.code, Some(0), "{output}");
        drill.assert_loaded(&targets.masters);
    }
}

/// Started at once: at most one of them ends well, and if none does a rerun puts it right.
#[test]
fn two_that_start_together() {
    for seed in [275, 276, 277, 278] {
        let drill = Drill::mixed(drill::seed(seed), ROUNDS);
        let targets = Targets::new();
        targets.slow();
        let there = Scene::new();
        let runs = [drill.load(&targets).spawn(), elsewhere(&drill, &targets, &there).spawn()];
        let outputs = runs.map(|run| run.finish());
        targets.fast();
        let codes: Vec<_> = outputs.iter().map(|output| output.code).collect();
        println!("{codes:?}");
        for output in &outputs {
            // 5: the other one had written by the time this one looked.
            assert!(matches!(output.code, Some(0 | 5 | 6)), "{output}");
            assert!(!output.stderr.contains("panicked"), "{output}");
        }
        if !codes.contains(&Some(0)) {
            drill.load(&targets).run_ok();
        }
        drill.assert_loaded(&targets.masters);
    }
}
