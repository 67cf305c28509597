//! Keys that are too large for one argument go from shard to shard in pieces.

use super::{SHARDS, calls};
use crate::drill;
use crate::scene::{Scene, reference, servers};
use crate::support::aof;
use crate::support::compare::assert_same;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// More than the targets take in one argument, by its sum; each element is small.
#[test]
fn large_keys_of_every_type_go_in_pieces() {
    const ELEMENTS: usize = 600;
    const LIMIT_BYTES: usize = 1 << 20;
    // Not to be compressed.
    let mut rng = StdRng::seed_from_u64(1);
    let mut bytes = Vec::new();
    for key in 0..2 * SHARDS {
        for n in 0..ELEMENTS {
            let noise: String = (0..4_000).map(|_| char::from(rng.random_range(b'!'..=b'~'))).collect();
            let (element, n) = (format!("{n}{noise}"), n.to_string());
            let key = |kind: &str| format!("{kind}:{key}");
            for line in [
                ["RPUSH", &key("list"), &element, &n],
                ["SADD", &key("set"), &element, &n],
                ["ZADD", &key("zset"), &format!("{n}.1"), &element],
                ["HSET", &key("hash"), &element, &n],
            ] {
                aof::push(&mut bytes, &line.map(str::as_bytes));
            }
        }
        let stream = format!("stream:{key}");
        for n in 1..=ELEMENTS {
            let noise: String = (0..4_000).map(|_| char::from(rng.random_range(b'!'..=b'~'))).collect();
            let (id, parts) = (format!("{n}-{key}"), ["f", &noise, "g", "12", "other", "x"]);
            let parts = &parts[..2 * (1 + n % 3)];
            let words = ["XADD", &stream, &id].into_iter().chain(parts.iter().copied());
            aof::push(&mut bytes, &words.map(str::as_bytes).collect::<Vec<_>>());
        }
        for line in [
            format!("XGROUP CREATE {stream} readers 5-{key} ENTRIESREAD 5"),
            format!("XGROUP CREATE {stream} others $"),
            format!(
                "XCLAIM {stream} readers one 0 3-{key} 9-{key} TIME 1700000000000 RETRYCOUNT 3 JUSTID FORCE"
            ),
            format!("XGROUP CREATECONSUMER {stream} readers idle"),
            format!("XDEL {stream} 9-{key} 20-{key} {ELEMENTS}-{key}"),
            format!("XTRIM {stream} MINID 4"),
            format!("XSETID {stream} 5000-7 ENTRIESADDED 7000 MAXDELETEDID 800-1"),
        ] {
            aof::push_words(&mut bytes, &line);
        }
        // Its payload is longer than the limit, though the string is not.
        let string: String =
            (0..LIMIT_BYTES - 6).map(|_| char::from(rng.random_range(b'!'..=b'~'))).collect();
        aof::push(&mut bytes, &[b"SET", format!("string:{key}").as_bytes(), string.as_bytes()]);
        for kind in ["list", "set", "zset", "hash", "string", "stream"] {
            let line = format!("PEXPIREAT {kind}:{key} {}", 4_102_444_800_000_u64 + key as u64);
            aof::push_words(&mut bytes, &line);
            // Ties all of a type together, so that most have to be brought to other shards.
            aof::push_words(&mut bytes, &format!("RENAMENX {kind}:{key} {kind}:0"));
        }
    }
    let scene = Scene::new();
    let source = scene.file("dump.aof", bytes);
    let targets = servers(SHARDS);
    targets.iter().for_each(|target| drill::set(target, "proto-max-bulk-len", &LIMIT_BYTES.to_string()));
    scene.load(&source, &targets).run_ok();
    assert_same(&reference(&source), &targets);
    // Each is trimmed by the source once, and its copy without entries is what is restored.
    let streams = calls(&targets, "xtrim") - 2 * SHARDS as u64;
    assert!(streams > 0);
    assert_eq!(
        calls(&targets, "restore"),
        streams,
        "nothing fits into one argument, but streams without entries"
    );
    assert!(calls(&targets, "hscan") > 0 && calls(&targets, "getrange") > 0);
    assert!(calls(&targets, "xrange") > 0, "streams too");
}
