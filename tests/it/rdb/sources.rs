//! Where RDB parts may stand, what servers make of them there, and what becomes of them in directories.

use super::{SHARDS, both_sinks, dumped, everything};
use crate::scene::{Scene, assert_refused, assert_untouched, reference, servers, started};
use crate::support::aof::{self, MultiPart};
use crate::support::compare::assert_same;
use crate::support::fill::{self, LIBRARY};
use crate::support::rdb::{self, Rdb};
use crate::support::server::Server;
use crate::support::wire;
use redis::Value;
use std::fs;
use std::path::Path;

/// Commands behind an RDB part: some change what it holds, and none selects database 0 first.
fn tail() -> Vec<u8> {
    aof::of_lines(
        "APPEND text:1 more\n INCR number:2\n RPUSH list:3 new\n HSET hash:large:1 new 1\n DEL set:2 set:3\n \
         ZADD sorted:0 5 new\n XADD stream:1 999999-1 f v\n SELECT 3\n SET new:3 here\n PERSIST deadline:text\n \
         MULTI\n SELECT 0\n PERSIST deadline:text\n SET new:0 here\n EXEC",
    )
}

#[test]
fn every_encoding_comes_out_of_a_file_with_a_preamble() {
    let scene = Scene::new();
    let source = scene.file("appendonly.aof", [everything(), &tail()].concat());
    let (targets, dirs) = both_sinks(&scene, &source);
    for (target, dir) in targets.iter().zip(&dirs) {
        let keys = target.cmd(&["DBSIZE"]).expect("it answers");
        assert!(wire::int(&keys).is_some_and(|keys| keys > 20), "every shard has got some: {keys:?}");
        let library = target.cmd(&["FUNCTION", "LIST", "WITHCODE"]).expect("it answers");
        let library = &wire::items(&library)[0];
        let code = wire::field(library, "library_code").expect("the code was asked for");
        assert_eq!(wire::text(code), LIBRARY);
        assert_native(dir, &["appendonly.aof.1.base.rdb", "appendonly.aof.1.incr.aof"]);
    }
}

/// Exactly these files, named by the manifest in this order; the base an RDB file with its checksum.
fn assert_native(dir: &Path, files: &[&str]) {
    let inner = dir.join("appendonlydir");
    let manifest = fs::read_to_string(inner.join("appendonly.aof.manifest")).expect("a manifest");
    let named: Vec<&str> = manifest.lines().filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(named, files, "{manifest}");
    let there: Vec<_> = fs::read_dir(&inner).expect("a directory").collect();
    assert_eq!(there.len(), files.len() + 1, "{there:?}");
    assert!(!dir.join("redcluster-load.marker").exists(), "no marker is left");
    if let Some(base) = files.iter().find(|name| name.ends_with(".rdb")) {
        assert!(manifest.starts_with(&format!("file {base} seq 1 type b\n")), "{manifest}");
        let bytes = fs::read(inner.join(base)).expect("the base");
        assert!(bytes.starts_with(b"REDIS"), "the base is an RDB file");
        assert_eq!(rdb::resealed(&bytes), bytes, "with the checksum that its bytes have");
    }
}

#[test]
fn an_rdb_file_alone_is_a_source() {
    let scene = Scene::new();
    let source = scene.file("dump.rdb", everything());
    let (_, dirs) = both_sinks(&scene, &source);
    dirs.iter().for_each(|dir| assert_native(dir, &["appendonly.aof.1.base.rdb"]));
    let again = scene.loader().arg(&source).args(&["--shards", "3", "--output"]).arg(scene.dir().join("out"));
    assert_refused(&again.arg("--checkpoint").arg(scene.dir().join("c")).run(), 5, &["not empty"]);
}

/// One with nothing in it, of every version that there has been.
#[test]
fn an_empty_rdb_part_of_any_version_is_one() {
    let targets = servers(1);
    for version in 1..=if targets[0].binary().version() >= (7, 0) { 10 } else { 9 } {
        let scene = Scene::new();
        let mut bytes = Rdb::new(version).file();
        if version < 5 {
            bytes.truncate(bytes.len() - 8);
        }
        let source = scene.file("dump.aof", [bytes.clone(), aof::of_lines("SET a 1")].concat());
        scene.load(&source, &targets).args(&["--flush-targets"]).run_ok();
        assert_same(&reference(&source), &targets);
        let (loader, dirs) = scene.load_into_directories(&scene.file("dump.rdb", bytes), 1);
        loader.run_ok();
        assert_untouched(&started(dirs));
    }
}

/// Names, quotes and all that a manifest may hold, with RDB parts in the base and in incr files, with commands behind
/// them and without; named by the directory, by its parent and by the manifest.
#[test]
fn rdb_parts_may_stand_in_any_file_of_a_directory() {
    let part = |db, key: &str, value: &str| Rdb::new(9).select(db).string(key, value);
    let base = part(0, "base", "1").string("shared", "from the base").select(7).string("base:7", "x").file();
    // The database that a part ends in is not the one that the commands behind it begin in.
    let second =
        [part(5, "second", "2").file(), aof::of_lines("SET behind-second 0\n APPEND shared +")].concat();
    let third = part(2, "third", "3").file();
    let last = aof::of_lines("SET last 1\n SELECT 5\n APPEND second more\n SELECT 2\n DEL third");
    for (name, quoted) in [("appendonly.aof", None), ("an odd 'name'.aof", Some(r#""an\x20odd 'name'.aof"#))]
    {
        let scene = Scene::new();
        let incrs: [&[u8]; 4] = [&second, &third, b"", &last];
        let dir = MultiPart { name, base: Some((&base, true)), incrs: &incrs }.write(scene.dir());
        let manifest = dir.join(format!("{name}.manifest"));
        if let Some(quoted) = quoted {
            let text = fs::read_to_string(&manifest).expect("it was written");
            let lines = text.lines().map(|line| {
                let (file, rest) =
                    line.strip_prefix("file ").and_then(|rest| rest.split_once(" seq ")).expect("a file");
                format!("file {quoted}{}\" seq {rest}\n", &file[name.len()..])
            });
            fs::write(&manifest, lines.collect::<String>()).expect("room");
        }
        let (_, dirs) = both_sinks(&scene, &dir);
        let incr =
            |dir: &Path| fs::read(dir.join("appendonlydir/appendonly.aof.1.incr.aof")).unwrap_or_default();
        assert!(dirs.iter().any(|dir| incr(dir).starts_with(b"REDIS")), "an RDB part stays one: {dirs:?}");
        let reference = reference(&dir);
        for (at, source) in [scene.dir(), &manifest].into_iter().enumerate() {
            let targets = servers(2);
            let checkpoint = scene.dir().join(format!("named-{at}"));
            scene.load(source, &targets).arg("--checkpoint").arg(checkpoint).run_ok();
            assert_same(&reference, &targets);
        }
    }
}

/// A shard may have nothing in an RDB part, or nothing but that; and in directories an RDB part that is not the base
/// stands in the file that holds the commands behind it too.
#[test]
fn commands_behind_an_rdb_part_in_an_incr_file_start_in_database_0() {
    let scene = Scene::new();
    let key = |shard: usize, name: &str| {
        (0..)
            .map(|n| format!("{name}{n}"))
            .find(|key| crc32fast::hash(key.as_bytes()) as usize % SHARDS == shard)
    };
    let key = |shard, name| key(shard, name).expect("some key belongs there");
    let first = aof::of_lines(&format!("SET {} 1", key(0, "a")));
    let mut second = Rdb::new(9).select(3).string(key(0, "in-rdb"), "1").string(key(1, "in-rdb"), "2").file();
    second.extend(aof::of_lines("SELECT 3"));
    // More than a window, all of it of other shards: the next one begins in database 3.
    let filler = "x".repeat(100_000);
    for _ in 0..60 {
        second.extend(aof::of_lines(&format!("SET {} {filler}", key(2, "filler"))));
    }
    second.extend(aof::of_lines(&format!("SET {} here\n SET {} here", key(0, "b"), key(1, "b"))));
    let dir = MultiPart::of(&[&first, &second]).write(scene.dir());
    both_sinks(&scene, &dir);
}

#[test]
fn what_a_server_writes_itself_is_read() {
    let scene = Scene::new();
    let options = [("appendonly", "yes"), ("appendfsync", "always"), ("aof-use-rdb-preamble", "yes")];
    let server = Server::start(&options);
    fill::fill(&server);
    rdb::rewrite(&server);
    fill::touch(&server);
    both_sinks(&scene, &server.dir().join("appendonlydir"));
}

/// How long a value was not used, and how often it was, under the policy that keeps it.
#[test]
fn idle_times_and_frequencies_are_kept() {
    let value = dumped(&Server::start(&[]), &["RPUSH it a b c"]);
    for (policy, option, number, question) in
        [("allkeys-lru", "IDLETIME", "100000", "IDLETIME"), ("allkeys-lfu", "FREQ", "200", "FREQ")]
    {
        let options = [("maxmemory-policy", policy)];
        let origin = Server::start(&options);
        let (scene, keys) = (Scene::new(), ["list:0", "list:1", "list:2"]);
        let plain = dumped(&Server::start(&[]), &["SET it v"]);
        for (key, dump) in keys.iter().map(|key| (*key, &value)).chain([("text", &plain)]) {
            let restore = [&b"RESTORE"[..], key.as_bytes(), b"0", dump, option.as_bytes(), number.as_bytes()];
            assert_eq!(origin.cmd(&restore), Ok(Value::Okay));
        }
        let source = scene.file("dump.rdb", rdb::saved(&origin));
        let target = [Server::start(&options)];
        scene.load(&source, &target).run_ok();
        let expected: i64 = number.parse().expect("a number");
        for key in keys.iter().chain(&["text"]) {
            let kept = target[0].cmd(&["OBJECT", question, key]).ok().as_ref().and_then(wire::int);
            // It goes on counting while the test runs, the one up and the other down.
            assert!(
                kept.is_some_and(|kept| kept.abs_diff(expected) < 60),
                "{key} has {kept:?}, not {expected}"
            );
        }
        assert_same(&origin, &target);
    }
}

/// Functions stand in the RDB part and behind it.
#[test]
fn functions_are_on_every_shard() {
    let scene = Scene::new();
    let library = |name: &str| LIBRARY.replace("library", name).replace("'f'", &format!("'{name}'"));
    let file = Rdb::new(10)
        .raw(b"\xf5")
        .text(library("one").as_bytes())
        .raw(b"\xf5")
        .text(library("two").as_bytes())
        .raw(b"\xf5")
        .text(library("left").as_bytes())
        .string("key", "value")
        .file();
    let mut tail = Vec::new();
    aof::push(&mut tail, &[b"FUNCTION", b"LOAD", library("three").as_bytes()]);
    aof::push(
        &mut tail,
        &[b"FUNCTION", b"LOAD", b"REPLACE", library("one").replace("return 1", "return 2").as_bytes()],
    );
    aof::push(&mut tail, &[b"FUNCTION", b"LOAD", library("two").as_bytes()]);
    aof::push(&mut tail, &[b"FUNCTION", b"DELETE", b"two"]);
    let source = scene.file("dump.aof", [file, tail].concat());
    let (targets, _) = both_sinks(&scene, &source);
    for target in &targets {
        assert_eq!(target.cmd(&["FCALL", "one", "0"]), Ok(Value::Int(2)));
        assert_eq!(target.cmd(&["FCALL", "three", "0"]), Ok(Value::Int(1)));
        assert_eq!(target.cmd(&["FCALL", "left", "0"]), Ok(Value::Int(1)));
        assert!(target.cmd(&["FCALL", "two", "0"]).is_err());
    }
}
