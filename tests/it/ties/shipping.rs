//! The loader is killed, or a master fails over, while keys are brought from shard to shard.
//!
//! The bug: a key that is removed where it was before it is safe where it belongs; or one that comes back.
//! Its mechanism: bringing and removing are two steps on two servers, with no transaction around both.
//! The guard: nothing is removed anywhere before every marker says that all is there, and every declared replica has it;
//! bringing is harmless to repeat until then, and only goes in while the marker is as it was.

use super::SHARDS;
use crate::drill::{self, Drill, Sets, Targets, mark, phase};
use crate::scene::assert_refused;
use crate::support::loader::{Loader, Running};
use crate::support::server::Server;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fmt::Write;

const KEYS_PER_GROUP: usize = 12;

/// Groups of keys that are tied together, lists and strings that only grow, with deadlines past and far; two thirds of
/// them have to be brought to other shards.
pub fn tied(groups: usize) -> Vec<u8> {
    let mut lines = String::new();
    for round in 0..4 {
        for group in 0..groups {
            for key in 0..KEYS_PER_GROUP {
                let _ = writeln!(lines, "RPUSH l:{group}:{key} {round}");
                if key > 0 {
                    let _ = writeln!(lines, "LMOVE l:{group}:{key} l:{group}:{} LEFT RIGHT", key - 1);
                }
                let _ = writeln!(lines, "RPUSH l:{group}:{key} {round}x");
                if round == 2 && key % 3 == 0 {
                    let at =
                        if key % 2 == 0 { 1_500_000_000_000_u64 } else { 4_000_000_000_000 } + key as u64;
                    let _ = writeln!(lines, "PEXPIREAT l:{group}:{key} {at}");
                }
            }
        }
    }
    crate::support::aof::of_lines(&lines)
}

fn in_or_past(phase: Option<&str>, wanted: &str) -> bool {
    const ORDER: [&str; 6] = ["prepared", "loading", "shipping", "shipped", "settling", "settled"];
    let rank = |word: &str| ORDER.iter().position(|one| *one == word);
    phase.is_some_and(|phase| rank(phase) >= rank(wanted))
}

/// Transactions that a server has carried out.
fn transactions(server: &Server) -> u64 {
    drill::stat(server, "cmdstat_exec", "calls")
}

/// One load after the other, each killed some transactions later than the one before, from the first step of bringing
/// keys to the last of removing them; and each followed by one that finishes.
#[test]
fn killed_at_every_step_of_shipping_and_settling() {
    let (drill, targets) = (Drill::of(&tied(6)), Targets::new());
    let loader = Loader::new(drill.dir()).arg(drill.source()).arg("-v").masters(&targets.addrs());
    let (mut step, mut phases) = (0, std::collections::BTreeSet::new());
    loop {
        targets.delay(2);
        let mut run = loader.spawn();
        let master = &targets.masters[step % SHARDS];
        let ended = drill::or_end(&mut run, || in_or_past(phase(master).as_deref(), "shipping"));
        let from = transactions(master);
        let more = (step / SHARDS) as u64;
        let ended = ended.or_else(|| drill::or_end(&mut run, || transactions(master) >= from + more));
        if let Some(output) = ended {
            assert_eq!(output.code, Some(0), "{output}");
            targets.fast();
            drill.assert_loaded(&targets.masters);
            break;
        }
        run.kill9();
        phases.extend(targets.marks().into_iter().map(|mark| mark.map(|mark| mark.phase)));
        targets.fast();
        loader.run_ok();
        drill.assert_loaded(&targets.masters);
        drill.reset(&targets.masters);
        step += 1;
    }
    println!("{step} kills, in {phases:?}");
    assert!(step > 3 * SHARDS, "only {step} kills");
    for phase in ["shipping", "shipped", "settling", "settled"] {
        assert!(phases.contains(&Some(phase.to_owned())), "no kill came while {phase}: {phases:?}");
    }
}

/// Several kills of one and the same load.
#[test]
fn killed_again_and_again() {
    let seed = drill::seed(31);
    println!("seed {seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let (drill, targets) = (Drill::of(&tied(25)), Targets::new());
    for _ in 0..3 {
        targets.delay(2);
        for _ in 0..5 {
            let mut run = drill.loader_into(&targets).spawn();
            let master = &targets.masters[rng.random_range(0..SHARDS)];
            let ended = drill::or_end(&mut run, || in_or_past(phase(master).as_deref(), "shipping"));
            let (from, more) = (transactions(master), rng.random_range(0..8));
            let reached = || transactions(master) >= from + more || phase(master).is_none();
            if ended.or_else(|| drill::or_end(&mut run, reached)).is_some() {
                break;
            }
            run.kill9();
        }
        targets.fast();
        drill.loader_into(&targets).run_ok();
        drill.assert_loaded(&targets.masters);
        drill.reset(&targets.masters);
    }
}

#[test]
fn interrupted_while_keys_are_brought() {
    let (drill, targets) = (Drill::of(&tied(25)), Targets::new());
    targets.delay(10);
    let mut run = drill.loader_into(&targets).spawn();
    run.wait_until("shipping", || in_or_past(phase(&targets.masters[1]).as_deref(), "shipping"));
    drill.interrupt_and_finish(run, &targets);
}

/// With little in flight, so that no transaction is large.
fn loader_into(sets: &Sets) -> Loader {
    sets.loader().args(&["--batch-bytes", "4KiB", "--in-flight-bytes", "4KiB"])
}

/// A load under way, of which the replica gets a part and hears nothing more.
fn cut_off(sets: &Sets) -> Running {
    sets.follow();
    // Some batches of what is some dozens.
    sets.cut_replica_off_after(20_000);
    let mut run = loader_into(sets).spawn();
    run.wait_until("the replica to have a part", || {
        mark(&sets.replica).is_some_and(|mark| mark.at > (0, 0, 0))
    });
    run
}

/// The replica has nothing of what was brought to its master, and perhaps not all of what was loaded.
#[test]
fn a_replica_that_lags_is_promoted_while_keys_are_brought() {
    let mut sets = Sets::of(&tied(25));
    sets.targets.delay(4);
    let mut run = cut_off(&sets);
    run.wait_until("shipping", || in_or_past(phase(&sets.targets.masters[0]).as_deref(), "shipping"));
    assert_eq!(phase(&sets.replica).as_deref(), Some("loading"), "it does not lag");
    sets.fail_over();
    sets.finish(run);
}

/// Nothing is removed anywhere as long as a declared replica has not confirmed what was brought to its master.
#[test]
fn nothing_is_removed_before_replicas_have_what_was_brought() {
    let mut sets = Sets::of(&tied(25));
    let mut run = cut_off(&sets);
    run.wait_until("all that is brought", || phase(&sets.targets.masters[0]).as_deref() == Some("shipped"));
    // It waits for the replica: no other shard may go on meanwhile.
    run.wait_until("the others", || {
        sets.targets.masters[1..].iter().all(|master| phase(master).as_deref() == Some("shipped"))
    });
    let removed =
        || sets.targets.masters.iter().map(|at| drill::stat(at, "cmdstat_unlink", "calls")).sum::<u64>();
    assert_eq!(removed(), 0);
    run.kill9();
    assert_eq!(removed(), 0);
    sets.fail_over();
    loader_into(&sets).run_ok();
    sets.assert_loaded();
}

/// Keys that were removed on a master are back on its replica, and on no other shard is anything missing.
#[test]
fn a_replica_that_lags_is_promoted_after_keys_were_removed() {
    let mut sets = Sets::of(&tied(25));
    sets.follow();
    sets.targets.delay(4);
    let mut run = loader_into(&sets).spawn();
    run.wait_until("all to be brought", || in_or_past(phase(&sets.replica).as_deref(), "shipped"));
    // Time to cut the replica off between its master's marker and what is removed.
    sets.targets.delay(250);
    run.wait_until("settling", || in_or_past(phase(&sets.targets.masters[0]).as_deref(), "settling"));
    sets.cut_replica_off();
    let removed = |server: &Server| drill::stat(server, "cmdstat_unlink", "calls");
    run.wait_until("keys to be removed", || sets.targets.masters.iter().all(|master| removed(master) > 0));
    assert_eq!(removed(&sets.replica), 0, "it does not lag");
    sets.fail_over();
    sets.finish(run);
    assert!(removed(&sets.replica) > 0, "it was made to forget what is not its own");
}

/// What was brought to its master may be removed by now where it came from.
#[test]
fn a_replica_that_never_had_what_was_brought_ends_the_load() {
    let mut sets = Sets::of(&tied(25));
    sets.follow();
    sets.cut_replica_off_after(20_000);
    sets.targets.delay(4);
    // It is not declared, so nobody waits for it.
    let small = ["--batch-bytes", "4KiB", "--in-flight-bytes", "4KiB"];
    let mut run = sets.drill.loader_into(&sets.targets).args(&small).spawn();
    run.wait_until("keys to be removed", || {
        in_or_past(phase(&sets.targets.masters[1]).as_deref(), "settling")
    });
    run.kill9();
    assert_eq!(phase(&sets.replica).as_deref(), Some("loading"), "it does not lag");
    sets.fail_over();
    let output = loader_into(&sets).run();
    assert_refused(
        &output,
        7,
        &["a target has fallen behind since it was complete", &sets.targets.addrs()[0]],
    );
}
