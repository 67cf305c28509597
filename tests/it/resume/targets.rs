//! Somebody else has been at the targets.

use super::{ROUNDS, assert_refused_and_resumes_once, assert_resumes, contents, stopped};
use crate::drill::{self, Drill, Targets, mark};
use crate::scene::{assert_refused, empty};
use crate::support::loader::MARKER;

/// A master that was emptied between two runs is as good as a new one.
#[test]
fn flushed_while_nobody_was_loading() {
    let (drill, targets) = stopped(231);
    empty(&targets.masters[2..]);
    assert_resumes(&drill, &targets);
}

/// FLUSHALL leaves the function libraries, so the master is not empty.
#[test]
fn flushed_but_for_its_functions() {
    let load = stopped(230);
    let master = &load.1.masters[2];
    master.cmd(&["FLUSHALL"]).expect("FLUSHALL");
    // Whether one of the source's own was there yet depends on the moment.
    let library = "#!lua name=left\nredis.register_function('f', function() return 1 end)";
    master.cmd(&["FUNCTION", "LOAD", "REPLACE", library]).expect("FUNCTION LOAD");
    let run = || load.0.load(&load.1).run();
    assert_refused_and_resumes_once(&load, run, (6, &["no marker", "of functions"]), || {
        master.cmd(&["FUNCTION", "FLUSH"]).expect("FUNCTION FLUSH");
    });
}

/// The guard of the next batch notices, and the lane begins again.
#[test]
fn flushed_in_the_middle_of_a_load() {
    let drill = Drill::mixed(drill::seed(232), 2 * ROUNDS);
    let targets = Targets::new();
    targets.slow();
    let mut run = drill
        .loader()
        .args(&["--batch-bytes", "4KiB", "--in-flight-bytes", "16KiB"])
        .masters(&targets.addrs())
        .spawn();
    drill.wait_for(&mut run, &targets.masters[1], 0.3);
    targets.masters[1].cmd(&["FLUSHALL"]).expect("FLUSHALL");
    targets.fast();
    let output = run.finish();
    assert_eq!(output.code, Some(0), "{output}");
    drill.assert_loaded(&targets.masters);
}

/// Keys without a marker: nobody knows whose they are.
#[test]
fn a_marker_deleted_while_nobody_was_loading() {
    let load = stopped(233);
    let master = &load.1.masters[0];
    let text = mark(master).expect("a marker").text;
    let run = || {
        master.cmd(&["DEL", MARKER]).expect("DEL");
        let before = contents(&load.1.masters);
        let output = load.0.load(&load.1).run();
        assert!(contents(&load.1.masters) == before, "a refused run has changed the targets");
        // For the comparison with before the deletion.
        master.cmd(&["SET", MARKER, &text]).expect("SET");
        output
    };
    assert_refused_and_resumes_once(&load, run, (6, &["no marker", "--restart"]), || {});
}

#[test]
fn a_marker_deleted_in_the_middle_of_a_load() {
    let drill = Drill::mixed(drill::seed(234), ROUNDS);
    let targets = Targets::new();
    targets.slow();
    let loader = drill.load(&targets);
    let mut run = loader.spawn();
    drill.wait_for(&mut run, &targets.masters[0], 0.3);
    targets.masters[0].cmd(&["DEL", MARKER]).expect("DEL");
    assert_refused(&run.finish(), 6, &["marker", "--restart --flush-targets"]);
    assert_eq!(mark(&targets.masters[0]), None);
    targets.fast();
    loader.args(&["--restart", "--flush-targets"]).run_ok();
    drill.assert_loaded(&targets.masters);
}

/// Something that is no marker under the marker's name is not overwritten.
#[test]
fn the_markers_name_is_taken() {
    for make in [
        &["SET", MARKER, "hello"][..],
        &["RPUSH", MARKER, "a"],
        &["SET", MARKER, "redcluster-load/2 phase=new"],
    ] {
        let drill = Drill::mixed(drill::seed(235), ROUNDS / 10);
        let targets = Targets::new();
        targets.masters[1].cmd(make).expect("it can be made");
        let before = contents(&targets.masters);
        assert_refused(&drill.load(&targets).run(), 6, &["marker", &targets.addrs()[1]]);
        assert!(contents(&targets.masters) == before, "{make:?}");
    }
}

/// The targets of one load are not those of another, and the first one can still be finished.
#[test]
fn in_use_by_another_load() {
    let load = stopped(236);
    let other = Drill::mixed(drill::seed(237), ROUNDS);
    assert_refused_and_resumes_once(&load, || other.load(&load.1).run(), (6, &[]), || {});
}

/// Neither does --flush-targets of another load destroy it.
#[test]
fn in_use_by_another_load_and_to_be_flushed() {
    let load = stopped(238);
    let other = Drill::mixed(drill::seed(239), ROUNDS);
    let run = || other.load(&load.1).arg("--flush-targets").run();
    assert_refused_and_resumes_once(&load, run, (6, &[]), || {});
}

/// Only some of them are in use.
#[test]
fn partly_in_use_by_another_load() {
    let load = stopped(240);
    let other = Drill::mixed(drill::seed(241), ROUNDS);
    let fresh = Targets::new();
    let mixed = [fresh.addrs()[0].clone(), load.1.addrs()[1].clone(), fresh.addrs()[2].clone()];
    let run = || other.loader().masters(&mixed).arg("--flush-targets").run();
    assert_refused_and_resumes_once(&load, run, (6, &[]), || {});
    crate::scene::assert_untouched(&fresh.masters);
}

/// A different name for the marker does not find the one that is there; the keys speak for themselves.
#[test]
fn another_name_for_the_marker() {
    let load = stopped(242);
    let run = || load.0.load(&load.1).args(&["--marker-key", "other"]).run();
    assert_refused_and_resumes_once(&load, run, (6, &[]), || {});
}
