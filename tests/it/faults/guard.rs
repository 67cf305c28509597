//! A server refuses one transaction and what guards the next one, and then accepts again.
//!
//! The bug: a hole. Batch n is not applied, batch n + 1 is, and its marker says that both are.
//! Its mechanism: the server refuses writes while batch n comes in, so it is aborted. Whatever was sent behind it to
//! guard batch n + 1 is refused as well, to its last byte. Then writes are accepted again, and the rest of what was sent
//! goes through. Replicas that come back (NOREPLICAS), memory (OOM), a master that was a replica for a moment
//! (READONLY) and the end of a slow script (BUSY) do this.
//! The guard against it: EXEC is not sent before the server has said that the marker is where it must be.

use super::ROUNDS;
use super::gate::{Before, Gate};
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

/// Refuses one transaction and what comes right behind it, and no more.
fn refused_between_two_batches(seed: u64, rest: Rest, refuse: impl Fn(&Server), accept: impl Fn(&Server)) {
    for before in [Before::Multi, Before::Exec] {
        let drill = Drill::mixed(seed, ROUNDS);
        let masters = scene::servers(3);
        let gate = Gate::start(masters[0].addr(), before);
        let limits = ["--batch-bytes", "4KiB", "--in-flight-bytes", "32KiB"];
        let addrs = [gate.addr(), masters[1].addr(), masters[2].addr()];
        let mut run = drill.loader().args(&limits).masters(&addrs).spawn();
        run.wait_until("the first batches", || mark(&masters[0]).is_some_and(|mark| mark.at.2 > 3));
        gate.close();
        refuse(&masters[0]);
        gate.pass(1);
        run.wait_until("a refusal", || gate.replies().contains("\r\n-"));
        drill::eventually("the loader to give the connection up", || gate.is_abandoned());
        accept(&masters[0]);
        if rest == Rest::Late {
            gate.admit_another();
        }
        gate.deliver_first();
        gate.open();
        let output = run.finish();
        assert_eq!(output.code, Some(0), "{before:?}: {output}");
        drill.assert_loaded(&masters);
    }
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

/// The guard is refused for good: the user may not read the marker any more, from the middle of the load on.
#[test]
fn reading_forbidden_in_the_middle_of_a_load() {
    let drill = Drill::mixed(drill::seed(55), ROUNDS);
    let masters = scene::servers(3);
    let proxy = Proxy::start(masters[0].addr());
    proxy.delay(std::time::Duration::from_millis(2));
    let limits = ["--batch-bytes", "4KiB", "--in-flight-bytes", "16KiB"];
    let addrs = [proxy.addr(), masters[1].addr(), masters[2].addr()];
    let loader = drill.loader().args(&limits).masters(&addrs);
    let mut run = loader.spawn();
    drill.wait_for(&mut run, &masters[0], 0.2);
    masters[0].cmd(&["ACL", "SETUSER", "default", "-get"]).expect("ACL SETUSER");
    let output = run.finish();
    assert_eq!(output.code, Some(7), "{output}");
    assert!(output.stderr.contains("ACL SETUSER"), "{output}");
    masters[0].cmd(&["ACL", "SETUSER", "default", "+get"]).expect("ACL SETUSER");
    loader.run_ok();
    drill.assert_loaded(&masters);
}
