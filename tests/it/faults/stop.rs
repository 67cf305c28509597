//! The loader is asked to stop, or gives up: it says so by its exit code, and the same command goes on.
//!
//! The bug: an interrupted load that reports success, cannot be resumed, or does not stop.

use super::ROUNDS;
use crate::drill::{self, Drill, Targets, mark, mixed_durable};
use crate::support::loader::{Loader, Running};
use crate::support::server::Server;
use std::fs;
use std::time::Duration;

/// What "at once" means for a process that may first have to be scheduled.
const AT_ONCE: Duration = Duration::from_secs(5);

fn drill(seed: u64) -> (Drill, Targets) {
    let targets = Targets::new();
    targets.slow();
    (Drill::mixed(drill::seed(seed), ROUNDS), targets)
}

fn resume(drill: &Drill, targets: &Targets) {
    targets.fast();
    drill.load(targets).run_ok();
    drill.assert_loaded(&targets.masters);
}

fn stops_in_good_order(seed: u64, signal: impl Fn(&Running)) {
    let (drill, targets) = drill(seed);
    for fraction in [0.2, 0.5] {
        let mut run = drill.load(&targets).spawn();
        drill.wait_for(&mut run, &targets.masters[1], fraction);
        signal(&run);
        let output = run.finish();
        assert_eq!(output.code, Some(9), "{output}");
        assert!(
            output.stderr.contains("a signal asked to stop") && output.stderr.contains("resumes"),
            "{output}"
        );
        assert!(output.stdout.starts_with("interrupted: a signal asked to stop; "), "{output}");
        let marks = targets.marks();
        assert!(marks.iter().flatten().all(|mark| mark.phase == "loading"), "{marks:?}");
        // What was under way is applied and written down.
        let checkpoint = fs::read_to_string(drill.checkpoint()).expect("a checkpoint");
        assert!(
            marks.iter().flatten().all(|mark| checkpoint.contains(&mark.text)),
            "{marks:?}\n{checkpoint}"
        );
    }
    resume(&drill, &targets);
}

#[test]
fn sigterm_stops_in_good_order() {
    stops_in_good_order(101, Running::sigterm);
}

#[test]
fn sigint_stops_in_good_order() {
    stops_in_good_order(102, Running::sigint);
}

/// A master that does not answer keeps the first signal from ending the run; the second one does not wait for it.
#[test]
fn a_second_signal_leaves_at_once() {
    let (drill, targets) = drill(103);
    let mut run = drill.load(&targets).spawn();
    drill.wait_for(&mut run, &targets.masters[0], 0.2);
    targets.masters[0].pause();
    run.sigterm();
    // Another signal than the first, since two of one kind may become one.
    run.sigint();
    let output = run.wait(AT_ONCE);
    targets.masters[0].resume();
    assert_eq!(output.code, Some(9), "{output}");
    assert!(output.stderr.contains("error: a second signal ended the run at once"), "{output}");
    resume(&drill, &targets);
}

/// Whoever waits is told at once what for, and how not to; with -q only the end is.
#[test]
fn a_signal_is_told_while_a_master_hangs() {
    for quiet in [false, true] {
        let (drill, targets) = drill(107);
        let limits = ["--batch-commands", "10", "--batch-bytes", "4KiB", "--in-flight-bytes", "4KiB"];
        let loader = Loader::new(drill.dir()).arg(drill.source()).masters(&targets.addrs()).args(&limits);
        let loader = loader.arg(if quiet { "-q" } else { "-v" });
        let mut run = loader.spawn();
        drill.wait_for(&mut run, &targets.masters[0], 0.2);
        targets.masters[0].pause();
        run.sigterm();
        if !quiet {
            drill::wait_for_log(&mut run, "stopping: waiting for what is under way");
        }
        run.sigint();
        let output = run.wait(AT_ONCE);
        targets.masters[0].resume();
        assert_eq!(output.code, Some(9), "{output}");
        assert_eq!(output.stderr.contains("stopping: "), !quiet, "{output}");
        assert_eq!(output.stderr.matches("a second signal ended the run at once").count(), 1, "{output}");
        resume(&drill, &targets);
    }
}

/// Waiting for a target that is away is no reason to be deaf.
#[test]
fn sigterm_stops_a_loader_that_waits_for_a_master() {
    let (drill, targets) = drill(104);
    let mut run = drill.load(&targets).spawn();
    drill.wait_for(&mut run, &targets.masters[2], 0.2);
    targets.proxies[2].refuse(true);
    targets.proxies[2].cut();
    drill::wait_for_log(&mut run, "no master");
    run.sigterm();
    let output = run.wait(AT_ONCE);
    assert_eq!(output.code, Some(9), "{output}");
    targets.proxies[2].refuse(false);
    resume(&drill, &targets);
}

/// Before anything is written there is nothing to resume, and nothing to clean up.
#[test]
fn a_master_that_stays_away_ends_the_run() {
    for patience in ["0", "1"] {
        let drill = Drill::of(&mixed_durable(drill::seed(105), ROUNDS));
        let mut targets = Targets::behind((0..3).map(|_| Server::start(&[("appendonly", "yes")])).collect());
        targets.slow();
        let loader = drill.load(&targets).args(&["--retry-for-s", patience]);
        let mut run = loader.spawn();
        drill.wait_for(&mut run, &targets.masters[0], 0.3);
        targets.masters[0].kill9();
        let output = run.finish();
        assert_eq!(output.code, Some(7), "{output}");
        assert!(output.stderr.contains("--retry-for-s") && output.stderr.contains("resumes"), "{output}");
        targets.masters[0].restart();
        assert!(targets.marks().iter().all(|mark| mark.as_ref().is_some_and(|mark| mark.phase == "loading")));
        targets.fast();
        loader.run_ok();
        drill.assert_loaded(&targets.masters);
    }
}

/// A rerun whose target is away writes nothing anywhere.
#[test]
fn a_rerun_without_one_of_the_masters_changes_nothing() {
    let (drill, targets) = drill(106);
    drill.interrupt_at(&drill.load(&targets), &targets, 0.3);
    let before = targets.marks();
    targets.proxies[1].refuse(true);
    let output = drill.load(&targets).run();
    assert_eq!(output.code, Some(5), "{output}");
    assert!(output.stderr.contains("nothing more was written"), "{output}");
    assert_eq!(targets.marks(), before);
    targets.proxies[1].refuse(false);
    resume(&drill, &targets);
    assert_eq!(mark(&targets.masters[0]), None);
}
