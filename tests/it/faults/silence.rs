//! A master that stays silent for longer than the loader waits, and then works off everything.
//!
//! The bug: batches applied twice, since the loader has sent them again while the master was still to read them.
//! Its mechanism: a stopped master's kernel takes connections and bytes; when it wakes up it reads the old connection's
//! bytes and the new one's, in any order.
//! The guard: whichever comes second finds the marker moved and changes nothing.

use super::ROUNDS;
use crate::drill::{self, Drill, Targets};
use crate::support::server::Server;

/// The loader gives a silent connection up after a moment, and then waits for the master.
fn silent(seed: u64, be_silent: impl Fn(&Server), speak_again: impl Fn(&Server)) {
    let drill = Drill::mixed(seed, ROUNDS);
    let targets = Targets::new();
    targets.slow();
    let limits = ["--batch-bytes", "4KiB", "--in-flight-bytes", "64KiB", "--timeout-ms", "300"];
    let mut run = drill.loader().args(&limits).masters(&targets.addrs()).spawn();
    let (master, proxy) = (&targets.masters[0], &targets.proxies[0]);
    for fraction in [0.1, 0.3, 0.5] {
        drill.wait_for(&mut run, master, fraction);
        let connections = proxy.connections();
        be_silent(master);
        // Given up and tried again, more than once.
        run.wait_until("new connections", || proxy.connections() >= connections + 3);
        speak_again(master);
    }
    targets.fast();
    let output = run.finish();
    assert_eq!(output.code, Some(0), "{output}");
    drill.assert_loaded(&targets.masters);
}

#[test]
fn a_master_is_stopped_for_a_while() {
    silent(drill::seed(71), Server::pause, Server::resume);
}

/// Writes wait, reads are answered.
#[test]
fn a_master_pauses_writes_for_a_while() {
    let pause =
        |master: &Server| drop(master.cmd(&["CLIENT", "PAUSE", "100000", "WRITE"]).expect("CLIENT PAUSE"));
    let go_on = |master: &Server| drop(master.cmd(&["CLIENT", "UNPAUSE"]).expect("CLIENT UNPAUSE"));
    silent(drill::seed(72), pause, go_on);
}

/// Shorter than the loader waits: nothing happens at all.
#[test]
fn a_master_sleeps_for_less_than_the_timeout() {
    let drill = Drill::mixed(drill::seed(73), ROUNDS);
    let targets = Targets::new();
    targets.slow();
    let mut run = drill.load(&targets).spawn();
    drill.wait_for(&mut run, &targets.masters[0], 0.2);
    let connections = targets.proxies[0].connections();
    targets.masters[0].cmd(&["DEBUG", "SLEEP", "1"]).expect("DEBUG SLEEP");
    drill.wait_for(&mut run, &targets.masters[0], 0.3);
    assert_eq!(targets.proxies[0].connections(), connections, "the connection was given up");
    targets.fast();
    assert_eq!(run.finish().code, Some(0));
    drill.assert_loaded(&targets.masters);
}
