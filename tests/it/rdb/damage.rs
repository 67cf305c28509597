//! Damaged and cut RDB files, and files of what is not known: refused before anything is written, as a server refuses
//! them, and never with a panic or without an end.

use super::{dumped, everything};
use crate::scene::{Scene, assert_refused, assert_untouched, servers};
use crate::support::compare::assert_same;
use crate::support::fill::LIBRARY;
use crate::support::loader::{Loader, Output};
use crate::support::rdb::{Rdb, unsealed};
use crate::support::server::Server;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Workers, each with servers of its own.
pub(super) const WORKERS: usize = 2;
/// No small file takes so long, whatever is wrong with it.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);

/// How the values of a small file are made.
const VALUES: [&str; 6] = [
    "RPUSH it a 70000 ccc",
    "SADD it 1 2 70000",
    "HSET it f v g 12",
    "ZADD it 1.5 a -inf b",
    "SADD it a b c",
    "HSET it f aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// A small file with most of what a file can hold; `all` is with functions and streams, which nobody looks into before
/// they are used.
pub(super) fn small(all: bool) -> Vec<u8> {
    let server = Server::start(&[]);
    let mut rdb = Rdb::new(10).raw(b"\xfa").text(b"redis-ver").text(b"7.0.0").select(0).raw(b"\xfb\x08\x01");
    if all {
        // A deadline before 1970 makes some servers crash.
        rdb = rdb.deadline(4_000_000_000_000).string("expires", "v").raw(b"\xf5").text(LIBRARY.as_bytes());
    }
    rdb = rdb.string("text", "value").string("odd", "\u{1}\u{2}");
    for (at, line) in VALUES.iter().enumerate() {
        let dump = dumped(&server, &[line]);
        // What a server newer than the format calls a set of another kind.
        if dump[0] < 20 {
            rdb = rdb.dumped(format!("{at}key{at}"), &dump);
        }
    }
    if all && server.binary().version() < (7, 2) {
        let lines = ["XADD it 1-1 f v", "XGROUP CREATE it g 0", "XREADGROUP GROUP g c STREAMS it >"];
        rdb = rdb.dumped("stream", &dumped(&server, &lines));
    }
    rdb.select(3).string("in db 3", "1").file()
}

/// What can happen to the byte at `at`.
fn flips(file: &[u8], at: usize) -> impl Iterator<Item = Vec<u8>> {
    [0x01, 0x80, 0xff, 0x40].into_iter().map(move |bits| {
        let mut flipped = file.to_vec();
        flipped[at] ^= bits;
        flipped
    })
}

fn dry_run(scene: &Scene, source: &Path) -> Output {
    let out = scene.dir().join("out");
    let run = scene.loader().arg(source).args(&["--shards", "2", "--output"]).arg(out).arg("--dry-run");
    run.timeout(TIMEOUT).run()
}

/// Refused as damaged, with the place, or as something that is not known.
pub(super) fn assert_damaged(output: &Output, source: &Path, what: &str) {
    let code = output.code.unwrap_or_default();
    assert!([3, 4].contains(&code), "{what}: {output}");
    assert_refused(output, code, &[&format!("file: {}", source.display()), "byte: ", "nothing was written"]);
}

pub(super) fn on_workers(work: impl Fn(usize) + Sync) {
    let work = &work;
    thread::scope(|scope| (0..WORKERS).for_each(|worker| drop(scope.spawn(move || work(worker)))));
}

#[test]
fn every_byte_of_a_small_file_counts() {
    let file = small(true);
    println!("{} bytes", file.len());
    on_workers(|worker| {
        let scene = Scene::new();
        let out = scene.dir().join("out");
        for at in (worker..file.len()).step_by(WORKERS) {
            for (nth, flipped) in flips(&file, at).enumerate().filter(|(nth, _)| (at + nth) % 2 == 0) {
                let source = scene.file("dump.rdb", flipped);
                let what = format!("byte {at}, flip {nth}");
                assert_damaged(&dry_run(&scene, &source), &source, &what);
            }
            assert!(!out.exists(), "nothing was made");
        }
    });
}

#[test]
fn a_small_file_cut_anywhere_is_refused() {
    let file = small(true);
    on_workers(|worker| {
        let scene = Scene::new();
        for end in (1 + worker..file.len()).step_by(WORKERS) {
            let source = scene.file("dump.rdb", &file[..end]);
            let output = dry_run(&scene, &source);
            assert_eq!(output.code, Some(3), "cut at {end}: {output}");
            assert_damaged(&output, &source, &format!("cut at {end}"));
        }
    });
}

/// Streams and all: nobody looks into them, so that only the end of a run is looked at.
#[test]
fn nothing_in_a_file_makes_the_survey_panic() {
    let file = small(true);
    on_workers(|worker| {
        let scene = Scene::new();
        for at in (9 + worker..file.len() - 9).step_by(WORKERS) {
            let mut bytes = file.clone();
            bytes[at] = [0x00, 0x81, 0xc3, 0xff, 0x7f][at / WORKERS % 5];
            let source = scene.file("dump.rdb", unsealed(&bytes));
            let output = dry_run(&scene, &source);
            assert!(matches!(output.code, Some(0 | 3 | 4)), "byte {at}: {output}");
            assert!(!output.stderr.contains("panicked"), "byte {at}: {output}");
        }
    });
}

/// Larger than a window, so that the damage shows when much has been surveyed already.
#[test]
fn damage_in_a_large_file_is_found_before_anything_is_written() {
    let mut rng = StdRng::seed_from_u64(1);
    let file = {
        let mut rdb = Rdb::new(9);
        for n in 0..60 {
            rdb = rdb.string(format!("key{n}"), crate::support::fill::noise(n, 100_000));
        }
        rdb.file()
    };
    let (scene, targets) = (Scene::new(), servers(2));
    for nth in 0..16 {
        let mut bytes = if nth % 4 == 3 { everything().to_vec() } else { file.clone() };
        let at = rng.random_range(9..bytes.len());
        if nth % 2 == 0 {
            bytes[at] ^= 1 << rng.random_range(0..8);
        } else {
            bytes.truncate(at);
        }
        println!("{nth}: byte {at}");
        let source = scene.file("dump.rdb", &bytes);
        let output = scene.load(&source, &targets).timeout(TIMEOUT).run();
        assert_damaged(&output, &source, &format!("byte {at}"));
        let (loader, dirs): (Loader, _) = scene.load_into_directories(&source, 2);
        assert_damaged(&loader.timeout(TIMEOUT).run(), &source, &format!("byte {at}"));
        assert!(dirs.iter().all(|dir| !dir.exists()), "nothing was made");
        if nth < 4 {
            assert!(Server::loading(&source).is_err(), "a server refuses it too");
        }
    }
    assert_untouched(&targets);
    // Undamaged it is a source.
    scene.load(&scene.file("dump.rdb", &file), &targets).run_ok();
}

/// The checksum itself, and a file that is said to have none.
#[test]
fn the_checksum_is_compared_unless_there_is_none() {
    let (scene, targets) = (Scene::new(), servers(1));
    let file = Rdb::new(9).string("key", "value").file();
    let mut wrong = file.clone();
    let last = wrong.len() - 1;
    wrong[last] ^= 1;
    let source = scene.file("wrong.rdb", &wrong);
    let place = format!("byte: {}\n", file.len() - 8);
    let output = scene.load(&source, &targets).run();
    assert_refused(&output, 3, &["damaged", "nothing was written", "checksum", &place]);
    assert_untouched(&targets);
    assert!(Server::loading(&source).is_err(), "a server refuses it too");
    let source = scene.file("without.rdb", unsealed(&file));
    scene.load(&source, &targets).run_ok();
    assert_same(&Server::loading(&source).expect("a server takes it"), &targets);
}

/// What this tool does not know is told by name, and is not called damage.
#[test]
fn versions_and_types_that_are_not_known_are_refused_by_name() {
    let (scene, targets) = (Scene::new(), servers(1));
    let header = |magic: &str| [magic.as_bytes(), b"\xff", &[0; 8]].concat();
    let value = |kind: u8| Rdb::new(12).raw(&[kind]).text(b"key").raw(b"\x00").file();
    let module = b"\x07\x03key\x81\x45\xe2\x52\x38\xdf\x91\x2c\x03\x02\x05\x05\x01x\x00";
    let cases = [
        (header("REDIS0013"), "Redis 8.6"),
        (header("REDIS0014"), "REDIS0014"),
        (header("REDIS0015"), "REDIS0015"),
        (header("REDIS0099"), "REDIS0099"),
        (header("VALKEY081"), "VALKEY081"),
        (value(26), "Redis 8.6 or later"),
        (value(33), "Redis 8.6 or later"),
        (value(6), "release candidate"),
        (value(34), "unknown type of value or opcode (byte 34)"),
        (value(242), "unknown type of value or opcode (byte 242)"),
        (Rdb::new(10).raw(b"\xf6\x01x").file(), "functions of a Redis 7.0 release candidate"),
        (Rdb::new(9).raw(module).file(), "module"),
        (Rdb::new(9).raw(b"\xf7\x81\x45\xe2\x52\x38\xdf\x91\x2c\x03\x02\x02\x00").file(), "ReJSON-RL"),
    ];
    for (bytes, words) in cases {
        let source = scene.file("dump.rdb", &bytes);
        let output = scene.load(&source, &targets).timeout(TIMEOUT).run();
        assert_refused(&output, 4, &[words, "nothing was written", &source.display().to_string()]);
        assert_untouched(&targets);
        assert!(Server::loading(&source).is_err(), "a server refuses it too: {words}");
    }
}
