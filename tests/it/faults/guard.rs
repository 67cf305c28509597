//! The guard itself is refused, and the batch after it is not.
//!
//! The bug: a hole. Batch n is not applied, batch n + 1 is, and its marker says that both are.
//! Its mechanism: the server refuses writes while batch n comes in, so it is aborted. It still refuses when the guard of
//! batch n + 1 runs: the guard sees the wrong marker but cannot touch it, because touching is a write, and is answered
//! with an error that nobody on the server heeds. Then writes are accepted again, and the EXEC of batch n + 1 goes
//! through. Replicas that come back (NOREPLICAS), a disk that has room again (MISCONF), a master that was a replica
//! for a moment (READONLY) and the end of a slow script (BUSY) do this.
//! The guard against it: a marker that has passed a batch which was refused is a divergence, which stops the load, is
//! written into the marker, and is refused by every later run until the load starts over. Nothing is silently lost.

use super::ROUNDS;
use super::gate::Gate;
use crate::drill::{self, Drill, mark, set};
use crate::scene;
use crate::support::proxy::Proxy;
use crate::support::server::Server;
use std::thread;

/// When the server gets the rest of what the loader had sent before it gave the connection up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// Before the loader is back.
    Soon,
    /// After the loader has read the marker, and before the refused batch comes in once more.
    Late,
}

/// Refuses one batch and the guard of the next one, and no more.
fn refused_between_two_batches(
    seed: u64,
    rest: Rest,
    refuse: impl FnOnce(&Server),
    accept: impl FnOnce(&Server),
) {
    let drill = Drill::mixed(seed, ROUNDS);
    let masters = scene::servers(3);
    let gate = Gate::start(masters[0].addr());
    let limits = ["--batch-bytes", "4KiB", "--in-flight-bytes", "32KiB"];
    let addrs = [gate.addr(), masters[1].addr(), masters[2].addr()];
    let mut run = drill.loader().args(&limits).masters(&addrs).spawn();
    run.wait_until("the first batches", || mark(&masters[0]).is_some_and(|mark| mark.at.2 > 3));
    gate.close();
    refuse(&masters[0]);
    gate.pass(1);
    // The batch is aborted, then WATCH is answered, and then the guard, by an error or (if it could touch) by 0.
    run.wait_until("the next guard's answer", || {
        let replies = gate.replies();
        let after = replies.split_once("EXECABORT").map_or("", |(_, after)| after);
        after.contains("+OK\r\n-") || after.contains("+OK\r\n:0\r\n")
    });
    drill::eventually("the loader to give the connection up", || gate.is_abandoned());
    accept(&masters[0]);
    if rest == Rest::Late {
        gate.admit_another();
    }
    gate.deliver_first();
    gate.open();
    let output = run.finish();
    if output.code == Some(8) {
        // The hole was made, seen, and is never passed over.
        let again = drill.loader().masters(&addrs_of(&masters)).run();
        assert_eq!(again.code, Some(8), "{again}");
        drill.loader().args(&["--restart", "--flush-targets"]).masters(&addrs_of(&masters)).run_ok();
    } else {
        assert_eq!(output.code, Some(0), "{output}");
    }
    drill.assert_loaded(&masters);
}

fn addrs_of(masters: &[Server]) -> Vec<String> {
    masters.iter().map(|master| master.addr().to_string()).collect()
}

fn without_replicas(seed: u64, rest: Rest) {
    let change = |value: &'static str| move |server: &Server| set(server, "min-replicas-to-write", value);
    refused_between_two_batches(seed, rest, change("1"), change("0"));
}

#[test]
fn writes_refused_for_want_of_replicas_between_two_batches() {
    without_replicas(drill::seed(51), Rest::Soon);
}

#[test]
fn writes_refused_for_want_of_replicas_and_the_rest_comes_late() {
    without_replicas(drill::seed(56), Rest::Late);
}

fn without_memory(seed: u64, rest: Rest) {
    let change = |value: &'static str| move |server: &Server| set(server, "maxmemory", value);
    refused_between_two_batches(seed, rest, change("1"), change("0"));
}

#[test]
fn writes_refused_for_want_of_memory_between_two_batches() {
    without_memory(drill::seed(52), Rest::Soon);
}

#[test]
fn writes_refused_for_want_of_memory_and_the_rest_comes_late() {
    without_memory(drill::seed(57), Rest::Late);
}

fn as_a_replica(seed: u64, rest: Rest) {
    let change = |to: [&'static str; 2]| {
        move |server: &Server| drop(server.cmd(&["REPLICAOF", to[0], to[1]]).expect("REPLICAOF"))
    };
    // Nobody listens there, so that it keeps its data.
    refused_between_two_batches(seed, rest, change(["127.0.0.1", "1"]), change(["NO", "ONE"]));
}

#[test]
fn writes_refused_by_a_replica_between_two_batches() {
    as_a_replica(drill::seed(53), Rest::Soon);
}

#[test]
fn writes_refused_by_a_replica_and_the_rest_comes_late() {
    as_a_replica(drill::seed(58), Rest::Late);
}

fn during_a_slow_script(seed: u64, rest: Rest) {
    let begin = |server: &Server| {
        set(server, "busy-reply-threshold", "1");
        let mut conn = server.conn();
        thread::spawn(move || redis::cmd("EVAL").arg("while true do end").arg(0).query::<()>(&mut conn));
        drill::eventually("BUSY", || server.cmd(&["PING"]).is_err());
    };
    let end = |server: &Server| {
        server.cmd(&["SCRIPT", "KILL"]).expect("SCRIPT KILL");
        drill::eventually("the end of the script", || server.cmd(&["PING"]).is_ok());
    };
    refused_between_two_batches(seed, rest, begin, end);
}

#[test]
fn writes_refused_during_a_slow_script_between_two_batches() {
    during_a_slow_script(drill::seed(54), Rest::Soon);
}

#[test]
fn writes_refused_during_a_slow_script_and_the_rest_comes_late() {
    during_a_slow_script(drill::seed(59), Rest::Late);
}

/// The guard is refused for good, since the user has lost the permission to run scripts in the middle of the load; and
/// bytes of a connection from then arrive late.
#[test]
fn scripts_forbidden_in_the_middle_of_a_load() {
    let drill = Drill::of(&drill::mixed_without_functions(55, ROUNDS));
    let masters = scene::servers(3);
    let proxy = Proxy::start(masters[0].addr());
    let limits = ["--batch-bytes", "4KiB", "--in-flight-bytes", "16KiB"];
    let addrs = [proxy.addr(), masters[1].addr(), masters[2].addr()];
    let loader = drill.loader().args(&limits).masters(&addrs);
    proxy.delay(std::time::Duration::from_millis(2));
    let mut run = loader.spawn();
    drill.wait_for(&mut run, &masters[0], 0.2);
    masters[0].cmd(&["ACL", "SETUSER", "default", "-eval"]).expect("ACL SETUSER");
    let (connections, before) = (proxy.connections(), mark(&masters[0]));
    proxy.hold_after(15_000);
    // Either it stops, saying what is missing, or it goes on without scripts, over another connection.
    let stopped = loop {
        if let Some(output) = run.try_wait() {
            break Some(output);
        }
        if proxy.connections() > connections && mark(&masters[0]) != before {
            break None;
        }
        thread::yield_now();
    };
    proxy.release();
    proxy.delay(std::time::Duration::ZERO);
    let output = stopped.unwrap_or_else(|| run.finish());
    masters[0].cmd(&["ACL", "SETUSER", "default", "+eval"]).expect("ACL SETUSER");
    match output.code {
        Some(0) => {}
        Some(7) => drop(loader.run_ok()),
        _ => panic!("{output}"),
    }
    drill.assert_loaded(&masters);
}
