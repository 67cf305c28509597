//! The loader is killed in the middle of an RDB part and run again.
//!
//! The bug: a value of the part that is missing, or one that is set again over what commands behind the part have made
//! of it. Its mechanism: a position inside the part that is ahead of the data or behind it; and in directories an RDB
//! file whose end, database or checksum is wrong after its first half was written by a process that is dead. The
//! guard: the marker moves with the data, and a directory's file is cut to the length that its marker names.

use crate::drill::{self, Drill, Sight, marks};
use crate::kill::run_and_kill;
use crate::scene::{self, Scene, started};
use crate::support::aof::{self, MultiPart};
use crate::support::compare::assert_same;
use crate::support::fill::{self, noise};
use crate::support::rdb::{self, Rdb};
use crate::support::server::Server;
use crate::support::wire;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SHARDS: usize = 3;
/// Values of the part, large and small ones in turn; about 13 MB, which are three windows.
const VALUES: usize = 3_000;

/// Counters, lists and texts in several databases, a library, and strings that fill some windows.
fn part() -> Vec<u8> {
    let server = Server::start(&[]);
    let conn = &mut server.conn();
    wire::ask(conn, &[b"FUNCTION", b"LOAD", fill::LIBRARY.as_bytes()]);
    for db in ["0", "9"] {
        wire::ask(conn, &[b"SELECT", db.as_bytes()]);
        for n in 0..VALUES / 2 {
            let (text, bytes) = (n.to_string(), noise(n as u64, 8_000));
            let commands: [Vec<&[u8]>; 4] = [
                vec![b"INCRBY", b"n:", text.as_bytes()],
                vec![b"RPUSH", b"l:", text.as_bytes(), b"b"],
                vec![b"APPEND", b"a:", text.as_bytes()],
                vec![b"SET", b"s:", &bytes, b"PXAT", b"4102444800000"],
            ];
            let mut command = commands[n % 4].clone();
            let key = [command[1], text.as_bytes()].concat();
            command[1] = &key;
            wire::ask(conn, &command);
        }
    }
    rdb::saved(&server)
}

/// Commands that change what the part has made, each once: one that is lost, or set back by the part, shows.
fn tail() -> Vec<u8> {
    let mut out = Vec::new();
    for round in 0..3 {
        for db in [9, 0] {
            aof::push_words(&mut out, &format!("SELECT {db}"));
            for n in 0..VALUES / 2 {
                aof::push_words(
                    &mut out,
                    &match n % 4 {
                        0 => format!("INCR n:{n}"),
                        1 => format!("RPUSH l:{n} {round}"),
                        2 => format!("APPEND a:{n} ,{round}"),
                        _ => format!("APPEND s:{n} {round}"),
                    },
                );
            }
        }
    }
    out
}

#[test]
fn killed_while_loading_an_rdb_part_into_masters() {
    const LOADS: usize = 4;
    let mut rng = StdRng::seed_from_u64(drill::seed(21));
    let part = part();
    let drill = Drill::of(&[part.as_slice(), &tail()].concat());
    let masters = scene::servers(SHARDS);
    let (mut inside, mut kills) = (0, 0);
    for load in 0..LOADS {
        let in_flight = ["4KiB", "64KiB"][load % 2];
        let limits = ["--batch-bytes", "4KiB", "--in-flight-bytes", in_flight];
        let loader = drill.loader().servers(&masters).args(&limits);
        let mut target = 0;
        for _ in 0..rng.random_range(2..=4) {
            // The part makes all the keys that there are, so their number says how far it is loaded.
            target += rng.random_range(1..VALUES as u64 / 8);
            let at = &masters[rng.random_range(0..SHARDS)];
            if !run_and_kill(&loader, || scene::keys_in(at) > target) {
                break;
            }
            kills += 1;
            let place = |mark: &drill::Mark| {
                mark.phase == "loading" && mark.at.1 < part.len() as u64 && mark.at > (0, 0, 0)
            };
            inside += usize::from(marks(&masters).iter().flatten().any(place));
        }
        loader.run_ok();
        drill.assert_loaded(&masters);
        for target in &masters {
            let libraries = target.cmd(&["FUNCTION", "LIST"]).expect("it answers");
            assert_eq!(wire::items(&libraries).len(), 1);
        }
        drill.reset(&masters);
    }
    println!("{inside} of {kills} kills left a marker inside the part");
    assert!(kills >= LOADS && 2 * inside >= kills, "{inside} of {kills}");
}

/// Positions inside the part are said where a run stops in good order, too.
#[test]
fn stopped_inside_an_rdb_part_and_resumed_there() {
    let part = part();
    let drill = Drill::of(&part);
    let targets = drill::Targets::new();
    let loader = drill.load(&targets);
    targets.slow();
    let mut run = loader.spawn();
    let mut sight = Sight::of(&targets.masters[0]);
    run.wait_until("the second window", || sight.mark().is_some_and(|mark| mark.at.1 > 0));
    run.sigterm();
    let output = run.finish();
    targets.fast();
    assert_eq!(output.code, Some(9), "{output}");
    for mark in targets.marks().into_iter().flatten() {
        assert!(mark.at.1 < part.len() as u64 && mark.phase == "loading", "{mark:?}");
    }
    let output = loader.run_ok();
    assert!(output.stdout.contains("resumed at    byte "), "{output}");
    drill.assert_loaded(&targets.masters);
}

fn base(shard: &Path) -> PathBuf {
    shard.join("appendonlydir/appendonly.aof.1.base.rdb")
}

fn base_bytes(shard: &Path) -> u64 {
    fs::metadata(base(shard)).map_or(0, |data| data.len())
}

fn marker(shard: &Path) -> String {
    fs::read_to_string(shard.join("redcluster-load.marker")).unwrap_or_default()
}

/// Directories sync seldom, so a first run is stopped in good order inside the part, at whatever byte; the next ones are
/// killed behind that.
#[test]
fn killed_while_writing_an_rdb_base_into_directories() {
    const LOADS: usize = 4;
    let mut rng = StdRng::seed_from_u64(drill::seed(22));
    let bytes = [part(), tail()].concat();
    let drill = Drill::of(&bytes);
    let mut inside = 0;
    for load in 0..LOADS {
        let out = drill.dir().join(format!("out-{load}"));
        let dirs: Vec<PathBuf> = (0..SHARDS).map(|shard| out.join(format!("shard-{shard}"))).collect();
        let loader = drill.loader().args(&["--batch-bytes", "4KiB", "--shards", "3", "--output"]).arg(&out);
        for step in 0..3 {
            let target = base_bytes(&dirs[0]) + rng.random_range(1..1_500_000);
            let mut run = loader.spawn();
            if drill::or_end(&mut run, || base_bytes(&dirs[0]) >= target).is_some() {
                break;
            }
            if step == 0 || step == 2 {
                run.sigterm();
                let output = run.finish();
                assert!(matches!(output.code, Some(0 | 9)), "{output}");
            } else {
                run.kill9();
            }
            inside += usize::from(dirs.iter().any(|dir| marker(dir).contains("data-rdb=open")));
            assert!(
                dirs.iter().all(|dir| !dir.join("appendonlydir/appendonly.aof.manifest").exists()
                    || marker(dir).contains("phase=settl")
                    || marker(dir).is_empty()),
                "no server may start from a half"
            );
        }
        loader.run_ok();
        for dir in &dirs {
            let bytes = fs::read(base(dir)).expect("every shard has a base");
            assert_eq!(rdb::resealed(&bytes), bytes, "the checksum of {}", dir.display());
        }
        drill.assert_loaded(&started(dirs));
        fs::remove_file(drill.checkpoint()).expect("a checkpoint");
    }
    println!("{inside} stops and kills left an RDB part open");
    assert!(2 * inside >= LOADS, "{inside}");
}

/// A shard that has nothing behind an RDB part ends it only when the load is settled.
#[test]
fn killed_while_an_rdb_part_waits_for_its_end() {
    let scene = Scene::new();
    let home = |shard: usize, name: &str| {
        let mut keys = (0..).map(|n| format!("{name}{n}"));
        keys.find(|key| crc32fast::hash(key.as_bytes()) as usize % SHARDS == shard)
            .expect("some key belongs there")
    };
    let mut first = Rdb::new(9).select(4);
    for shard in 0..SHARDS {
        first = first.string(home(shard, "first"), "1");
    }
    // Only shard 2 has anything to do from here on, and much of it.
    let second = Rdb::new(9).select(5).string(home(2, "second"), "2").file();
    let mut third = Vec::new();
    let filler = "x".repeat(20_000);
    for n in 0..800 {
        aof::push_words(&mut third, &format!("SET {} {n}{filler}", home(2, &format!("k{n}-"))));
    }
    let dir = MultiPart { base: Some((&first.file(), true)), ..MultiPart::of(&[&second, &third]) }
        .write(scene.dir());
    let reference = scene::reference(&dir);
    for attempt in 0..3 {
        let out = scene.dir().join(format!("out-{attempt}"));
        let dirs: Vec<PathBuf> = (0..SHARDS).map(|shard| out.join(format!("shard-{shard}"))).collect();
        let checkpoint = scene.dir().join(format!("checkpoint-{attempt}"));
        let loader =
            scene.loader().arg(&dir).args(&["--shards", "3", "--batch-bytes", "1KiB", "--output"]).arg(&out);
        let loader = loader.arg("--checkpoint").arg(checkpoint).timeout(Duration::from_secs(60));
        let busy = dirs[2].join("appendonlydir/appendonly.aof.2.incr.aof");
        for step in 0..2_u64 {
            let mut run = loader.spawn();
            let length = || fs::metadata(&busy).map_or(0, |data| data.len());
            let ended = drill::or_end(&mut run, || length() > step * 4_000_000 + attempt * 1_000_000);
            if ended.is_some() {
                break;
            }
            if (step + attempt) % 2 == 0 {
                run.sigterm();
                assert!(matches!(run.finish().code, Some(0 | 9)));
                assert!(marker(&dirs[0]).contains("data-rdb=open") || marker(&dirs[0]).is_empty());
            } else {
                run.kill9();
            }
        }
        loader.run_ok();
        assert_same(&reference, &started(dirs));
    }
}

/// What is left out depends on what the targets take, and where batches end depends on that: a marker would name another
/// place in the part.
#[test]
fn targets_that_take_more_than_before_are_refused() {
    let limit = |targets: &[Server], bytes: &str| {
        targets.iter().for_each(|target| drill::set(target, "proto-max-bulk-len", bytes));
    };
    let scene = Scene::new();
    let server = Server::start(&[]);
    let conn = &mut server.conn();
    wire::ask(conn, &[b"SET", b"large", &noise(1, 2 << 20)]);
    for n in 0..VALUES {
        wire::ask(conn, &[b"RPUSH", format!("l:{n}").as_bytes(), &noise(n as u64, 2_000)]);
    }
    let source = scene.file("dump.rdb", rdb::saved(&server));
    let masters = scene::servers(SHARDS);
    limit(&masters, "1mb");
    let loader = scene.load(&source, &masters).args(&["--skip-unsupported", "--batch-bytes", "4KiB"]);
    assert!(run_and_kill(&loader, || scene::keys_in(&masters[0]) > 50), "it was not killed on the way");
    limit(&masters, "512mb");
    scene::assert_refused(&loader.run(), 6, &["left out then: 1 ", "left out now: 0 ", "proto-max-bulk-len"]);
    limit(&masters, "1mb");
    loader.run_ok();
    let keys: u64 = masters.iter().map(scene::keys_in).sum();
    assert_eq!(keys, VALUES as u64);
}
