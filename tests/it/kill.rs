//! The loader is killed at any moment and run again: is anything lost, or applied twice?
//!
//! The bug: INCR, RPUSH and APPEND that count twice, or never, after a crash.
//! Its mechanism: a position that is kept beside the data is ahead of it or behind it whenever the crash comes between
//! the two; and what a dead loader had handed to the kernel reaches the server after the next one has read its position.
//! The guard: the marker is set by the transaction that applies the batch, and a batch only goes in if the marker stands
//! where the batch expects it. For directories: data is only counted up to the length that the marker file names.

use crate::drill::{self, Drill, Mark, Sight, marks};
use crate::scene;
use crate::support::aof;
use crate::support::loader::{Loader, Running};
use crate::support::server::Server;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

const SHARDS: usize = 3;
/// About 100,000 commands and two windows.
const ROUNDS: usize = 1_100;
const POLL_PAUSE: Duration = Duration::from_micros(200);

/// What the kills of a test hit.
#[derive(Debug, Default)]
struct Tally {
    kills: usize,
    /// Markers strictly between start and end, and all that were looked at.
    between: usize,
    looked_at: usize,
}

impl Tally {
    fn add(&mut self, found: &[Option<Mark>], ends: &[Mark]) {
        self.kills += 1;
        self.looked_at += found.len();
        let hits = found
            .iter()
            .zip(ends)
            .filter(|(found, end)| found.as_ref().is_some_and(|mark| mark.is_between(end)));
        self.between += hits.count();
    }

    /// A kill before the first batch or after the last one tells nothing.
    fn assert_telling(&self, kills: usize) {
        println!("{self:?}");
        assert!(self.kills >= kills, "{self:?}");
        assert!(2 * self.between >= self.looked_at, "too many kills came before or after the load: {self:?}");
    }
}

/// Runs until `reached` says so or it ends by itself; killed either way. False: it had ended.
pub fn run_and_kill(loader: &Loader, mut reached: impl FnMut() -> bool) -> bool {
    let mut run: Running = loader.spawn();
    while !reached() {
        if let Some(output) = run.try_wait() {
            assert_eq!(output.code, Some(0), "nobody disturbed it: {output}");
            return false;
        }
        thread::sleep(POLL_PAUSE);
    }
    run.kill9();
    true
}

/// An undisturbed load: what it leaves is right, and its markers tell where the lanes end.
fn rehearse(drill: &Drill, masters: &[Server]) -> Vec<Mark> {
    drill.loader().servers(masters).arg("--keep-markers").run_ok();
    let ends: Vec<Mark> = marks(masters).into_iter().map(|mark| mark.expect("kept")).collect();
    assert!(ends.iter().all(|end| end.phase == "settled" && end.at.1 > 0), "{ends:?}");
    drill.reset(masters);
    ends
}

/// Loads again and again, each load killed one to three times before it may finish.
fn kill_and_rerun(seed: u64, loads: usize) -> Tally {
    let mut rng = StdRng::seed_from_u64(seed);
    let drill = Drill::mixed(seed, ROUNDS);
    let masters = scene::servers(SHARDS);
    let ends = rehearse(&drill, &masters);
    let mut tally = Tally::default();
    for _ in 0..loads {
        // With little in flight a kill leaves little behind; with much, the rest of the stream still comes in.
        let in_flight = ["4KiB", "16KiB", "64KiB", "256KiB"][rng.random_range(0..4)];
        let limits = ["--batch-bytes", "4KiB", "--in-flight-bytes", in_flight];
        let loader = drill.loader().servers(&masters).args(&limits);
        let mut target = 0.0;
        for _ in 0..rng.random_range(1..=3) {
            // The first may come before the first marker.
            target += rng.random_range(0.0..0.6) * (0.9 - target);
            let mut sight = Sight::of(&masters[rng.random_range(0..SHARDS)]);
            if !run_and_kill(&loader, || drill.fraction(sight.mark().as_ref()) >= target) {
                break;
            }
            drop(sight);
            if rng.random_ratio(1, 2) {
                // Otherwise the rerun begins while the servers still work off what the dead one had sent.
                drill::eventually("the end of its connections", || {
                    masters.iter().all(|at| Sight::of(at).is_alone())
                });
            }
            tally.add(&marks(&masters), &ends);
        }
        loader.run_ok();
        drill.assert_loaded(&masters);
        drill.reset(&masters);
    }
    tally
}

#[test]
fn killed_while_loading_into_masters() {
    kill_and_rerun(drill::seed(1), 10).assert_telling(15);
}

/// Another source, in another order.
#[test]
fn killed_while_loading_into_masters_again() {
    kill_and_rerun(drill::seed(2), 10).assert_telling(15);
}

/// The masters read nothing for a moment, so the loader fills their sockets until it is stuck in the middle of a batch, and
/// is killed there: they find its last batch cut at any byte.
#[test]
fn killed_in_the_middle_of_a_write() {
    const KILLS: usize = 4;
    let drill = Drill::of(&large_appends(27));
    let masters = scene::servers(SHARDS);
    let loader = Loader::new(drill.dir()).arg(drill.source()).arg("-v").servers(&masters);
    let mut stuck = 0;
    for kill in 0..KILLS {
        let mut run = loader.spawn();
        // One batch of the few that there are, so that however late this sees it there are more to come.
        let at = &masters[kill % SHARDS];
        let before = drill::mark(at).map(|mark| mark.at);
        run.wait_until("a batch", || {
            drill::mark(at).filter(|mark| mark.phase == "loading").map(|mark| mark.at) > before
        });
        masters.iter().for_each(Server::pause);
        stuck += usize::from(is_stuck(&masters));
        run.kill9();
        masters.iter().for_each(Server::resume);
    }
    loader.run_ok();
    drill.assert_loaded(&masters);
    assert!(2 * stuck >= KILLS, "the loader had written everything in {} of {KILLS} cases", KILLS - stuck);
}

/// Batches of a few commands each that no socket takes in whole.
fn large_appends(count: usize) -> Vec<u8> {
    const VALUE_BYTES: usize = 12 << 20;
    const KEYS: usize = 9;
    let mut out = Vec::new();
    for nth in 0..count {
        let (key, value) = (nth % KEYS, vec![b'a' + (nth % 26) as u8; VALUE_BYTES]);
        aof::push(&mut out, &[b"APPEND", format!("a:{key}").as_bytes(), &value]);
        aof::push_words(&mut out, &format!("INCR n:{key}"));
        aof::push_words(&mut out, &format!("RPUSH l:{key} {nth}"));
    }
    out
}

/// Whether a connection to one of these ends up with bytes that it cannot get rid of.
fn is_stuck(masters: &[Server]) -> bool {
    const SAME_MIN: usize = 50;
    let waiting = || -> Vec<u64> { masters.iter().map(|master| unsent_bytes(master.port())).collect() };
    let (mut same, mut before) = (0, waiting());
    drill::eventually("standstill", || {
        let now = waiting();
        same = if now == before { same + 1 } else { 0 };
        before = now;
        same >= SAME_MIN
    });
    before.iter().any(|bytes| *bytes > 0)
}

/// What the kernel keeps of connections to this port because the other side takes no more.
fn unsent_bytes(port: u16) -> u64 {
    let remote = format!("0100007F:{port:04X}");
    let table = fs::read_to_string("/proc/net/tcp").expect("/proc shows connections");
    let queued = |line: &str| -> Option<u64> {
        let mut words = line.split_whitespace().skip(2);
        (words.next()? == remote).then_some(())?;
        u64::from_str_radix(words.nth(1)?.split_once(':')?.0, 16).ok()
    };
    table.lines().filter_map(queued).sum()
}

/// The moment of each kill is a byte count of one shard's data file; markers of directories move seldom.
#[test]
fn killed_while_writing_directories() {
    const LOADS: usize = 5;
    let mut rng = StdRng::seed_from_u64(drill::seed(3));
    let drill = Drill::mixed(drill::seed(3), 2 * ROUNDS);
    let (mut kills, mut between) = (0, 0);
    for load in 0..LOADS {
        let out = drill.dir().join(format!("out-{load}"));
        let dirs: Vec<PathBuf> = (0..SHARDS).map(|shard| out.join(format!("shard-{shard}"))).collect();
        let loader = drill.loader().args(&["--shards", "3", "--output"]).arg(&out);
        let whole = std::fs::metadata(drill.source()).expect("the source").len() / SHARDS as u64;
        for _ in 0..rng.random_range(1..=3) {
            let (at, target) = (&dirs[rng.random_range(0..SHARDS)], rng.random_range(0..whole * 8 / 10));
            if !run_and_kill(&loader, || data_bytes(at) > target) {
                break;
            }
            kills += 1;
            between += usize::from(data_bytes(at) > 0 && !manifest(at).exists());
        }
        loader.run_ok();
        drill.assert_loaded(&scene::started(dirs));
        fs::remove_file(drill.checkpoint()).expect("a checkpoint");
    }
    println!("{between} of {kills} kills came while data was written");
    assert!(kills >= LOADS && 2 * between >= kills);
}

/// Stopped in good order first, so that the marker files name a length in the middle; what the killed run wrote behind
/// it has to go.
#[test]
fn killed_while_going_on_with_directories() {
    let mut rng = StdRng::seed_from_u64(drill::seed(4));
    // Several times what is written in one go, so that much is left when the first of it is seen.
    let drill = Drill::mixed(drill::seed(4), 8 * ROUNDS);
    let out = drill.dir().join("out");
    let dirs: Vec<PathBuf> = (0..SHARDS).map(|shard| out.join(format!("shard-{shard}"))).collect();
    let loader = drill.loader().args(&["--shards", "3", "--output"]).arg(&out);
    let mut run = loader.spawn();
    run.wait_until("some data", || data_bytes(&dirs[0]) > 0);
    run.sigterm();
    assert_eq!(run.finish().code, Some(9));
    let sure = data_bytes(&dirs[1]);
    assert!(sure > 0 && !manifest(&dirs[1]).exists());
    // What is tied goes to the scratch lane, so a shard has less than its third of the source.
    let target = sure + rng.random_range(0..1 << 18);
    assert!(run_and_kill(&loader, || data_bytes(&dirs[1]) > target), "it ended too soon");
    loader.run_ok();
    drill.assert_loaded(&scene::started(dirs));
}

#[test]
fn killed_while_loading_into_masters_and_a_directory() {
    const LOADS: usize = 3;
    let mut rng = StdRng::seed_from_u64(drill::seed(5));
    let drill = Drill::mixed(drill::seed(5), ROUNDS);
    let masters = scene::servers(2);
    for load in 0..LOADS {
        let dir = drill.dir().join(format!("out-{load}"));
        let loader = drill.loader().args(&["--batch-bytes", "4KiB", "--in-flight-bytes", "16KiB"]);
        let loader = loader.topology(&format!(
            "[[replica_set]]\nmaster = \"{}\"\n[[replica_set]]\naof = \"{}\"\n[[replica_set]]\nmaster = \"{}\"\n",
            masters[0].addr(),
            dir.display(),
            masters[1].addr()
        ));
        for target in [rng.random_range(0.0..0.4), rng.random_range(0.4..0.8)] {
            let mut sight = Sight::of(&masters[load % 2]);
            if !run_and_kill(&loader, || drill.fraction(sight.mark().as_ref()) >= target) {
                break;
            }
        }
        loader.run_ok();
        drill.assert_loaded([&masters[0], &scene::started(vec![dir])[0], &masters[1]]);
        drill.reset(&masters);
    }
}

/// What a run leaves that is killed while it makes the directories: some are there, and there is nothing in them.
#[test]
fn killed_while_making_directories() {
    let drill = Drill::mixed(drill::seed(6), ROUNDS / 10);
    for (out, made) in ["one", "two", "three"].iter().zip([0, 1, 2]) {
        let out = drill.dir().join(out);
        let dirs: Vec<PathBuf> = (0..SHARDS).map(|shard| out.join(format!("shard-{shard}"))).collect();
        fs::create_dir_all(dirs[0].join("appendonlydir")).expect("a directory");
        if made > 0 {
            fs::write(dirs[0].join("appendonlydir/appendonly.aof.1.incr.aof"), "").expect("a file");
        }
        if made > 1 {
            fs::write(dirs[0].join("redcluster-load.marker.new"), "redcluster-load/1 phase=pre")
                .expect("a file");
        }
        drill.loader().args(&["--shards", "3", "--output"]).arg(&out).run_ok();
        drill.assert_loaded(&scene::started(dirs));
        fs::remove_file(drill.checkpoint()).expect("a checkpoint");
    }
}

fn data_bytes(shard: &Path) -> u64 {
    fs::metadata(shard.join("appendonlydir/appendonly.aof.1.incr.aof")).map_or(0, |data| data.len())
}

fn manifest(shard: &Path) -> PathBuf {
    shard.join("appendonlydir/appendonly.aof.manifest")
}
