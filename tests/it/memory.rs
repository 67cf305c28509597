//! What the tool keeps in memory does not grow with the values that it loads, nor with those that it brings from shard to
//! shard.

use crate::scene::{Scene, servers};
use crate::support::fill::noise;
use crate::support::rdb::Rdb;
use crate::support::server::Server;
use crate::support::{aof, wire};
use redis::Value;

const MIB: usize = 1 << 20;
/// Much less than the values, and than any of them once more.
const MEMORY_BYTES: u64 = 96 * MIB as u64;

/// The hash of a string on the server that has it.
fn digests(servers: &[Server], key: &str) -> Vec<Value> {
    let script = "return redis.call('EXISTS', KEYS[1]) == 1 and redis.sha1hex(redis.call('GET', KEYS[1]))";
    let ask = |server: &Server| server.cmd(&["EVAL", script, "1", key]).expect("a digest");
    servers.iter().map(ask).filter(|found| *found != Value::Nil).collect()
}

/// A string of 300 MB in an RDB part and a stream of 100 MB behind it, with copies on both shards.
#[test]
fn large_values_are_loaded_and_brought_in_little_memory() {
    const COPIES: usize = 2;
    const ENTRIES: i64 = 100;
    let block = noise(7, MIB);
    let string: Vec<u8> = (0..300).flat_map(|nth: u32| [&nth.to_be_bytes(), &block[4..]].concat()).collect();
    let mut bytes = Rdb::new(10).string("string", &string).file();
    drop(string);
    for nth in 1..=ENTRIES {
        let id = format!("{nth}-1");
        aof::push(&mut bytes, &[b"XADD", b"stream", id.as_bytes(), b"f", &block]);
    }
    aof::push_words(&mut bytes, "XGROUP CREATE stream group 7-0");
    for copy in 0..COPIES {
        aof::push_words(&mut bytes, &format!("COPY string string:{copy}"));
        aof::push_words(&mut bytes, &format!("COPY stream stream:{copy}"));
    }
    let scene = Scene::new();
    let source = scene.file("dump.aof", bytes);
    let targets = servers(2);
    scene.load(&source, &targets).memory(MEMORY_BYTES).run_ok();
    let keys = |server: &Server| server.cmd(&["DBSIZE"]).expect("DBSIZE");
    assert!(!targets.iter().any(|server| keys(server) == Value::Int(0)), "nothing had to be brought");
    let digest = digests(&targets, "string");
    assert_eq!(digest.len(), 1);
    for copy in 0..COPIES {
        assert_eq!(digests(&targets, &format!("string:{copy}")), digest, "copy {copy}");
        let stream = format!("stream:{copy}");
        let lengths =
            targets.iter().map(|server| wire::ask(&mut server.conn(), &[b"XLEN", stream.as_bytes()]));
        let lengths: Vec<Value> = lengths.filter(|length| *length != Value::Int(0)).collect();
        assert_eq!(lengths, [Value::Int(ENTRIES)], "{stream}");
    }
}
