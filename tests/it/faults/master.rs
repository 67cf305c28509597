//! A master is killed with -9 and started again from its append-only file, while the loader goes on.
//!
//! The bug: batches that the master had answered are lost, or batches that it had not answered are applied twice.
//! Its mechanism: the loader cannot know whether a batch without an answer went in; and a transaction that was torn
//! at the file's end stays there open (seen on 6.2 to 8.0), so that after the next restart but one the batch sent again
//! is read as part of it and runs twice.
//! The guard: the marker in the master decides; and a master that comes back has to rewrite its file first.

use super::ROUNDS;
use crate::drill::{self, Drill, Targets, mixed_durable, sessions};
use crate::scene::assert_refused;
use crate::support::server::Server;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fs::{self, OpenOptions};
use std::path::PathBuf;

const PERSISTENT: [(&str, &str); 3] =
    [("appendonly", "yes"), ("appendfsync", "always"), ("auto-aof-rewrite-percentage", "0")];

/// What happens to the end of the file between death and restart.
#[derive(Clone, Copy, Debug)]
enum Tail {
    /// Nothing: the process died, the machine did not.
    Whole,
    /// It is cut at any byte of the last transactions, as by a machine that died.
    Torn,
}

fn die_and_come_back(seed: u64, tail: Tail) {
    let mut rng = StdRng::seed_from_u64(seed);
    let drill = Drill::of(&mixed_durable(seed, ROUNDS));
    let mut targets = Targets::behind((0..3).map(|_| Server::start(&PERSISTENT)).collect());
    targets.slow();
    let mut run = drill.load(&targets).spawn();
    for from in [0.1, 0.45] {
        let victim = rng.random_range(0..3);
        drill.wait_for(&mut run, &targets.masters[victim], from + rng.random_range(0.0..0.3));
        targets.masters[victim].kill9();
        if let Tail::Torn = tail {
            tear(&targets.masters[victim], rng.random_range(1..4000));
        }
        targets.masters[victim].restart();
    }
    targets.fast();
    let output = run.finish();
    assert_eq!(output.code, Some(0), "{output}");
    drill.assert_loaded(&targets.masters);
    for master in &mut targets.masters {
        master.restart();
    }
    drill.assert_loaded(&targets.masters);
}

/// Takes so many bytes off the end of the file that the server appends to.
fn tear(server: &Server, bytes: u64) {
    let path = appended(server);
    let file = OpenOptions::new().write(true).open(&path).expect("the append-only file");
    let len = file.metadata().expect("its length").len();
    file.set_len(len.saturating_sub(bytes)).expect("it can be cut");
}

/// The last file of the manifest.
fn appended(server: &Server) -> PathBuf {
    let dir = server.dir().join("appendonlydir");
    let manifest = fs::read_to_string(dir.join("appendonly.aof.manifest")).expect("a manifest");
    let last = manifest.lines().rfind(|line| line.ends_with("type i")).expect("an incremental file");
    dir.join(last.split(' ').nth(1).expect("its name"))
}

#[test]
fn killed_masters_come_back() {
    die_and_come_back(drill::seed(11), Tail::Whole);
}

#[test]
fn killed_masters_come_back_with_a_torn_file() {
    for seed in [21, 22, 23] {
        die_and_come_back(drill::seed(seed), Tail::Torn);
    }
}

/// The smallest case: the file ends in a transaction that lacks its end, and the server is started three times.
#[test]
fn an_open_transaction_at_the_end_of_the_file_swallows_nothing() {
    let drill = Drill::of(&mixed_durable(drill::seed(24), ROUNDS));
    let mut targets = Targets::behind((0..3).map(|_| Server::start(&PERSISTENT)).collect());
    targets.slow();
    let mut run = drill.load(&targets).spawn();
    drill.wait_for(&mut run, &targets.masters[0], 0.3);
    targets.masters[0].kill9();
    let path = appended(&targets.masters[0]);
    let mut bytes = fs::read(&path).expect("the append-only file");
    // A whole command and half a one: the server cuts the half one only.
    bytes.extend_from_slice(b"*1\r\n$5\r\nMULTI\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n9\r\n*3\r\n$5\r\nRPUSH\r\n$3\r\nl:0\r\n$4\r\ntorn\r\n*3\r\n$3\r\nSE");
    fs::write(&path, bytes).expect("it can be written");
    targets.masters[0].restart();
    targets.fast();
    assert_eq!(run.finish().code, Some(0));
    drill.assert_loaded(&targets.masters);
    targets.masters[0].restart();
    drill.assert_loaded(&targets.masters);
}

/// The master is away for longer than the loader waits between two tries, and is still loading when it is back.
#[test]
fn a_master_that_is_still_loading_is_waited_for() {
    let drill = Drill::of(&mixed_durable(drill::seed(25), ROUNDS));
    let mut targets = Targets::behind((0..3).map(|_| Server::start(&PERSISTENT)).collect());
    targets.slow();
    let mut run = drill.load(&targets).spawn();
    drill.wait_for(&mut run, &targets.masters[1], 0.3);
    targets.masters[1].kill9();
    drill::wait_for_log(&mut run, "no master");
    // Slow enough to be met by a loader that tries every two seconds.
    targets.masters[1].set_option("key-load-delay", "200");
    targets.masters[1].set_option("loading-process-events-interval-bytes", "1024");
    targets.masters[1].restart();
    drill::wait_for_log(&mut run, "LOADING");
    targets.fast();
    let output = run.finish();
    assert_eq!(output.code, Some(0), "{output}");
    drill.assert_loaded(&targets.masters);
}

/// A master that is restarted goes by its configuration file again, whatever it was told before.
#[test]
fn comes_back_with_a_policy_that_evicts() {
    let drill = Drill::of(&mixed_durable(drill::seed(75), ROUNDS));
    let mut targets = Targets::behind((0..3).map(|_| Server::start(&PERSISTENT)).collect());
    targets.slow();
    let mut run = drill.load(&targets).spawn();
    drill.wait_for(&mut run, &targets.masters[1], 0.3);
    targets.masters[1].kill9();
    targets.masters[1].set_option("maxmemory", "1gb");
    targets.masters[1].set_option("maxmemory-policy", "allkeys-lru");
    targets.masters[1].restart();
    targets.fast();
    assert_refused(&run.finish(), 7, &["was restarted or replaced", "would evict keys", "maxmemory-policy"]);
    drill::set(&targets.masters[1], "maxmemory-policy", "noeviction");
    drill.load(&targets).run_ok();
    drill.assert_loaded(&targets.masters);
}

/// What is gone cannot be told from what never was.
#[test]
fn comes_back_and_evicts() {
    let drill = Drill::of(&sessions(20_000, 0));
    let mut targets = Targets::behind((0..3).map(|_| Server::start(&PERSISTENT)).collect());
    targets.slow();
    let mut run = drill.load(&targets).spawn();
    drill.wait_for(&mut run, &targets.masters[1], 0.3);
    run.sigterm();
    assert_eq!(run.finish().code, Some(9));
    targets.masters[1].kill9();
    targets.masters[1].set_option("maxmemory", "100kb");
    // Of keys with deadlines, so that the marker stays.
    targets.masters[1].set_option("maxmemory-policy", "volatile-random");
    targets.masters[1].restart();
    let evicted = || targets.masters[1].info("evicted_keys").is_some_and(|count| count != "0");
    drill::eventually("keys that are evicted", evicted);
    drill::set(&targets.masters[1], "maxmemory", "0");
    targets.fast();
    assert_refused(&drill.load(&targets).run(), 8, &["has evicted keys", "--restart"]);
    drill.load(&targets).args(&["--restart", "--flush-targets"]).run_ok();
    drill.assert_loaded(&targets.masters);
}

#[test]
fn comes_back_empty_and_with_fewer_databases() {
    let drill = Drill::of(&mixed_durable(drill::seed(77), ROUNDS));
    let mut targets = Targets::new();
    targets.slow();
    let mut run = drill.load(&targets).spawn();
    drill.wait_for(&mut run, &targets.masters[1], 0.3);
    targets.masters[1].kill9();
    targets.masters[1].set_option("databases", "1");
    targets.masters[1].restart();
    targets.fast();
    assert_refused(&run.finish(), 7, &["was restarted or replaced", "too few databases"]);
    targets.masters[1].kill9();
    targets.masters[1].set_option("databases", "16");
    targets.masters[1].restart();
    drill.load(&targets).run_ok();
    drill.assert_loaded(&targets.masters);
}
