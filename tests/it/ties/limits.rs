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
