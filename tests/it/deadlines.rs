//! Deadlines: a server that loads an AOF lets keys live past them, a live one does not.
//!
//! `{P}` in a source is long past, `{F}` in the year 2100.

use crate::scene::{Scene, Slow, assert_refused, assert_untouched, reference, servers, started};
use crate::support::aof;
use crate::support::compare::{Snapshot, assert_same};
use crate::support::loader::MARKER;
use crate::support::server::Server;
use crate::support::snapshot::now_ms;
use crate::support::wire;
use redis::Value;

const PAST_MS: i64 = 1_600_000_000_000;
const FUTURE_MS: i64 = 4_102_444_800_000;
/// From here on deadlines need the larger of the tool's two offsets.
const NEAR_OFFSET_MS: i64 = 4_000_000_000_000_000;
/// From here on deadlines cannot be shifted at all.
const FAR_OFFSET_MS: i64 = 4_000_000_000_000_000_000;

fn filled(lines: &str) -> String {
    lines.replace("{P}", &PAST_MS.to_string()).replace("{F}", &FUTURE_MS.to_string())
}

/// A small source, what to ask afterwards, and what a server that loaded the source answers.
struct Row {
    source: &'static str,
    question: &'static str,
    answer: Option<&'static str>,
}

/// Each of them diverges when it is simply streamed (redis-facts.md, 4a).
const ROWS: [Row; 9] = [
    Row {
        source: "SET k v PXAT {P}\n PEXPIREAT k {F}",
        question: "PEXPIRETIME k",
        answer: Some("4102444800000"),
    },
    Row { source: "SET k 5\n PEXPIREAT k {P}\n INCR k\n PERSIST k", question: "GET k", answer: Some("6") },
    Row { source: "SET k v PXAT {P}\n PERSIST k", question: "GET k", answer: Some("v") },
    Row { source: "SET k 5 PXAT {P}\n RENAME k k2\n PERSIST k2", question: "GET k2", answer: Some("5") },
    Row { source: "SET k old PXAT {P}\n SETNX k new", question: "GET k", answer: None },
    Row { source: "SET k old PXAT {P}\n SETNX k new\n PERSIST k", question: "GET k", answer: Some("old") },
    Row { source: "SET k v PXAT {P}\n COPY k c\n PERSIST c", question: "GET c", answer: Some("v") },
    Row {
        source: "RPUSH k a\n PEXPIREAT k {P}\n RPUSHX k b\n PERSIST k",
        question: "LINDEX k 1",
        answer: Some("b"),
    },
    Row { source: "SADD k a\n PEXPIREAT k {P}\n SUNIONSTORE d k", question: "SCARD d", answer: Some("1") },
];

/// All rows, each in a database of its own.
fn rows_as_one_source() -> Vec<u8> {
    let rows = ROWS.iter().enumerate().map(|(db, row)| format!("SELECT {db}\n{}\n", filled(row.source)));
    aof::of_lines(&rows.collect::<String>())
}

fn answers(server: &Server) -> Vec<Option<String>> {
    let conn = &mut server.conn();
    let answer = |(db, row): (usize, &Row)| {
        wire::ask(conn, &[b"SELECT", db.to_string().as_bytes()]);
        let words: Vec<&[u8]> = row.question.split(' ').map(str::as_bytes).collect();
        match wire::ask(conn, &words) {
            Value::Nil => None,
            reply => Some(wire::text(&reply)),
        }
    };
    ROWS.iter().enumerate().map(answer).collect()
}

#[test]
fn deadlines_that_have_passed_do_not_matter_while_loading() {
    let scene = Scene::new();
    let bytes = rows_as_one_source();
    let source = scene.file("dump.aof", &bytes);
    let expected: Vec<_> = ROWS.iter().map(|row| row.answer.map(str::to_owned)).collect();
    let reference = reference(&source);
    assert_eq!(answers(&reference), expected, "the rows say what a loading server does");
    // Streamed as they are, every one of them goes wrong: else they would show nothing.
    let naive = Server::start(&[]);
    let count = bytes.windows(3).filter(|start| start[0] == b'*' && start[2] == b'\r').count();
    redis::ConnectionLike::req_packed_commands(&mut naive.conn(), &bytes, 0, count).expect("it answers");
    for (row, (got, expected)) in ROWS.iter().zip(answers(&naive).iter().zip(&expected)) {
        assert_ne!(got, expected, "{} needs no care", row.source);
    }
    let targets = servers(1);
    scene.load(&source, &targets).run_ok();
    assert_eq!(answers(&targets[0]), expected);
    assert_same(&reference, &targets);
    let (loader, dirs) = scene.load_into_directories(&source, 1);
    loader.run_ok();
    assert_eq!(answers(&started(dirs)[0]), expected);
}

/// Every way to give a key an absolute deadline; `{k}` is the key, `{ms}` and `{s}` the deadline.
const FORMS: [&str; 24] = [
    "SET {k} v PXAT {ms}",
    "SET {k} v EXAT {s}",
    "SET {k} v GET pxat {ms} NX",
    "SET {k} old PXAT {F}\n SET {k} v XX GET EXAT {s}",
    "SET {k} old PXAT {ms}\n SET {k} new KEEPTTL",
    "SET {k} old PXAT {ms}\n SET {k} new",
    "SET {k} v\n PEXPIREAT {k} {ms}",
    "SET {k} v\n EXPIREAT {k} {s}",
    "SET {k} v\n GETEX {k} PXAT {ms}",
    "SET {k} v\n GETEX {k} EXAT {s}",
    "SET {k} v PXAT {ms}\n GETEX {k} PERSIST",
    "SET {k} v\n PEXPIREAT {k} {ms} NX",
    "SET {k} v PXAT {F}\n PEXPIREAT {k} {ms} NX",
    "SET {k} v PXAT {F}\n PEXPIREAT {k} {ms} XX",
    "SET {k} v PXAT {F}\n PEXPIREAT {k} {ms} GT",
    "SET {k} v PXAT {F}\n pexpireat {k} {ms} lt",
    "SET {k} v PXAT {F}\n EXPIREAT {k} {s} GT",
    "SET {k} v\n PEXPIREAT {k} {ms} GT",
    "SET {k} v\n PEXPIREAT {k} {ms} LT",
    "RPUSH {k} a b\n PEXPIREAT {k} {ms}\n RPUSH {k} c",
    "HSET {k} f v\n EXPIREAT {k} {s}\n HINCRBY {k} n 3",
    "ZADD {k} 1 a\n PEXPIREAT {k} {ms}\n APPEND {k} x",
    "XADD {k} 1-1 f v\n PEXPIREAT {k} {ms}\n XADD {k} 2-1 f v",
    "SADD {k} a\n PEXPIREAT {k} 9223372036854775808\n EXPIREAT {k} 9223372036854776\n PEXPIREAT {k} {ms}",
];

/// Every form with each deadline, once as it is and once with PERSIST after it: what was past shows then.
fn forms_as_one_source(deadlines_ms: &[i64]) -> Vec<u8> {
    let payload = restorable();
    let mut bytes = Vec::new();
    for ms in deadlines_ms {
        let (text, seconds) = (ms.to_string(), (ms / 1000).max(1).to_string());
        for (at, form) in FORMS.iter().enumerate() {
            for (kind, end) in [("plain", ""), ("persisted", "\n PERSIST {k}")] {
                let lines = format!("{form}{end}").replace("{k}", &format!("{kind}:{at}:{ms}"));
                let lines = filled(&lines.replace("{ms}", &text).replace("{s}", &seconds));
                bytes.extend(aof::of_lines(&lines));
            }
        }
        for (name, key) in [("RESTORE", "restored"), ("RESTORE-ASKING", "restored-asking")] {
            let key = format!("{key}:{ms}");
            let words: [&[u8]; 6] =
                [name.as_bytes(), key.as_bytes(), text.as_bytes(), &payload, b"REPLACE", b"ABSTTL"];
            aof::push(&mut bytes, &words);
            aof::push(&mut bytes, &words);
            aof::push(&mut bytes, &[b"APPEND", key.as_bytes(), b"more"]);
        }
    }
    bytes
}

/// A string as DUMP gives it.
fn restorable() -> Vec<u8> {
    let server = Server::start(&[]);
    server.cmd(&["SET", "it", "dumped"]).expect("SET");
    wire::bytes(&server.cmd(&["DUMP", "it"]).expect("DUMP"))
}

fn assert_forms_load(deadlines_ms: &[i64], alive_least: usize) {
    let scene = Scene::new();
    let source = scene.file("dump.aof", forms_as_one_source(deadlines_ms));
    let (reference, targets) = (reference(&source), servers(2));
    scene.load(&source, &targets).args(&["--batch-commands", "10"]).run_ok();
    assert_same(&reference, &targets);
    let held = Snapshot::of(&reference);
    assert!(
        held.alive(held.taken_ms).len() >= alive_least,
        "{} keys are alive",
        held.alive(held.taken_ms).len()
    );
    let (loader, dirs) = scene.load_into_directories(&source, 2);
    loader.run_ok();
    assert_same(&reference, &started(dirs));
}

#[test]
fn every_form_with_past_and_future_deadlines() {
    assert_forms_load(&[1, 1000, PAST_MS, FUTURE_MS - 1, FUTURE_MS + 1, NEAR_OFFSET_MS - 1], 200);
}

/// One of them is enough for the larger offset, which all deadlines of the source then get.
#[test]
fn every_form_with_deadlines_beyond_the_near_offset() {
    assert_forms_load(
        &[1, PAST_MS, FUTURE_MS, NEAR_OFFSET_MS, NEAR_OFFSET_MS + 1, FAR_OFFSET_MS - 1000],
        250,
    );
}

#[test]
fn deadlines_that_cannot_be_shifted_are_refused_for_servers_and_fit_for_files() {
    let cases = [
        "PEXPIREAT k 4000000000000000000",
        "PEXPIREAT k 9223372036854775807",
        "EXPIREAT k 4000000000000000",
        "SET k v PXAT 4000000000000000000",
        "SET k v EXAT 9223372036854775",
        "GETEX k PXAT 4000000000000000001",
        "PEXPIREAT k -1",
        // Relative to now, which is past 0.
        "PEXPIRE k 3999999999999999999",
        "EXPIRE k 4000000000000000",
    ];
    let targets = servers(1);
    for case in cases {
        let scene = Scene::new();
        let start = aof::of_lines("SET before 1\n SET k v");
        let at = start.len().to_string();
        let source =
            scene.file("dump.aof", [start, aof::of_lines(case), aof::of_lines("SET after 1")].concat());
        let output = scene.load(&source, &targets).run();
        assert_refused(
            &output,
            4,
            &["deadline", &format!("byte {at}: "), case.split(' ').next().expect("a name")],
        );
        assert_untouched(&targets);
        let (loader, dirs) = scene.load_into_directories(&source, 1);
        loader.run_ok();
        // To a server -1 is no deadline in one place and a past one in another; Valkey 8.1 even crashes on it.
        if case.ends_with("-1") {
            continue;
        }
        let theirs = Snapshot::of(&started(dirs)[0]);
        assert_eq!(theirs.keys.len(), 3, "{case}");
        if !case.contains("PIRE k") {
            assert_eq!(theirs.keys, Snapshot::of(&reference(&source)).keys, "{case}");
        }
    }
}

/// A server that does not know them is not given them; see `fields` for those that do.
#[test]
fn deadlines_of_hash_fields_are_refused_for_servers_without_them() {
    let (scene, targets) = (Scene::new(), servers(1));
    if wire::knows(&mut targets[0].conn(), "HPEXPIREAT") {
        return;
    }
    let lines = "HSET h f 1\n HPEXPIREAT h 4102444800000 FIELDS 1 f\n HEXPIRE h 10 FIELDS 1 f
                 HSETEX h PXAT 4102444800000 FIELDS 1 f v\n HGETEX h EX 10 FIELDS 1 f";
    let source = scene.file("dump.aof", aof::of_lines(lines));
    assert_refused(
        &scene.load(&source, &targets).run(),
        5,
        &["does not know commands", "HEXPIRE, HGETEX, HPEXPIREAT, HSETEX"],
    );
    assert_untouched(&targets);
    // A hash of Redis 8.0 with one field: type, earliest deadline, count, deadline, name, value; version, checksum.
    let mut payload = b"\x18\x00\xd8\x63\xe1\xbb\x03\x00\x00\x01\x01\x01f\x01v\x0c\x00".to_vec();
    payload.extend(redcluster_load::rdb::crc64::checksum(&payload).to_le_bytes());
    let mut bytes = aof::of_lines("HSET h f 1");
    aof::push(&mut bytes, &[b"RESTORE", b"restored", b"0", &payload]);
    let source = scene.file("dump.aof", bytes);
    let reason = "1 x a hash with field deadlines is more than its target's version knows";
    assert_refused(&scene.load(&source, &targets).run(), 4, &[reason, "RESTORE restored"]);
    assert_untouched(&targets);
    scene.load(&source, &targets).arg("--skip-unsupported").run_ok();
    assert_eq!(Snapshot::of(&targets[0]).keys.len(), 1);
}

/// Counted from the one moment that the load took for now.
#[test]
fn relative_deadlines_count_from_the_load() {
    const RELATIVE_MS: i64 = 500_000_000;
    let scene = Scene::new();
    let mut bytes = aof::of_lines(
        "SET a v EX 500000\n SET b v PX 500000000\n SETEX c 500000 v\n PSETEX d 500000000 v\n SET e v\n EXPIRE e 500000
         SET f v\n PEXPIRE f 500000000\n SET g v\n GETEX g EX 500000\n SET h v\n GETEX h PX 500000000
         SET i v PX 500000000\n PEXPIRE i 400000000 GT\n SET j v\n PEXPIRE j 500000000 NX
         SET persisted v\n EXPIRE persisted -5\n PERSIST persisted\n SET gone v\n PEXPIRE gone -5
         SET never v\n SETEX never 0 w\n PSETEX never -1 w\n SET never w EX 0\n SETEX never x w",
    );
    let payload = restorable();
    aof::push(&mut bytes, &[b"RESTORE", b"k", b"500000000", &payload]);
    aof::push(&mut bytes, &[b"RESTORE", b"l", b"500000000", &payload, b"REPLACE"]);
    let source = scene.file("dump.aof", bytes);
    let targets = servers(1);
    let before_ms = now_ms();
    scene.load(&source, &targets).run_ok();
    let after_ms = now_ms();
    let held = Snapshot::of(&targets[0]);
    let reference = Snapshot::of(&reference(&source));
    for key in "abcdefghijkl".chars() {
        let name = (0, key.to_string().into_bytes());
        let entry = held.keys.get(&name).unwrap_or_else(|| panic!("{key} is missing"));
        let deadline = entry.deadline_ms.unwrap_or_else(|| panic!("{key} has no deadline"));
        let counted_from = deadline - RELATIVE_MS;
        assert!((before_ms..=after_ms).contains(&counted_from), "{key} counts from {counted_from}");
    }
    // Apart from deadlines it is what the reference holds; `persisted` and `never` have none.
    let contents = |snapshot: &Snapshot| {
        let alive = snapshot.alive(after_ms.max(snapshot.taken_ms));
        alive.into_iter().map(|(name, entry)| (name.clone(), entry.content)).collect::<Vec<_>>()
    };
    assert_eq!(contents(&held), contents(&reference));
    for key in ["persisted", "never"] {
        assert_eq!(held.keys[&(0, key.as_bytes().to_vec())].deadline_ms, None, "{key}");
    }
}

fn calls(server: &Server, command: &str) -> bool {
    server.info(&format!("cmdstat_{command}")).is_some()
}

/// Settling looks at every key, which a source without deadlines must not pay for.
#[test]
fn only_sources_with_deadlines_are_scanned_for() {
    let keys: String = (0..100).map(|n| format!("SET key{n} v\n RPUSH list{n} EX 5 PXAT 7\n")).collect();
    for (more, scanned) in
        [("", false), ("SET k v KEEPTTL\n GETEX k\n", false), ("SET k v PXAT {P}\n APPEND k w\n", true)]
    {
        let scene = Scene::new();
        let source = scene.file("dump.aof", aof::of_lines(&format!("{keys}{}", filled(more))));
        let targets = servers(1);
        scene.load(&source, &targets).run_ok();
        // PEXPIRETIME is how settling looks at a key, whether it scans for it or knows its name.
        assert_eq!(calls(&targets[0], "pexpiretime"), scanned, "after {more:?}");
        assert!(scanned || !calls(&targets[0], "scan"), "after {more:?}");
        assert!(!calls(&targets[0], "keys"), "KEYS holds up a server for long");
        assert_same(&reference(&source), &targets);
    }
}

/// A load that will never be finished must not leave keys behind that live for ever.
#[test]
fn abandoning_puts_deadlines_right_and_removes_markers() {
    const KEYS: usize = 20_000;
    let scene = Scene::new();
    let deadline_of = |n: usize| if n.is_multiple_of(2) { FUTURE_MS + n as i64 } else { PAST_MS };
    let lines = (0..KEYS).map(|n| format!("SET {n} v PXAT {}\n SET free{n} v\n", deadline_of(n)));
    // What comes later for a key is why its deadline may not be acted on meanwhile.
    let later = (0..KEYS).map(|n| format!("APPEND {n} w\n"));
    let source = scene.file("dump.aof", aof::of_lines(&lines.chain(later).collect::<String>()));
    let slow = Slow::start(2);
    let loader = slow.load(&scene, &source);
    slow.kill_midway(&loader);
    let targets = &slow.targets;
    for target in targets {
        let held = Snapshot::of(target);
        let shifted = held.keys.values().filter(|entry| entry.deadline_ms >= Some(NEAR_OFFSET_MS)).count();
        assert!(shifted > 10, "{shifted} keys have a shifted deadline");
    }
    let output = loader.clone().arg("--abandon").run_ok();
    assert!(output.stdout.contains("abandoned") || output.stderr.contains("abandoned"), "{output}");
    for target in targets {
        assert_eq!(target.cmd(&["EXISTS", MARKER]), Ok(Value::Int(0)));
        let held = Snapshot::of(target);
        assert!(held.keys.len() > 25, "what was loaded stays");
        for ((_, key), entry) in held.alive(held.taken_ms) {
            let key = String::from_utf8(key.clone()).expect("text");
            let expected = key.parse().ok().map(deadline_of);
            assert_eq!(entry.deadline_ms, expected, "{key}");
            assert_ne!(expected, Some(PAST_MS), "{key} should have expired");
        }
    }
    // What is left are keys like any others: the load cannot go on as if nothing had happened.
    assert_refused(&loader.run(), 5, &["holds"]);
}

#[test]
fn deadlines_inside_transactions() {
    let scene = Scene::new();
    let lines = filled(
        "SELECT 3\n MULTI\n SET k 5 PXAT {P}\n INCR k\n PERSIST k\n EXEC
         MULTI\n SET a 1 PXAT {P}\n SELECT 5\n SET a 2 PXAT {F}\n SET b 2 PXAT {P}\n EXEC\n SET c 3\n PERSIST b
         MULTI\n RPUSH l 1\n PEXPIREAT l {P}\n RPUSHX l 2\n PEXPIREAT l {F}\n EXEC
         MULTI\n GETEX c PXAT {P}\n SETNX c 4\n EXEC\n GETEX c PERSIST
         MULTI\n MULTI\n SET nested 1 PXAT {P}\n EXEC\n PERSIST nested\n EXEC",
    );
    let source = scene.file("dump.aof", aof::of_lines(&lines));
    let (reference, targets) = (reference(&source), servers(3));
    scene.load(&source, &targets).args(&["--batch-commands", "1"]).run_ok();
    assert_same(&reference, &targets);
    let held = Snapshot::of(&reference);
    assert_eq!(
        held.alive(held.taken_ms).len(),
        6,
        "k, a, b, c, l and nested are what was meant to be compared"
    );
}

/// A loading server trims as if LIMIT were not there; a live one refuses it beside `=` and heeds it beside `~`.
#[test]
fn streams_are_trimmed_as_a_loading_server_does() {
    let scene = Scene::new();
    let mut bytes = Vec::new();
    let trims = [
        "XTRIM {s} MAXLEN = 50 LIMIT 3",
        "XTRIM {s} MAXLEN ~ 50 LIMIT 3",
        "XTRIM {s} MAXLEN ~ 50",
        "XTRIM {s} MINID = 11900 LIMIT 3",
        "XTRIM {s} minid ~ 11900-0 limit 100",
        "XTRIM {s} LIMIT 10 MAXLEN ~ 70",
        "XTRIM {s} MAXLEN 70 LIMIT 10",
        "XTRIM {s} MAXLEN ~ 50 LIMIT -1",
        "XTRIM {s} MAXLEN ~ 50 LIMIT x",
        "XADD {s} MAXLEN = 60 LIMIT 5 99999-1 f v",
        "XADD {s} MAXLEN ~ 60 LIMIT 5 99999-1 f v",
        "XADD {s} MAXLEN ~ 60 99999-1 f v",
        "XADD {s} NOMKSTREAM MINID ~ 11950 LIMIT 1 99999-1 LIMIT 7",
        "XADD {s} NOMKSTREAM MAXLEN = 3 LIMIT 1 99999-1 MAXLEN ~",
    ];
    // More than 100 nodes of 100 entries: the number of entries that a live server trims unless told otherwise.
    for (at, trim) in trims.iter().enumerate() {
        let name = format!("stream{at}");
        for id in 1..=12_000 {
            aof::push(&mut bytes, &[b"XADD", name.as_bytes(), format!("{id}-1").as_bytes(), b"f", b"v"]);
        }
        aof::push_words(&mut bytes, &trim.replace("{s}", &name));
    }
    let source = scene.file("dump.aof", bytes);
    let (reference, targets) = (reference(&source), servers(2));
    scene.load(&source, &targets).run_ok();
    assert_same(&reference, &targets);
    let length = |name: &str| reference.cmd(&["XLEN", name]);
    assert_eq!((length("stream0"), length("stream9")), (Ok(Value::Int(50)), Ok(Value::Int(60))));
}
