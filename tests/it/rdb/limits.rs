//! Values that a target cannot take as they stand: taken apart where that is possible, else refused by type and number
//! before anything is written.

use super::{SHARDS, both_sinks, dumped};
use crate::scene::{Scene, assert_refused, assert_untouched, empty, reference, servers, started};
use crate::support::aof;
use crate::support::compare::assert_same;
use crate::support::fill::noise;
use crate::support::rdb::{self, Rdb};
use crate::support::server::Server;
use crate::support::wire;
use redis::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// The least that a server can be told to take in one argument.
const LOW: (&str, &str) = ("proto-max-bulk-len", "1mb");
const MIB: usize = 1 << 20;

fn low_servers(count: usize) -> Vec<Server> {
    (0..count).map(|_| Server::start(&[LOW])).collect()
}

/// A server that takes arguments of any size, for sources with large values.
fn origin() -> Server {
    Server::start(&[("proto-max-bulk-len", "1gb")])
}

/// Collections of a few MiB, of elements that each are small enough.
fn fill_large(server: &Server) {
    let conn = &mut server.conn();
    for n in 0..40 {
        let value = noise(n, 60_000);
        let name = n.to_string();
        wire::ask(conn, &[b"RPUSH", b"list", &value, name.as_bytes()]);
        wire::ask(conn, &[b"SADD", b"set", &value, name.as_bytes()]);
        wire::ask(conn, &[b"HSET", b"hash", name.as_bytes(), &value]);
        wire::ask(conn, &[b"ZADD", b"sorted", name.as_bytes(), &value]);
    }
    // As long as an argument may be, so that the payload is longer.
    for below in [0, 5, 11, 12, 20, 21, 22, 30] {
        let key = format!("edge:{below}");
        wire::ask(conn, &[b"SET", key.as_bytes(), &noise(1, MIB - below), b"PXAT", b"4000000000000"]);
    }
    // Longer than an argument, but not as its payload.
    wire::ask(conn, &[b"SET", b"compressed", &b"0123456789".repeat(MIB / 2)]);
    wire::ask(conn, &[b"PEXPIREAT", b"list", b"4000000000001"]);
    fill_large_stream(conn, b"stream");
    wire::ask(conn, &[b"PEXPIREAT", b"stream", b"4000000000002"]);
}

/// With entries that are deleted and that have other fields than the first of their node, and with groups.
fn fill_large_stream(conn: &mut redis::Connection, key: &[u8]) {
    for n in 1..=600_usize {
        let (id, value) = (format!("{}-{n}", n / 7 + 1), noise(n as u64, 6_000));
        let parts: &[&[u8]] = if n % 5 == 0 { &[b"g", b"-7", b"f", &value] } else { &[b"f", &value] };
        wire::ask(conn, &[&[b"XADD", key, id.as_bytes()], parts].concat());
    }
    for line in ["XGROUP CREATE - readers 0", "XGROUP CREATE - others 3-20", "XGROUP CREATE - done $"] {
        stream_command(conn, key, line);
    }
    wire::ask(conn, &[b"XREADGROUP", b"GROUP", b"readers", b"one", b"COUNT", b"40", b"STREAMS", key, b">"]);
    for line in
        ["XACK - readers 1-3 2-8", "XDEL - 1-2 40-280 86-600", "XTRIM - MAXLEN 590", "XADD - 90-1 a b"]
    {
        stream_command(conn, key, line);
    }
}

/// A line in which `-` stands for the key.
fn stream_command(conn: &mut redis::Connection, key: &[u8], line: &str) {
    let words = line.split(' ').map(|word| if word == "-" { key } else { word.as_bytes() });
    wire::ask(conn, &words.collect::<Vec<_>>());
}

#[test]
fn values_longer_than_an_argument_come_in_pieces() {
    let scene = Scene::new();
    let server = origin();
    fill_large(&server);
    let tail = aof::of_lines("RPUSH list last\n RPUSH large +\n HSET hash 0 replaced\n DEL edge:0");
    let source = scene.file("dump.aof", [rdb::saved(&server), tail].concat());
    let targets = low_servers(2);
    scene.load(&source, &targets).run_ok();
    assert_same(&reference(&source), &targets);
}

#[test]
fn an_element_longer_than_an_argument_is_refused_by_type() {
    let server = origin();
    let values: [&[&[u8]]; 5] = [
        &[b"SET", b"text"],
        &[b"RPUSH", b"list", b"a"],
        &[b"SADD", b"set"],
        &[b"HSET", b"hash", b"f"],
        &[b"ZADD", b"sorted", b"1"],
    ];
    let (scene, targets) = (Scene::new(), low_servers(1));
    for command in values {
        server.cmd(&["FLUSHALL"]).expect("it can");
        let element = noise(1, MIB + 1);
        let words: Vec<&[u8]> = command.iter().copied().chain([element.as_slice()]).collect();
        server.cmd(&words).expect("it takes it");
        server.cmd(&["SET", "other", "v"]).expect("it takes it");
        let source = scene.file("dump.rdb", rdb::saved(&server));
        let name = String::from_utf8_lossy(command[1]).into_owned();
        let output = scene.load(&source, &targets).run();
        assert_refused(
            &output,
            4,
            &["1 x a ", "longer than its target's proto-max-bulk-len", "nothing was written", &name],
        );
        assert_untouched(&targets);
    }
}

/// The payload that it is sent as is a little longer than it is in the file.
#[test]
fn streams_around_the_length_of_an_argument() {
    let (scene, targets) = (Scene::new(), low_servers(1));
    let server = origin();
    let conn = &mut server.conn();
    let payload = |conn: &mut redis::Connection, bytes: usize| {
        wire::ask(conn, &[b"DEL", b"stream"]);
        wire::ask(conn, &[b"XADD", b"stream", b"1-1", b"f", &noise(1, bytes)]);
        wire::bytes(&wire::ask(conn, &[b"DUMP", b"stream"])).len()
    };
    let around = payload(conn, MIB - 1000) - (MIB - 1000);
    let load = || {
        let source = scene.file("dump.rdb", rdb::saved(&server));
        scene.load(&source, &targets).args(&["--flush-targets", "--restart"]).run()
    };
    // Payloads of these lengths, the last that fits and those around it; then of an entry as long as an argument may be.
    for length in [MIB - 12, MIB - 11, MIB - 1, MIB, MIB + 1, MIB + 10, MIB + 11, MIB + 12, MIB + around] {
        assert_eq!(payload(conn, length - around), length);
        let before = crate::drill::stat(&targets[0], "cmdstat_xadd", "calls");
        let output = load();
        assert_eq!(output.code, Some(0), "{length} bytes: {output}");
        assert_same(&server, &targets);
        let apart = crate::drill::stat(&targets[0], "cmdstat_xadd", "calls") > before;
        assert_eq!(apart, length > MIB, "{length} bytes");
    }
    payload(conn, MIB + 1);
    targets[0].cmd(&["FLUSHALL"]).expect("it can");
    assert_refused(&load(), 4, &["1 x a stream", "longer than its target's proto-max-bulk-len"]);
    assert_untouched(&targets);
}

/// Kinds of value that no server of version 7.0 knows; their bytes are those that newer ones write.
fn newer() -> Rdb {
    let listpack = b"\x0c\x0c\0\0\0\x02\0\x81a\x02\x07\x01\xff";
    Rdb::new(11).string("text", "v").raw(b"\x14\x03set").raw(listpack)
}

/// The version that the tests' server has.
fn version() -> (u32, u32) {
    crate::support::binary::Binary::from_env().version()
}

fn has_field_deadlines() -> bool {
    let server = Server::start(&[]);
    wire::knows(&mut server.conn(), "HPEXPIREAT")
}

#[test]
fn a_set_that_the_target_does_not_know_is_taken_apart() {
    let (scene, targets) = (Scene::new(), servers(2));
    let source = scene.file("dump.rdb", newer().file());
    scene.load(&source, &targets).run_ok();
    let expected = Server::start(&[]);
    expected.cmd(&["SADD", "set", "a", "7"]).expect("it can");
    expected.cmd(&["SET", "text", "v"]).expect("it can");
    assert_same(&expected, &targets);
}

/// Files of newer servers than the target: what each of them holds that it may not know.
#[test]
fn what_the_target_does_not_know_is_refused_by_type_and_number() {
    let stream = ("stream (version 3)", version() >= (7, 2), "stream");
    let fields = |name: &'static str| (name, has_field_deadlines(), "deadlines");
    let valkey = ("hash with field deadlines (Valkey)", false, "deadlines");
    let files = [
        ("redis-8.0.rdb", [stream, fields("hash with field deadlines (listpack)")]),
        ("redis-8.0-large.rdb", [stream, fields("hash with field deadlines")]),
        ("valkey-9.1.rdb", [stream, valkey]),
    ];
    let targets = servers(1);
    for (file, kinds) in files {
        let (scene, source) = (Scene::new(), sample(file));
        let refused: Vec<String> = kinds
            .iter()
            .filter(|(_, known, _)| !known)
            .map(|(kind, ..)| format!("1 x a {kind} is more than its target's version knows"))
            .collect();
        let load = |args: &[&str]| {
            let checkpoint = scene.dir().join("checkpoint");
            scene.load(&source, &targets).args(args).arg("--checkpoint").arg(checkpoint).run()
        };
        let words: Vec<&str> = refused.iter().map(String::as_str).chain(["nothing was written"]).collect();
        if !refused.is_empty() {
            assert_refused(&load(&[]), 4, &words);
            assert_untouched(&targets);
            assert_refused(&load(&["--dry-run", "--check-topology"]), 4, &words);
        }
        // Left out, the rest is loaded and the report says what is not.
        let output = load(&["--skip-unsupported"]);
        assert_eq!(output.code, Some(0), "{output}");
        for (kind, known, key) in kinds {
            let db = if key == "stream" { "0" } else { "3" };
            let conn = &mut targets[0].conn();
            wire::ask(conn, &[b"SELECT", db.as_bytes()]);
            assert_eq!(
                wire::ask(conn, &[b"EXISTS", key.as_bytes()]),
                Value::Int(i64::from(known)),
                "{output}"
            );
            assert!(known || output.stdout.contains(kind), "{output}");
        }
        if refused.is_empty() {
            assert_same(&reference(&source), &targets);
        }
        empty(&targets);
        // A directory takes everything: who loads it later is not known.
        let (loader, dirs) = scene.load_into_directories(&source, 1);
        loader.run_ok();
        assert_eq!(Server::loading(&dirs[0]).is_ok(), Server::loading(&source).is_ok());
    }
}

/// A file of another version that lies among the test data.
fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/rdb").join(name)
}

#[test]
fn files_of_older_servers_are_taken() {
    for file in ["redis-6.2.rdb", "redis-6.2-large.rdb", "redis-7.0.rdb"] {
        let scene = Scene::new();
        let source = scene.file("dump.rdb", fs::read(sample(file)).expect("it is there"));
        both_sinks(&scene, &source);
    }
}

/// The oldest forms of every type, from files that servers have not written for ten years.
#[test]
fn forms_of_old_servers_are_taken() {
    let scene = Scene::new();
    let ziplist = |key: &str, kind: u8| {
        [&[kind, key.len() as u8], key.as_bytes(), b"\x10\x10\0\0\0\x0d\0\0\0\x02\0\x00\x01a\x03\xf3\xff"]
            .concat()
    };
    let file = Rdb::new(7)
        .raw(b"\x01\x04list\x02\x01a\xc0\xff")
        .raw(b"\x02\x03set\x02\x01a\xc3\x06\x0a\x02abc\xa0\x02")
        .raw(b"\x03\x06sorted\x03\x01a\x031.5\x01b\xfe\x01c\xff")
        .raw(b"\x04\x04hash\x01\x01f\x01v")
        .raw(b"\x09\x06zipmap\x07\x01\x01f\x01\x00v\xff")
        .raw(&ziplist("list:zip", 10))
        .raw(b"\x0b\x06intset\x0c\x02\0\0\0\x02\0\0\0\xff\xff\x05\x00")
        .raw(&ziplist("sorted:zip", 12))
        .raw(&ziplist("hash:zip", 13))
        .raw(b"\x0e\x05quick\x01\x10\x10\0\0\0\x0d\0\0\0\x02\0\x00\x01a\x03\xf3\xff")
        // What servers once saved by mistake, and skip.
        .raw(b"\x01\x05empty\x00")
        .raw(b"\xfd\x00\x28\x6b\x7e\x00\x07expires\x01v");
    let source = scene.file("dump.rdb", file.file());
    let (targets, _) = both_sinks(&scene, &source);
    assert_eq!(targets.len(), SHARDS);
}

/// An error from the target names the key of the RDB part and its place in the source.
#[test]
fn a_value_that_the_target_will_not_have_is_named() {
    let scene = Scene::new();
    let targets = servers(1);
    let dump = dumped(&targets[0], &["RPUSH it a b c"]);
    targets[0].cmd(&["FLUSHALL"]).expect("it can");
    let source = scene.file("dump.rdb", Rdb::new(10).string("text", "v").dumped("the list", &dump).file());
    targets[0].cmd(&["ACL", "SETUSER", "default", "-restore"]).expect("it can");
    let output = scene.load(&source, &targets).args(&["--retry-for-s", "1"]).run();
    assert_refused(
        &output,
        output.code.unwrap_or_default(),
        &["the list", "'restore'", "key: the list\n", "byte: 17\n"],
    );
    assert_ne!(output.code, Some(0), "{output}");
    targets[0].cmd(&["ACL", "SETUSER", "default", "+restore"]).expect("it can");
    scene.load(&source, &targets).run_ok();
    assert_same(&reference(&source), &targets);
}

/// Directories have no limit but the server's own when it loads them.
#[test]
fn directories_take_values_of_any_length() {
    let scene = Scene::new();
    let server = origin();
    fill_large(&server);
    wire::ask(&mut server.conn(), &[b"SET", b"large", &noise(3, 20 * MIB)]);
    let source = scene.file("dump.rdb", rdb::saved(&server));
    let (loader, dirs) = scene.load_into_directories(&source, 2);
    loader.run_ok();
    assert_same(&reference(&source), &started(dirs));
}
