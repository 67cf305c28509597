//! A keyspace with every type of value in every encoding that a server has: small ones and converted ones.

use super::server::Server;
use super::wire;
use redis::{Connection, Value};
use std::collections::BTreeSet;

/// A command, argument by argument.
pub type Words = Vec<Vec<u8>>;

/// Of each kind of value so many keys, so that every shard gets some.
const COPIES: usize = 4;
/// Elements with which a collection leaves its compact encoding.
const LARGE: usize = 600;
/// In the year 2096.
pub const FAR_MS: i64 = 4_000_000_000_000;
/// A library of functions.
pub const LIBRARY: &str = "#!lua name=library\nredis.register_function('f', function() return 1 end)";

/// Puts it into a server, as far as its version knows the types; most of it into database 0.
pub fn fill(server: &Server) {
    let conn = &mut server.conn();
    if server.binary().version() >= (7, 0) {
        // Else an element has to be of a gigabyte to be kept apart.
        ask(conn, &words("DEBUG QUICKLIST-PACKED-THRESHOLD 200b"));
    }
    ask(conn, &words("CONFIG SET list-compress-depth 1"));
    for copy in 0..COPIES {
        send(conn, &texts(copy));
        send(conn, &lists(copy));
        send(conn, &sets(copy));
        send(conn, &hashes(copy));
        send(conn, &sorted(copy));
        send(conn, &streams(copy, server));
        if wire::knows(conn, "HPEXPIREAT") {
            send(conn, &fields(copy));
        }
    }
    send(conn, &deadlines());
    for db in [3, 15] {
        ask(conn, &words(&format!("SELECT {db}")));
        send(conn, &texts(0));
        send(conn, &hashes(1));
        send(conn, &sorted(2));
    }
    if wire::knows(conn, "FUNCTION") {
        ask(conn, &[&b"FUNCTION"[..], b"LOAD", LIBRARY.as_bytes()].map(<[u8]>::to_vec));
    }
}

/// Every encoding that some key of database 0 has.
pub fn encodings(server: &Server) -> BTreeSet<String> {
    let conn = &mut server.conn();
    let keys = wire::ask(conn, &[b"KEYS", b"*"]);
    let names: Vec<Vec<u8>> = wire::items(&keys).iter().map(wire::bytes).collect();
    let asked: Vec<Vec<&[u8]>> = names.iter().map(|name| vec![&b"OBJECT"[..], b"ENCODING", name]).collect();
    wire::pipeline(conn, &asked).iter().map(wire::text).collect()
}

/// What is written after a rewrite: every type is touched, some keys are gone, some are new.
pub fn touch(server: &Server) {
    let conn = &mut server.conn();
    let lines = "APPEND text:1 more|INCR number:1|SETRANGE long:2 10 XYZ|RPUSH list:1 new|LPOP list:large:2|LSET list:large:0 -1 x
        |SADD set:ints:1 77777 word|SREM set:large:2 member1|HSET hash:1 new 1|HDEL hash:large:2 f1|HINCRBY hash:3 n 4
        |ZADD sorted:1 99 new|ZINCRBY sorted:large:2 0.5 m1|ZREM sorted:large:3 m2|XADD stream:1 999999-1 f v
        |XACK stream:2 group 1-1|XDEL stream:large:1 5-1|PFADD sketch:1 x y z|SETBIT bits:1 9000 1|DEL text:2 hash:2
        |SET text:3 replaced|PERSIST deadline:text|PEXPIREAT deadline:list 4000000000777|DEL deadline:set|RENAME hash:0 hash:0
        |SELECT 3|SET new:3 here|HSET hash:1 in 3|SELECT 15|DEL number:0|SELECT 0|SET new:0 here";
    send(conn, &lines.split('|').map(words).collect::<Vec<_>>());
    if wire::knows(conn, "HPEXPIREAT") {
        let lines = "HSET fields:1 new 1|HDEL fields:2 g|HSET fields:large:1 new 1|DEL fields:3";
        send(conn, &lines.split('|').map(words).collect::<Vec<_>>());
    }
}

/// A line taken apart at its blanks.
pub fn words(line: &str) -> Words {
    line.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
}

/// One command that must not fail.
pub fn ask(conn: &mut Connection, command: &[Vec<u8>]) {
    send(conn, &[command.to_vec()]);
}

fn send(conn: &mut Connection, commands: &[Words]) {
    let borrowed: Vec<Vec<&[u8]>> =
        commands.iter().map(|words| words.iter().map(Vec::as_slice).collect()).collect();
    for (reply, command) in wire::pipeline(conn, &borrowed).iter().zip(commands) {
        assert!(!matches!(reply, Value::ServerError(_)), "{:?}: {reply:?}", shown(command));
    }
}

fn shown(command: &Words) -> Vec<String> {
    command.iter().take(4).map(|word| word[..word.len().min(40)].escape_ascii().to_string()).collect()
}

/// Bytes without any pattern, the same every time.
pub fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..count).map(|_| next()).collect()
}

fn command(line: &str, rest: impl IntoIterator<Item = Vec<u8>>) -> Words {
    words(line).into_iter().chain(rest).collect()
}

/// Many elements after a command's name and key; `{}` is the number.
fn many(line: &str, element: &str) -> Words {
    let all = (0..LARGE).flat_map(|n| words(&element.replace("{}", &n.to_string())));
    command(line, all)
}

fn texts(copy: usize) -> Vec<Words> {
    let sketched = (0..5000).map(|n| format!("element{n}").into_bytes());
    let mut all = vec![
        words(&format!("SET number:{copy} {}", 12_345 + copy)),
        words(&format!("SET smallest:{copy} -9223372036854775808")),
        words(&format!("SET byte:{copy} -{copy}")),
        words(&format!("SET text:{copy} short{copy}")),
        command(&format!("SET empty:{copy}"), [Vec::new()]),
        command(&format!("SET long:{copy}"), [b"compressible ".repeat(400)]),
        command(&format!("SET noise:{copy}"), [noise(copy as u64, 70_000)]),
        command(&format!("SET bytes:{copy}"), [(0..=255).collect()]),
        command("SET", [noise(7 + copy as u64, 20), b"under a key of odd bytes".to_vec()]),
        words(&format!("SET {}{copy} under-a-long-key", "k".repeat(300))),
        // Stored as a number, although it is a key.
        words(&format!("SET 10{copy} under-a-number")),
        words(&format!("PFADD sketch:{copy} a b c")),
        command(&format!("PFADD sketch:dense:{copy}"), sketched),
        words(&format!("SETBIT bits:{copy} 5000 1")),
    ];
    if copy == 0 {
        all.push(command("SET", [Vec::new(), b"under no name at all".to_vec()]));
    }
    all
}

fn lists(copy: usize) -> Vec<Words> {
    let large = [b"x".repeat(300), b"1".to_vec(), noise(copy as u64, 9000), b"-70000".to_vec()];
    vec![
        words(&format!("RPUSH list:{copy} a -5 70000 {copy} b")),
        many(&format!("RPUSH list:large:{copy}"), "element-number-{}-of-a-list-of-several-nodes"),
        command(&format!("RPUSH list:plain:{copy}"), large),
    ]
}

fn sets(copy: usize) -> Vec<Words> {
    vec![
        words(&format!("SADD set:ints:{copy} -1 5 {copy}")),
        words(&format!("SADD set:ints32:{copy} 70000 {copy}")),
        words(&format!("SADD set:ints64:{copy} 9000000000 -1")),
        many(&format!("SADD set:ints:large:{copy}"), "{}"),
        words(&format!("SADD set:{copy} a 7 word{copy}")),
        many(&format!("SADD set:large:{copy}"), "member{}"),
        command(&format!("SADD set:wide:{copy}"), [b"w".repeat(200), noise(1, 100)]),
    ]
}

fn hashes(copy: usize) -> Vec<Words> {
    vec![
        words(&format!("HSET hash:{copy} f v n 12 m -70000 {copy} c")),
        many(&format!("HSET hash:large:{copy}"), "f{} v{}"),
        command(&format!("HSET hash:wide:{copy} f"), [noise(2, 5000), b"g".to_vec(), b"abc".repeat(900)]),
    ]
}

fn sorted(copy: usize) -> Vec<Words> {
    let scores =
        "1.5 a -inf b inf c -0 d 3 e 1e-300 f 0.1 g 3.0000000000000004 h 9007199254740993 i -1e300 j";
    vec![
        words(&format!("ZADD sorted:{copy} {scores}")),
        words(&format!("ZADD sorted:wide:{copy} {scores} 2 {}", "m".repeat(100))),
        many(&format!("ZADD sorted:large:{copy}"), "{}.25 m{}"),
        words(&format!("GEOADD geo:{copy} 12.5 48.5 m1 13.4 52.5 m2")),
    ]
}

fn streams(copy: usize, server: &Server) -> Vec<Words> {
    let (one, large, empty) =
        (format!("stream:{copy}"), format!("stream:large:{copy}"), format!("stream:empty:{copy}"));
    let mut all: Vec<Words> = (1..=4).map(|n| words(&format!("XADD {one} {n}-1 f v{n} g 7"))).collect();
    for line in [
        format!("XGROUP CREATE {one} group 0"),
        format!("XGROUP CREATE {one} other 2-1"),
        format!("XGROUP CREATECONSUMER {one} group idle"),
        format!("XREADGROUP GROUP group first COUNT 2 STREAMS {one} >"),
        format!("XREADGROUP GROUP group second COUNT 1 STREAMS {one} >"),
        format!("XREADGROUP GROUP group second COUNT 1 STREAMS {one} 0"),
        format!("XDEL {one} 2-1"),
    ] {
        all.push(words(&line));
    }
    all.extend((1..=400).map(|n| words(&format!("XADD {large} {n}-{copy} field{} v{n}", n % 3))));
    all.push(words(&format!("XDEL {large} 1-{copy} 399-{copy} 400-{copy}")));
    all.push(words(&format!("XGROUP CREATE {empty} group $ MKSTREAM")));
    if server.binary().version() >= (7, 0) {
        all.push(words(&format!("XSETID {large} 900-9 ENTRIESADDED 5000 MAXDELETEDID 400-9")));
    }
    all
}

/// Hashes whose fields have deadlines of their own.
fn fields(copy: usize) -> Vec<Words> {
    let later = |more: i64| FAR_MS + more;
    vec![
        words(&format!("HSET fields:{copy} f v g w h 17")),
        words(&format!("HPEXPIREAT fields:{copy} {} FIELDS 1 f", later(copy as i64))),
        words(&format!("HPEXPIREAT fields:{copy} {} FIELDS 1 h", later(77_777))),
        many(&format!("HSET fields:large:{copy}"), "f{} v{}"),
        words(&format!("HPEXPIREAT fields:large:{copy} {} FIELDS 2 f5 f599", later(5))),
        words(&format!("HPEXPIREAT fields:large:{copy} {} FIELDS 1 f300", later(123_456_789))),
    ]
}

fn deadlines() -> Vec<Words> {
    let made = [
        "SET deadline:text v",
        "SET deadline:number 7",
        "RPUSH deadline:list a b",
        "SADD deadline:set a b",
        "HSET deadline:hash f v",
        "ZADD deadline:sorted 1 a",
        "XADD deadline:stream 1-1 f v",
        "PFADD deadline:sketch a",
    ];
    let key = |line: &str| line.split(' ').nth(1).map(str::to_owned).unwrap_or_default();
    let expires =
        |(nth, line): (usize, &&str)| words(&format!("PEXPIREAT {} {}", key(line), FAR_MS + nth as i64));
    made.iter().map(|line| words(line)).chain(made.iter().enumerate().map(expires)).collect()
}
