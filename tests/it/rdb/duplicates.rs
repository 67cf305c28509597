//! A key that stands twice: a server that loads such a file ends there, so the survey refuses it, with nothing written.

use super::both_sinks;
use crate::scene::{Scene, assert_refused, assert_untouched, servers};
use crate::support::aof::{self, MultiPart};
use crate::support::rdb::Rdb;
use crate::support::server::Server;
use std::path::Path;

/// The server refuses it, and the tool does, naming all of `words`, for either sink.
fn assert_refused_as_by_a_server(scene: &Scene, source: &Path, words: &[&str]) {
    assert!(Server::loading(source).is_err(), "the server ends there");
    let targets = servers(2);
    let words = [&["stands twice"], words].concat();
    assert_refused(&scene.load(source, &targets).run(), 3, &words);
    assert_untouched(&targets);
    let (loader, _) = scene.load_into_directories(source, 2);
    assert_refused(&loader.run(), 3, &words);
    assert!(!scene.dir().join("out").exists(), "nothing is written");
}

#[test]
fn a_key_that_stands_twice_in_a_part_is_refused() {
    let cases = [
        // As far from each other as the file is long.
        (
            "many",
            {
                let first = Rdb::new(9).string("doubled", "1");
                let all = (0..60_000).fold(first, |rdb, n| rdb.string(format!("key:{n}"), "v".repeat(100)));
                all.string("doubled", "2").string("key:0", "3")
            },
            "doubled",
            "0",
        ),
        (
            "side by side",
            Rdb::new(9).string("a", "1").string("doubled", "1").string("doubled", "1"),
            "doubled",
            "0",
        ),
        // One is stored as a number.
        ("number", Rdb::new(9).raw(b"\x00\xc1\x39\x30").text(b"v").string("12345", "v"), "12345", "0"),
        (
            "database",
            Rdb::new(9).select(7).string("k", "1").select(0).string("k", "1").select(7).string("k", "1"),
            "k",
            "7",
        ),
        // It makes no difference that one was past its deadline.
        ("deadline", Rdb::new(9).deadline(1000).string("k", "1").string("k", "1"), "k", "0"),
    ];
    for (name, rdb, key, db) in cases {
        let scene = Scene::new();
        let source = scene.file(name, rdb.clone().file());
        let first = format!("{} byte ", source.display());
        assert_refused_as_by_a_server(
            &scene,
            &source,
            &[&format!("key: {key}"), &format!("database: {db}"), &first, "byte"],
        );
    }
}

/// Two RDB parts with nothing between them.
#[test]
fn a_key_that_stands_in_two_parts_is_refused() {
    let scene = Scene::new();
    let (one, other) =
        (Rdb::new(9).string("k", "1").file(), Rdb::new(9).string("j", "1").string("k", "2").file());
    let source = MultiPart { base: Some((&one, true)), ..MultiPart::of(&[b"", &other]) }.write(scene.dir());
    assert_refused_as_by_a_server(
        &scene,
        &source,
        &["key: k", "appendonly.aof.2.incr.aof", "base.rdb byte 9"],
    );
}

#[test]
fn what_only_looks_like_a_key_that_stands_twice_is_loaded() {
    let scene = Scene::new();
    let base = Rdb::new(9).string("k", "1").select(1).string("k", "1").string("01", "1").string("1", "1");
    // An aggregate without an element is none.
    let base = base.raw(b"\x02").text(b"empty").raw(b"\0").string("empty", "no more").file();
    let between = aof::of_lines("DEL k");
    let other = Rdb::new(9).string("k", "2").file();
    let source =
        MultiPart { base: Some((&base, true)), ..MultiPart::of(&[&between, &other]) }.write(scene.dir());
    both_sinks(&scene, &source);
}
