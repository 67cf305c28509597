//! What is refused.

use super::SHARDS;
use crate::scene::{Scene, assert_refused, assert_untouched, servers};
use crate::support::aof;
use std::fmt::Write;

#[test]
fn more_names_than_may_be_kept_in_memory() {
    let mut lines = String::new();
    for key in 0..6_000 {
        let _ = writeln!(lines, "SET tmp 1\nRENAME tmp user:{key}");
    }
    let scene = Scene::new();
    let source = scene.file("dump.aof", aof::of_lines(&lines));
    let targets = servers(SHARDS);
    let loader = scene.load(&source, &targets);
    let output = loader.arg("--placement-bytes").arg("1MiB").run();
    assert_refused(&output, 4, &["tie together more names", "nothing was written", "--placement-bytes"]);
    assert_untouched(&targets);
    scene.load(&source, &targets).run_ok();
}

/// SORT reads keys through a pattern, on whatever shard they are.
#[test]
fn patterns_are_refused_unless_there_is_one_shard() {
    let scene = Scene::new();
    let lines = "RPUSH l a b\nSET w_a 2\nSET w_b 1\nSORT l BY w_* STORE d\nRENAME d e";
    let source = scene.file("dump.aof", aof::of_lines(lines));
    let targets = servers(SHARDS);
    let output = scene.load(&source, &targets).run();
    assert_refused(&output, 4, &["1 x reads keys through a pattern", "SORT l"]);
    assert_untouched(&targets);
    scene.load(&source, &targets[..1]).run_ok();
}

/// What a command needs of its target is known only once its names have a place: a command is counted again then.
#[test]
fn what_no_home_of_tied_names_takes_is_refused() {
    let scene = Scene::new();
    let targets = servers(SHARDS);
    let refused = |lines: &str, args: &[&str], words: &[&str]| {
        let source = scene.file("dump.aof", aof::of_lines(lines));
        assert_refused(&scene.load(&source, &targets).args(args).run(), 4, words);
        assert_untouched(&targets);
    };
    let shards = ["a", "b"].map(|key| crc32fast::hash(key.as_bytes()) as usize % SHARDS);
    assert_ne!(shards[0], shards[1], "they are tied across shards");
    // Servers know MSETEX from Redis 8.4 on, which a dry run does not ask.
    let too_far = "MSETEX 2 a 1 b 2 PXAT 4000000000000000000";
    refused(too_far, &["--dry-run"], &["1 x its deadline is too far in the future", "MSETEX 2"]);
    // Of Valkey 9 and no Redis.
    let newer = "GEOADD a 1 1 m\nGEOSEARCHSTORE b a BYPOLYGON 3 0 0 0 2 2 0 ASC";
    let words =
        ["1 x BYPOLYGON of GEOSEARCHSTORE is more than its target's version knows", "GEOSEARCHSTORE b"];
    refused(newer, &[], &words);
    refused(newer, &["--dry-run", "--check-topology"], &words);
}
