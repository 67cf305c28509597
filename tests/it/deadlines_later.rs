//! What comes later for a key that has a deadline: the tool may leave deadlines unshifted that nothing depends on, and
//! has to find all shifted ones again, under whatever name and in whatever database they ended.
//!
//! `{P}` in a source is long past, `{F}` in the year 2100.

use crate::scene::{Scene, empty, reference, servers};
use crate::support::aof;
use crate::support::compare::{Snapshot, assert_same};
use crate::support::server::Server;
use crate::support::snapshot::now_ms;
use std::thread;

const PAST_MS: &str = "1600000000000";
const FUTURE_MS: &str = "4102444800000";
/// Workers, since every row takes servers of its own.
const WORKERS: usize = 4;

/// What may come later for a key that is past its deadline, and needs it. Every one goes wrong when it is streamed.
const LATER: [&str; 30] = [
    "SET k v PXAT {P}\n SWAPDB 0 1\n SELECT 1\n PERSIST k",
    "SET k v PXAT {P}\n SWAPDB 0 1\n SWAPDB 2 1\n SELECT 2\n PERSIST k",
    "SET k v PXAT {P}\n MOVE k 1\n SELECT 1\n PERSIST k",
    "SET k v PXAT {P}\n COPY k k DB 1\n SELECT 1\n PERSIST k",
    "SET k v PXAT {P}\n SELECT 1\n SET k w\n SELECT 0\n PERSIST k",
    "SELECT 1\n SET k v\n SELECT 0\n SET k w PXAT {P}\n MOVE k 1\n PERSIST k",
    "SELECT 1\n SET k v PXAT {P}\n SELECT 0\n SET k w\n COPY k k DB 1",
    "SET k v PXAT {P}\n RENAME k a\n RENAME a b\n PERSIST b",
    "SET k v\n SET j w PXAT {P}\n RENAMENX k j",
    "SET k v PXAT {P}\n MSETNX k x j y",
    "SET k v PXAT {P}\n SET k w NX\n PERSIST k",
    "SET k v PXAT {P}\n SET k w XX",
    "SET k v PXAT {P}\n SET k w XX KEEPTTL\n PEXPIREAT k {F}",
    "SET k v PXAT {P}\n PEXPIREAT k {F} GT",
    "SET k v PXAT {P}\n GETEX k PXAT {F}",
    "set k v pxat {P}\n Append k w\n PeRsIsT k",
    "RPUSH l 1 2\n SET w_1 9 PXAT {P}\n SET w_2 3\n SORT l BY w_* STORE d",
    "RPUSH l 1 2\n PEXPIREAT l {P}\n SORT l STORE d",
    "RPUSH l 1 2\n PEXPIREAT l {P}\n LMOVE l d LEFT RIGHT",
    "SADD k a b\n PEXPIREAT k {P}\n SMOVE k j a",
    "SADD k a b\n PEXPIREAT k {P}\n SADD j a b\n SDIFFSTORE j j k",
    "ZADD k 1 a\n PEXPIREAT k {P}\n ZUNIONSTORE d 1 k",
    "ZADD k 1 a\n PEXPIREAT k {P}\n ZRANGESTORE d k 0 -1",
    "SET k v PXAT {P}\n BITOP OR d k",
    "PFADD k a\n PEXPIREAT k {P}\n PFMERGE d k",
    "GEOADD k 1 2 a\n PEXPIREAT k {P}\n GEORADIUS k 1 2 9 km STORE d",
    "XADD k 1-1 f v\n PEXPIREAT k {P}\n XGROUP CREATE k g 0\n PERSIST k",
    "RPUSH k 1 3\n PEXPIREAT k {P}\n LMPOP 2 k l LEFT\n PERSIST k",
    "MULTI\n SET k v PXAT {P}\n EXEC\n SET big {big}\n SET big {big}\n MULTI\n INCR n\n PERSIST k\n EXEC",
    "SET k v PXAT {P}\n PEXPIREAT k {P}\n EXPIREAT k 1\n PERSIST k",
];

#[test]
fn whatever_comes_later_for_a_key_past_its_deadline_finds_it() {
    on_workers(LATER.len(), |scene, targets, at| {
        empty(targets);
        let (target, naive) = (&targets[..1], &targets[1]);
        let bytes = source_of(LATER[at]);
        let source = scene.file(&format!("{at}.aof"), &bytes);
        let reference = reference(&source);
        let count = LATER[at].lines().count();
        redis::ConnectionLike::req_packed_commands(&mut naive.conn(), &bytes, 0, count).expect("it answers");
        let alive = |server: &Server| format!("{:?}", Snapshot::of(server).alive(now_ms()));
        assert_ne!(alive(naive), alive(&reference), "{} needs no care", LATER[at]);
        scene.load(&source, target).run_ok();
        assert_same(&reference, target);
    });
}

/// A deadline that is shifted because something comes later, and then ends elsewhere or is set again.
const CARRIED: [&str; 22] = [
    "SET k v PXAT {F}\n RENAME k b",
    "SET k v PXAT {F}\n RENAME k a\n RENAME a b\n RENAME b c",
    "SET k v PXAT {F}\n RENAMENX k b\n APPEND b x",
    "SET k v PXAT {F}\n COPY k b\n DEL k",
    "SET k v PXAT {F}\n COPY k b\n APPEND k x",
    "SET k v PXAT {F}\n COPY k k DB 7\n DEL k",
    "SET k v PXAT {F}\n MOVE k 9",
    "SET k v PXAT {F}\n SWAPDB 0 3",
    "SET k v PXAT {F}\n SWAPDB 0 3\n SWAPDB 3 4\n SELECT 4\n APPEND k x\n SWAPDB 4 60",
    "SELECT 5\n SET k v PXAT {F}\n SWAPDB 5 0\n SELECT 0\n SET j w PXAT {F}\n APPEND j x\n SWAPDB 0 6",
    "SET k v PXAT {F}\n APPEND k x\n SELECT 2\n SET k v\n SELECT 0\n MOVE k 2",
    "SET k v PXAT {F}\n SET k w KEEPTTL",
    "SET k v PXAT {F}\n GETEX k",
    "SET k v PXAT {F}\n PEXPIREAT k {P} GT",
    "SET k v PXAT {F}\n PEXPIREAT k {P} NX",
    "SET k v PXAT {P}\n PEXPIREAT k {F} LT",
    "XADD k 1-1 f v\n PEXPIREAT k {F}\n XGROUP CREATE k g 0",
    "PFADD k a b\n PEXPIREAT k {F}\n PFCOUNT k\n PFDEBUG TODENSE k",
    "HSET k f v\n PEXPIREAT k {F}\n DEL other k2\n MSET x 1 y 2\n HDEL k g",
    "SET \u{e4}\u{0}k v PXAT {F}\n RENAME \u{e4}\u{0}k \u{f6}",
    "SET k v PXAT {F}\n LPUSH k x\n INCR k",
    "SET k v PXAT {F}\n FLUSHDB\n SET j v PXAT {F}\n APPEND j x\n SELECT 1\n FLUSHDB",
];

#[test]
fn shifted_deadlines_are_found_wherever_they_end() {
    on_workers(CARRIED.len(), |scene, targets, at| {
        let source = scene.file(&format!("{at}.aof"), source_of(CARRIED[at]));
        let reference = reference(&source);
        let dated =
            Snapshot::of(&reference).keys.values().filter(|entry| entry.deadline_ms.is_some()).count();
        assert!(dated > 0 || CARRIED[at].ends_with("LT"), "no deadline is left to compare");
        // Once with one batch for each command, so that nothing depends on what is in flight together.
        for args in [&[][..], &["--batch-commands", "1"]] {
            empty(targets);
            let checkpoint = scene.dir().join(format!("{at}.{}.checkpoint", args.len()));
            scene.load(&source, &targets[..1]).args(args).arg("--checkpoint").arg(checkpoint).run_ok();
            assert_same(&reference, &targets[..1]);
        }
    });
}

/// The same names in several shards and databases, near and far, some touched later: all at once.
#[test]
fn deadlines_of_many_keys_touched_or_not() {
    let (scene, targets) = (Scene::new(), servers(3));
    let mut lines = String::new();
    for n in 0..3000_i64 {
        let (db, deadline_ms) = (n % 5, if n % 3 == 0 { 1_600_000_000_000 } else { 4_102_444_800_000 + n });
        lines.push_str(&format!("SELECT {db}\n SET k{} v PXAT {deadline_ms}\n", n % 900));
        if n % 7 == 0 {
            lines.push_str(&format!("SELECT {}\n PERSIST k{}\n INCRBY n{} {n}\n", n % 4, n % 811, n % 50));
        }
        if n % 11 == 0 {
            lines.push_str(&format!("PEXPIREAT k{} {}\n", n % 700, 4_102_444_800_000 + 7 * n));
        }
    }
    let source = scene.file("dump.aof", aof::of_lines(&lines));
    scene.load(&source, &targets).run_ok();
    assert_same(&reference(&source), &targets);
}

/// Calls `work` for each number below `count`, with a scene and two targets that the calls of a worker share.
fn on_workers(count: usize, work: impl Fn(&Scene, &[Server], usize) + Sync) {
    let work = &work;
    thread::scope(|scope| {
        for worker in 0..WORKERS {
            scope.spawn(move || {
                let (scene, targets) = (Scene::new(), servers(2));
                (worker..count).step_by(WORKERS).for_each(|at| work(&scene, &targets, at));
            });
        }
    });
}

fn source_of(row: &str) -> Vec<u8> {
    println!("{row}");
    let row = row.replace("{P}", PAST_MS).replace("{F}", FUTURE_MS);
    aof::of_lines(&row.replace("{big}", &"x".repeat(5 << 20)))
}
