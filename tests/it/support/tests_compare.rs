//! Does the judge tell? One difference of each kind, and none where there is none.

use super::aof;
use super::compare::{Placement, Snapshot, diff};
use super::server::Server;
use std::time::Duration;

/// A little of everything, with deadlines long past, near and far.
const SOURCE: &str = "
    SELECT 0
    SET s value
    SET n 1 PXAT 95617584000000
    SET dead x PXAT 1000
    SET revived x PXAT 1000
    PERSIST revived
    RPUSH l a b c
    SADD set a b c
    ZADD z 1 a 2.5 b -0 c
    HSET h f 1 g 2
    XADD st 5-1 k v
    XADD st 6-1 k v
    XGROUP CREATE st grp 5-1 ENTRIESREAD 1
    XGROUP CREATECONSUMER st grp idle
    XCLAIM st grp eve 0 6-1 TIME 1700000000000 RETRYCOUNT 3 FORCE JUSTID LASTID 6-1
    SELECT 9
    SET s other
";

fn loaded(lines: &str) -> Server {
    let dir = tempfile::tempdir().expect("a directory");
    let path = aof::write_file(dir.path(), "dump.aof", &aof::of_lines(lines));
    Server::loading(path).expect("the server loads it")
}

/// What the judge says of a target that got `SOURCE` and then `change`.
fn judged(change: &str) -> Vec<String> {
    let (reference, target) = (loaded(SOURCE), loaded(&format!("{SOURCE}\n{change}")));
    diff(&Snapshot::of(&reference), &[Snapshot::of(&target)], Placement::Crc32)
}

#[test]
fn equal_servers_do_not_differ() {
    assert_eq!(judged(""), Vec::<String>::new());
    assert_eq!(judged("SELECT 3\n SET gone x PXAT 5"), Vec::<String>::new(), "an expired key is absent");
}

#[test]
fn each_kind_of_difference_is_told_once() {
    let cases = [
        ("SELECT 0\n DEL s", "MISSING"),
        ("SELECT 0\n PEXPIREAT s 1000", "MISSING"),
        ("SELECT 4\n SET s value", "EXTRA"),
        ("SELECT 0\n PERSIST dead", "EXTRA"),
        ("SELECT 0\n DEL l\n SADD l a", "TYPE"),
        ("SELECT 0\n APPEND s x", "VALUE"),
        ("SELECT 9\n APPEND s x", "VALUE"),
        ("SELECT 0\n LSET l 1 x", "VALUE"),
        ("SELECT 0\n SREM set a", "VALUE"),
        ("SELECT 0\n ZADD z 2.5000001 b", "VALUE"),
        ("SELECT 0\n HSET h f 2", "VALUE"),
        ("SELECT 0\n HDEL h f", "VALUE"),
        ("SELECT 0\n XDEL st 5-1", "VALUE"),
        ("SELECT 0\n XSETID st 7-0", "VALUE"),
        ("SELECT 0\n XGROUP SETID st grp 5-1", "VALUE"),
        ("SELECT 0\n XGROUP CREATECONSUMER st grp second", "VALUE"),
        ("SELECT 0\n XGROUP DELCONSUMER st grp idle", "VALUE"),
        ("SELECT 0\n XACK st grp 6-1", "VALUE"),
        (
            "SELECT 0\n XCLAIM st grp eve 0 6-1 TIME 1700000000000 RETRYCOUNT 4 FORCE JUSTID LASTID 6-1",
            "VALUE",
        ),
        (
            "SELECT 0\n XCLAIM st grp eve 0 6-1 TIME 1700000000001 RETRYCOUNT 3 FORCE JUSTID LASTID 6-1",
            "VALUE",
        ),
        (
            "SELECT 0\n XCLAIM st grp bob 0 6-1 TIME 1700000000000 RETRYCOUNT 3 FORCE JUSTID LASTID 6-1",
            "VALUE",
        ),
        ("SELECT 0\n PEXPIREAT n 95617584000001", "DEADLINE"),
        ("SELECT 0\n PERSIST n", "DEADLINE"),
        ("SELECT 0\n PEXPIREAT s 95617584000001", "DEADLINE"),
    ];
    for (change, kind) in cases {
        let found = judged(change);
        assert!(
            found.len() == 1 && found[0].starts_with(kind),
            "{change:?} should give one {kind}: {found:?}"
        );
    }
}

#[test]
fn keys_on_the_wrong_or_on_two_targets_are_told() {
    let reference = loaded("SET a 1\n SET b 2\n SET c 3\n SET d 4");
    let shards = [Server::start(&[]), Server::start(&[])];
    for (key, value) in [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")] {
        shards[crc32fast::hash(key.as_bytes()) as usize % 2].cmd(&["SET", key, value]).expect("SET");
    }
    super::compare::assert_same(&reference, &shards);
    let home = crc32fast::hash(b"a") as usize % 2;
    let judge = |placement| {
        diff(&Snapshot::of(&reference), &[Snapshot::of(&shards[0]), Snapshot::of(&shards[1])], placement)
    };
    shards[1 - home].cmd(&["SET", "a", "1"]).expect("SET");
    let found = judge(Placement::Anywhere);
    assert!(found.len() == 1 && found[0].starts_with("DUPLICATE"), "{found:?}");
    shards[home].cmd(&["DEL", "a"]).expect("DEL");
    assert_eq!(judge(Placement::Anywhere), Vec::<String>::new());
    let found = judge(Placement::Crc32);
    assert!(found.len() == 1 && found[0].starts_with("PLACEMENT"), "{found:?}");
}

#[test]
fn functions_must_be_everywhere() {
    let code = "#!lua name=lib\nredis.register_function('f', function() return 1 end)";
    let reference = Server::start(&[]);
    let shards = [Server::start(&[]), Server::start(&[])];
    let load = |server: &Server| server.cmd(&["FUNCTION", "LOAD", code]).expect("FUNCTION LOAD");
    let judge = || {
        let targets: Vec<_> = shards.iter().map(Snapshot::of).collect();
        diff(&Snapshot::of(&reference), &targets, Placement::Crc32).len()
    };
    load(&reference);
    assert_eq!(judge(), 2);
    load(&shards[0]);
    assert_eq!(judge(), 1);
    load(&shards[1]);
    assert_eq!(judge(), 0);
}

#[test]
fn a_deadline_that_passes_while_reading_is_no_difference() {
    let (reference, target) = (Server::start(&[]), Server::start(&[]));
    for server in [&reference, &target] {
        server.cmd(&["SET", "k", "v", "PX", "30"]).expect("SET");
    }
    let before = Snapshot::of(&reference);
    assert_eq!(before.keys.len(), 1, "read before its deadline");
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(diff(&before, &[Snapshot::of(&target)], Placement::Crc32), Vec::<String>::new());
}
