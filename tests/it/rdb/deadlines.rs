//! Deadlines of keys in an RDB part: a server that loads it lets keys live past them until all of the source is read,
//! and whatever comes behind the part may still depend on that.
//!
//! `{P}` in a source is long past, `{N}` a moment ahead, `{F}` in the year 2100.

use super::{both_sinks, dumped};
use crate::scene::{Scene, assert_refused, assert_untouched, reference, servers, started};
use crate::support::aof;
use crate::support::compare::{Snapshot, assert_same};
use crate::support::fill;
use crate::support::rdb::{self, Rdb};
use crate::support::server::Server;
use crate::support::wire;
use redis::Value;
use std::time::{SystemTime, UNIX_EPOCH};

const PAST_MS: i64 = 1_600_000_000_000;
const FUTURE_MS: i64 = 4_102_444_800_000;
/// From here on deadlines need the larger of the tool's two offsets.
const NEAR_OFFSET_MS: i64 = 4_000_000_000_000_000;
/// From here on they cannot be shifted at all.
const FAR_OFFSET_MS: i64 = 4_000_000_000_000_000_000;

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    i64::try_from(since.as_millis()).expect("the clock fits")
}

/// How a key of the part is made.
const MADE: [(&str, &str); 6] = [
    ("text", "SET it v"),
    ("list", "RPUSH it a b"),
    ("set", "SADD it 1 2"),
    ("hash", "HSET it f v"),
    ("sorted", "ZADD it 1 a"),
    ("stream", "XADD it 1-1 f v"),
];

/// What may happen to a key afterwards; `{k}` is the key.
const LATER: [&str; 16] = [
    "",
    "PERSIST {k}",
    "PEXPIREAT {k} {F}",
    "PEXPIREAT {k} {P}",
    "PEXPIREAT {k} {N}",
    "PEXPIREAT {k} {F} GT",
    "PEXPIREAT {k} {F} LT",
    "PEXPIREAT {k} {P} NX",
    "PEXPIREAT {k} {F} XX\n PEXPIREAT {k} {P} LT\n PERSIST {k}",
    "DEL {k}",
    "DEL {k}\n SET {k} new",
    "SET {k} new",
    "SET {k} new KEEPTTL",
    "SET {k} new NX\n PERSIST {k}",
    "SET {k} new XX",
    "COPY {k} {k} DB 5\n SELECT 5\n PERSIST {k}\n SELECT 0",
];

/// Every kind of key with every kind of deadline, and each thing that may happen to it.
fn all(near_ms: i64) -> (Rdb, String) {
    let server = Server::start(&[]);
    let mut lines = String::new();
    let mut rdb = Rdb::new(if server.binary().version() < (7, 2) { 10 } else { 11 });
    for (kind, line) in MADE {
        let dump = dumped(&server, &[line]);
        for (when, deadline) in
            [("past", PAST_MS), ("near", near_ms), ("far", FUTURE_MS), ("first", 1), ("zero", 0)]
        {
            for (at, later) in LATER.iter().enumerate() {
                let key = format!("{kind}:{when}:{at}");
                rdb = rdb.deadline(deadline).dumped(&key, &dump);
                lines += &later.replace("{k}", &key);
                lines.push('\n');
            }
        }
    }
    let lines = lines.replace("{P}", &PAST_MS.to_string()).replace("{F}", &FUTURE_MS.to_string());
    (rdb, lines.replace("{N}", &near_ms.to_string()))
}

#[test]
fn whatever_comes_behind_the_part_finds_its_keys() {
    let near_ms = now_ms() + 400;
    let (rdb, lines) = all(near_ms);
    let scene = Scene::new();
    let source = scene.file("dump.aof", [rdb.file(), aof::of_lines(&lines)].concat());
    let (targets, _) = both_sinks(&scene, &source);
    // Some would be gone if they had been set as they stand.
    let alive =
        Snapshot::of(&reference(&source)).alive(near_ms + 1000).into_keys().cloned().collect::<Vec<_>>();
    for name in ["text:past:1", "list:past:2", "set:past:4", "text:past:13", "hash:first:1", "stream:past:3"]
    {
        let expected = !name.ends_with(":4") && !name.ends_with(":3");
        assert_eq!(alive.iter().any(|(_, key)| key == name.as_bytes()), expected, "{name}");
    }
    let left = targets.iter().flat_map(|target| Snapshot::of(target).keys);
    let shifted = left.filter(|(_, entry)| entry.deadline_ms.is_some_and(|at| at > FUTURE_MS + 1));
    assert_eq!(shifted.count(), 0, "no deadline is left where it was while loading");
}

/// Nothing comes later, so that deadlines may be set as they are.
#[test]
fn a_part_alone_keeps_its_deadlines() {
    let near_ms = now_ms() + 400;
    let scene = Scene::new();
    let source = scene.file("dump.rdb", all(near_ms).0.file());
    both_sinks(&scene, &source);
}

/// Deadlines in seconds, which servers before 2.6 wrote, and one that stands for none.
#[test]
fn deadlines_in_seconds_and_of_minus_one() {
    let scene = Scene::new();
    let file = Rdb::new(4)
        .raw(b"\xfd\x00\x28\x6b\x5e")
        .string("past", "v")
        .raw(b"\xfd\x00\x28\x6b\x7e")
        .string("future", "v")
        .deadline(-1)
        .string("none", "v")
        .file();
    let tail = aof::of_lines("APPEND past more\n PERSIST future\n APPEND none more");
    let source = scene.file("dump.aof", [&file[..file.len() - 8], &tail].concat());
    both_sinks(&scene, &source);
}

/// No server writes such, and some crash when they read it: a deadline like any other that is past.
#[test]
fn deadlines_before_1970_are_past() {
    let scene = Scene::new();
    let file = Rdb::new(9)
        .raw(b"\xfd\x00\x28\x6b\xee")
        .string("seconds", "v")
        .deadline(-1000)
        .string("milliseconds", "v")
        .string("other", "v");
    let targets = servers(1);
    for tail in ["", "APPEND seconds more\n APPEND milliseconds more"] {
        let source = scene.file("dump.aof", [file.clone().file(), aof::of_lines(tail)].concat());
        scene.load(&source, &targets).args(&["--restart", "--flush-targets"]).run_ok();
        let alive = Snapshot::of(&targets[0]).alive(now_ms()).into_keys().cloned().collect::<Vec<_>>();
        assert_eq!(alive, [(0, b"other".to_vec())], "{tail}");
    }
}

#[test]
fn deadlines_beyond_the_offsets() {
    let far =
        |ms: i64| Rdb::new(9).deadline(ms).string("far", "v").deadline(PAST_MS).string("past", "v").file();
    let tail = aof::of_lines("APPEND far more\n PERSIST past");
    for ms in [NEAR_OFFSET_MS - 1, NEAR_OFFSET_MS, FAR_OFFSET_MS - 1] {
        let scene = Scene::new();
        let source = scene.file("dump.aof", [far(ms), tail.clone()].concat());
        both_sinks(&scene, &source);
    }
    for ms in [FAR_OFFSET_MS, i64::MAX] {
        let (scene, targets) = (Scene::new(), servers(1));
        let source = scene.file("dump.aof", [far(ms), tail.clone()].concat());
        let output = scene.load(&source, &targets).run();
        assert_refused(&output, 4, &["1 x its deadline is too far in the future", "string far"]);
        assert_untouched(&targets);
        let (loader, dirs) = scene.load_into_directories(&source, 1);
        loader.run_ok();
        assert_same(&reference(&source), &started(dirs));
    }
}

/// A server that knows deadlines of hash fields writes them into the part; commands behind it touch the hash again.
#[test]
fn deadlines_of_hash_fields_are_kept_or_refused() {
    let origin = Server::start(&[]);
    let conn = &mut origin.conn();
    if !wire::knows(conn, "HPEXPIREAT") {
        // Then it cannot read them either; what happens to a file of a newer server is for `limits`.
        let fields = ["HEXPIRE", "HPEXPIREAT", "HPERSIST", "HPEXPIRETIME"];
        assert!(fields.iter().all(|name| !wire::knows(conn, name)), "a server knows all of them or none");
        return;
    }
    for name in ["a", "b", "c", "d", "e"] {
        fill::ask(conn, &fill::words(&format!("HSET {name} f v g w h x")));
        fill::ask(conn, &fill::words(&format!("HPEXPIREAT {name} {FUTURE_MS} FIELDS 1 f")));
        fill::ask(conn, &fill::words(&format!("HPEXPIREAT {name} {} FIELDS 1 g", FUTURE_MS + 7)));
    }
    for n in 0..600 {
        fill::ask(conn, &fill::words(&format!("HSET large f{n} v")));
    }
    fill::ask(conn, &fill::words(&format!("HPEXPIREAT large {FUTURE_MS} FIELDS 2 f1 f599")));
    fill::ask(conn, &fill::words(&format!("PEXPIREAT b {}", FUTURE_MS + 1)));
    let part = rdb::saved(&origin);
    let scene = Scene::new();
    both_sinks(&scene, &scene.file("dump.rdb", &part));
    let tails = [
        "HSET a new 1\n HSET b new 1\n HDEL c f\n PERSIST b\n HSET d f replaced\n DEL e\n HSET large f1 v2 new 1",
        // What makes deadlines wander, so that they have to be looked for everywhere.
        "HSET a new 1\n RENAME b b\n COPY c c DB 3\n HSET c new 1\n SELECT 3\n HSET c other 1\n HSET large new 1",
    ];
    for tail in tails {
        let scene = Scene::new();
        both_sinks(&scene, &scene.file("dump.aof", [part.clone(), aof::of_lines(tail)].concat()));
    }
}

/// Fields that are all past their deadline.
#[test]
fn hashes_of_nothing_but_past_fields() {
    let origin = Server::start(&[]);
    let conn = &mut origin.conn();
    if !wire::knows(conn, "HPEXPIREAT") {
        return;
    }
    fill::ask(conn, &fill::words("DEBUG SET-ACTIVE-EXPIRE 0"));
    fill::ask(conn, &fill::words("HSET all f v"));
    fill::ask(conn, &fill::words("HSET some f v g w"));
    fill::ask(conn, &fill::words("SET other v"));
    let near_ms = now_ms() + 50;
    for key in ["all", "some"] {
        fill::ask(conn, &fill::words(&format!("HPEXPIREAT {key} {near_ms} FIELDS 1 f")));
    }
    crate::drill::eventually("the deadline", || now_ms() > near_ms);
    let part = rdb::saved(&origin);
    for tail in ["", "SET other w", "HSET some g x"] {
        let scene = Scene::new();
        let source = scene.file("dump.aof", [part.clone(), aof::of_lines(tail)].concat());
        both_sinks(&scene, &source);
    }
    assert_eq!(origin.cmd(&["EXISTS", "other"]), Ok(Value::Int(1)));
}
