//! Random sources through every path of the tool, judged by one redis-server that loads the same bytes itself.
//!
//! Each source's seed is printed; `DIFFERENTIAL_SEED=<number>` runs the tests again from that base seed, and
//! `DIFFERENTIAL_SOURCES=<count>` tries more sources than the few of a usual run.

mod campaign;
mod coverage;
mod judge;
mod prefixes;
mod random;
mod shrink;
mod source;

use crate::scene::{Scene, assert_untouched, reference, servers, started};
use crate::support::aof::{self, MultiPart};
use crate::support::binary::Binary;
use crate::support::compare::assert_same;
use crate::support::generate::{Generator, GeneratorOptions, Payloads};
use crate::support::loader::Loader;
use crate::support::rdb;
use crate::support::server::Server;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// `DIFFERENTIAL_<name>`, a number.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(format!("DIFFERENTIAL_{name}")).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("DIFFERENTIAL_{name} is a number, not {text:?}")))
}

/// `DIFFERENTIAL_<name>`, 0 or 1; on unless it is named.
fn switch(name: &str) -> bool {
    number(name) != Some(0)
}

/// Limits so small that nearly every command is a batch of its own or begins one.
const SMALL_BATCHES: [&str; 4] = ["--batch-commands", "3", "--batch-bytes", "1KiB"];
/// One batch in flight at a time, and one thread.
const NARROW: [&str; 6] = ["--batch-bytes", "4KiB", "--in-flight-bytes", "4KiB", "--threads", "1"];

/// Another one every time, so that over many runs many sources are tried.
fn base_seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| match std::env::var("DIFFERENTIAL_SEED") {
        Ok(text) => text.parse().expect("DIFFERENTIAL_SEED is a number"),
        Err(_) => SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs(),
    })
}

/// How many sources a test that takes any number of them tries.
fn sources(usual: u64) -> u64 {
    std::env::var("DIFFERENTIAL_SOURCES").map_or(usual, |count| count.parse().expect("a number"))
}

fn payloads() -> Payloads {
    static PAYLOADS: OnceLock<Payloads> = OnceLock::new();
    PAYLOADS.get_or_init(|| Payloads::of(&Server::start(&[]))).clone()
}

/// A generator whose seed is the base seed and this test's own number.
fn generator(number: u64, options: GeneratorOptions) -> Generator {
    let seed = base_seed().wrapping_mul(10_000).wrapping_add(number);
    println!("source {number} of DIFFERENTIAL_SEED={}: seed {seed}, {options:?}", base_seed());
    Generator::new(seed, options).with_payloads(payloads())
}

fn options(shards: usize) -> GeneratorOptions {
    GeneratorOptions { shards, ..GeneratorOptions::default() }
}

/// Loads `source` into masters, with each set of arguments in turn, and into directories, and compares each result.
fn both_sinks(scene: &Scene, source: &Path, shards: usize, variants: &[&[&str]]) {
    let reference = reference(source);
    for (at, args) in variants.iter().enumerate() {
        let targets = servers(shards);
        let checkpoint = scene.dir().join(format!("checkpoint-{at}"));
        scene.load(source, &targets).args(args).arg("--checkpoint").arg(checkpoint).run_ok();
        println!("{shards} masters, {args:?}");
        assert_same(&reference, &targets);
    }
    let (loader, dirs) = scene.load_into_directories(source, shards);
    loader.args(variants[0]).own_scratch().run_ok();
    println!("{shards} directories");
    assert_same(&reference, &started(dirs));
    if shards > 1 {
        let (other, scratch) = (Scene::new(), Server::start(&[]));
        let (loader, dirs) = other.load_into_directories(source, shards);
        loader.args(variants[0]).arg("--scratch").arg(scratch.addr()).run_ok();
        println!("{shards} directories, with a scratch server that is named");
        assert_same(&reference, &started(dirs));
        assert_untouched(&[scratch]);
    }
}

#[test]
fn one_shard() {
    let scene = Scene::new();
    let source = scene.file("dump.aof", generator(1, options(1)).aof(3000));
    both_sinks(&scene, &source, 1, &[&[], &SMALL_BATCHES]);
}

#[test]
fn two_shards() {
    let scene = Scene::new();
    let source = scene.file("dump.aof", generator(2, options(2)).aof(3000));
    both_sinks(&scene, &source, 2, &[&[], &NARROW]);
}

#[test]
fn three_shards() {
    let scene = Scene::new();
    let source = scene.file("dump.aof", generator(3, options(3)).aof(4000));
    both_sinks(&scene, &source, 3, &[&SMALL_BATCHES, &["--threads", "3"]]);
}

#[test]
fn five_shards() {
    let scene = Scene::new();
    let source = scene.file("dump.aof", generator(5, options(5)).aof(4000));
    both_sinks(&scene, &source, 5, &[&[], &["--batch-commands", "1"]]);
}

/// Each a source of its own, into another number of shards; every second one without the commands that empty
/// everything, so that more is left to compare.
#[test]
fn several_seeds() {
    let count: u64 =
        std::env::var("DIFFERENTIAL_SOURCES").map_or(6, |count| count.parse().expect("a number"));
    for number in 100..100 + count {
        let scene = Scene::new();
        let shards = [3, 2, 4, 7][number as usize % 4];
        let options =
            GeneratorOptions { broadcast: number % 2 == 0, near_deadlines: true, ..options(shards) };
        let source = scene.file("dump.aof", generator(number, options).aof(2500));
        both_sinks(&scene, &source, shards, &[&["--batch-commands", "17"]]);
    }
}

/// A first half that a server has loaded and saved, as servers rewrite their files unless told otherwise. Half of the
/// time it is a file with a preamble, else the base of a directory.
fn with_rdb_base(scene: &Scene, number: u64, options: GeneratorOptions, counts: (usize, usize)) -> PathBuf {
    let mut generator = generator(number, options);
    let first = scene.file("first.aof", generator.aof(counts.0));
    let server = Server::loading_binary(&Binary::from_env(), &first, &[("aof-use-rdb-preamble", "yes")]);
    let base = rdb::saved(&server.unwrap_or_else(|log| panic!("the first half is refused:\n{log}")));
    let second = generator.aof(counts.1);
    if number.is_multiple_of(2) {
        return scene.file("dump.aof", [base, second].concat());
    }
    let third = generator.aof(counts.1 / 2);
    MultiPart { base: Some((&base, true)), ..MultiPart::of(&[&second, &third]) }.write(scene.dir())
}

#[test]
fn sources_with_an_rdb_base() {
    for number in 3000..3000 + sources(6) {
        let scene = Scene::new();
        let shards = [3, 1, 2, 5][number as usize % 4];
        let options = GeneratorOptions { broadcast: number % 3 == 0, ..options(shards) };
        let source = with_rdb_base(&scene, number, options, (2500, 1500));
        both_sinks(&scene, &source, shards, &[&[], &SMALL_BATCHES]);
    }
}

/// Keys of the base whose deadlines pass before the load, during it and after it, and that what follows still uses.
#[test]
fn sources_with_an_rdb_base_and_near_deadlines() {
    for number in 4000..4000 + sources(4) {
        let scene = Scene::new();
        let options = GeneratorOptions { near_deadlines: true, ..options(3) };
        let source = with_rdb_base(&scene, number, options, (1500, 4000));
        both_sinks(&scene, &source, 3, &[&["--batch-commands", "20"]]);
    }
}

/// An RDB base of many windows.
#[test]
fn large_rdb_bases() {
    let scene = Scene::new();
    let options = GeneratorOptions { keys_per_shard: 400, broadcast: false, ..options(3) };
    let source = with_rdb_base(&scene, 5000, options, (25_000, 8_000));
    both_sinks(&scene, &source, 3, &[&[], &NARROW]);
}

/// Larger than the windows in which the source is partitioned, so that state is carried from one to the next.
#[test]
fn sources_of_many_windows() {
    let scene = Scene::new();
    let bytes = generator(6, options(2)).aof(25_000);
    assert!(bytes.len() > 10 << 20, "{} bytes are too few for several windows", bytes.len());
    let source = scene.file("dump.aof", bytes);
    both_sinks(&scene, &source, 2, &[&["--threads", "4"], &["--batch-commands", "50", "--threads", "1"]]);
}

/// Forms of writing a few keys over and over, `{k}` and `{j}` two of them and `{v}` a value: a tool may merge plain SETs,
/// but whatever else happens to their keys must stay where it was.
const OVERWRITES: &str = "SET {k} {v}|SET {k} {v}|SET {k} {v}|SET {j} {v}|set {k} {v}|set {k} {v}|Set {j} {v}|SET {k} {v} NX|SET {k} {v} GET
    |SET {k} {v} KEEPTTL|SET {k} {v} PXAT 4102444800000|SETNX {k} {v}|GETSET {k} {v}|APPEND {k} {v}|SETRANGE {k} 2 {v}
    |MSET {k} {v} {j} {v}|MSETNX {k} {v} {j} {v}|DEL {k} {j}|UNLINK {k}|RENAME {k} {j}|COPY {k} {j} REPLACE|GETDEL {k}
    |MOVE {k} 1|COPY {k} {k} DB 1 REPLACE|SELECT 0|SELECT 1|PEXPIREAT {k} 4102444800000|PERSIST {k}
    |DEL list|RPUSH list 1 2|SORT list BY {k}* STORE sorted|BITOP OR {k} {k} {j}|PFADD {k} {v}|LPUSH {k} {v}|GETEX {k} PERSIST
    |MULTI|EXEC|INCR {k}";

#[test]
fn writes_to_one_key_keep_their_order() {
    let forms: Vec<&str> = OVERWRITES.split('|').map(str::trim).collect();
    for number in 2000..2000 + sources(4) {
        let seed = base_seed().wrapping_mul(10_000).wrapping_add(number);
        println!("overwrites {number} of DIFFERENTIAL_SEED={}", base_seed());
        let mut rng = StdRng::seed_from_u64(seed);
        let mut bytes = Vec::new();
        for n in 0..3000 {
            let form = forms[rng.random_range(0..forms.len())];
            // A few keys for a while, then others: the end shows what became of each of them.
            let mut key = || format!("key{}", n / 16 * 3 + rng.random_range(0..3));
            let (one, other) = (key(), key());
            let value = if rng.random_ratio(1, 20) { format!("{n}").repeat(2000) } else { n.to_string() };
            let line = form.replace("{k}", &one).replace("{j}", &other).replace("{v}", &value);
            let start = bytes.len();
            aof::push_words(&mut bytes, &line);
            if rng.random_ratio(1, 10) {
                // Framed as no server writes it.
                bytes.insert(start + 1, b'0');
            }
        }
        let scene = Scene::new();
        let source = scene.file("dump.aof", bytes);
        both_sinks(&scene, &source, 1, &[&[], &["--batch-commands", "40"], &["--batch-commands", "100000"]]);
    }
}

/// More than the 16 that servers have unless told otherwise.
#[test]
fn forty_databases() {
    let scene = Scene::new();
    let options = GeneratorOptions { databases: 40, ..options(3) };
    let source = scene.file("dump.aof", generator(7, options).aof(4000));
    both_sinks(&scene, &source, 3, &[&[], &SMALL_BATCHES]);
}

/// Deadlines that pass while the load is under way: a live server must not act on them before the end.
#[test]
fn deadlines_that_pass_during_the_load() {
    let scene = Scene::new();
    let options = GeneratorOptions { near_deadlines: true, ..options(3) };
    let source = scene.file("dump.aof", generator(8, options).aof(6000));
    both_sinks(&scene, &source, 3, &[&["--batch-commands", "20"]]);
}

/// Some shards are servers, others directories.
#[test]
fn servers_and_directories_side_by_side() {
    let scene = Scene::new();
    let source = scene.file("dump.aof", generator(9, options(3)).aof(3000));
    let (ends, dir) = (servers(2), scene.dir().join("middle"));
    let topology = format!(
        "[[replica_set]]\nmaster = \"{}\"\n[[replica_set]]\naof = \"{}\"\n[[replica_set]]\nmaster = \"{}\"\n",
        ends[0].addr(),
        dir.display(),
        ends[1].addr()
    );
    scene.loader().arg(&source).topology(&topology).own_scratch().run_ok();
    let mut targets = ends;
    targets.splice(1..1, started(vec![dir]));
    assert_same(&reference(&source), &targets);
}

/// A multi-part directory with all that a manifest may hold; each file begins in database 0.
fn write_multi_part(parent: &Path, generator: &mut Generator) -> PathBuf {
    let dir = parent.join("appendonlydir");
    fs::create_dir(&dir).expect("a directory can be made");
    let name = "my odd 'file'.aof";
    let write =
        |suffix: &str, bytes: &[u8]| fs::write(dir.join(format!("{name}.{suffix}")), bytes).expect("room");
    write("3.base.aof", &generator.aof(1500));
    write("2.incr.aof", &generator.aof(20));
    write("7.incr.aof", b"");
    write("8.incr.aof", &generator.aof(1000));
    let mut last = generator.aof(500);
    last.extend_from_slice(b"*3\r\n$3\r\nSET\r\n$9\r\nis cut of");
    write("12.incr.aof", &last);
    // Waiting to be deleted: what it says is in the base.
    write("1.incr.aof", b"*1\r\n$8\r\nFLUSHALL\r\n*3\r\n$3\r\nSET\r\n$7\r\nhistory\r\n$1\r\n1\r\n");
    let mut manifest = String::from("# a comment\n");
    let quoted = r#""my\x20odd 'file'.aof"#;
    let mut line =
        |file: &str, rest: &str| writeln!(manifest, "file {quoted}.{file}\" {rest}").expect("text grows");
    line("1.incr.aof", "seq 1 type h");
    line("2.incr.aof", "seq 2 type i");
    line("7.incr.aof", "SEQ 7 type incr");
    line("3.base.aof", "type b seq 3\r");
    line("8.incr.aof", "seq 8 type i startoffset 12");
    line("12.incr.aof", "seq 12 type i");
    fs::write(dir.join(format!("{name}.manifest")), manifest).expect("room");
    dir
}

#[test]
fn multi_part_directories() {
    let scene = Scene::new();
    let dir = write_multi_part(scene.dir(), &mut generator(10, options(3)));
    both_sinks(&scene, &dir, 3, &[&[], &SMALL_BATCHES]);
}

/// The directory, the one that holds it, or the manifest: all name the same source, and `history` is never loaded.
#[test]
fn a_multi_part_source_may_be_named_in_three_ways() {
    let scene = Scene::new();
    let dir = write_multi_part(scene.dir(), &mut generator(11, options(2)));
    let reference = reference(&dir);
    let manifest = dir.join("my odd 'file'.aof.manifest");
    for (at, source) in [dir.as_path(), scene.dir(), &manifest].into_iter().enumerate() {
        let targets = servers(2);
        let loader: Loader = scene.load(source, &targets);
        let output = loader.arg("--checkpoint").arg(scene.dir().join(format!("c{at}"))).run_ok();
        assert_same(&reference, &targets);
        assert!(output.stderr.contains("cut command") || output.stdout.contains("cut command"), "{output}");
        for target in &targets {
            assert_eq!(target.cmd(&["EXISTS", "history"]), Ok(redis::Value::Int(0)));
        }
    }
}
