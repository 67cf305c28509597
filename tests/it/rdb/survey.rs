//! What the survey tells of RDB parts, for people and for programs, and what progress looks like in one.

use super::everything;
use crate::scene::{Scene, Slow, assert_untouched, reference, servers};
use crate::support::aof;
use crate::support::compare::assert_same;
use crate::support::fill::{LIBRARY, noise};
use crate::support::loader::Output;
use crate::support::rdb::Rdb;
use serde_json::Value as Json;

fn json(output: &Output) -> Json {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error} in the JSON of {output}"))
}

/// Strings of known sizes in two databases, other kinds, a library; and where each string begins.
#[allow(clippy::type_complexity, reason = "a table, used once")]
fn known() -> (Vec<u8>, Vec<(String, u64, u64, u64)>) {
    let mut rdb = Rdb::new(10).select(0).raw(b"\xf5").text(LIBRARY.as_bytes());
    let mut strings = Vec::new();
    for n in 0..30_usize {
        if n == 15 {
            rdb = rdb.select(9);
        }
        let start = rdb.clone().file().len() - 9;
        rdb = rdb
            .deadline(4_000_000_000_000)
            .string(format!("key\r\n{n}"), noise(n as u64, 1000 + 37 * (n * 7 % 30)));
        let end = rdb.clone().file().len() - 9;
        strings.push((
            format!("key\\r\\n{n}"),
            (end - start) as u64,
            if n < 15 { 0 } else { 9 },
            start as u64,
        ));
    }
    rdb =
        rdb.raw(b"\x01\x04list\x02\x01a\x01b").raw(b"\x01\x05list2\x02\x01a\x01b").raw(b"\x01\x05empty\x00");
    rdb = rdb.deadline(1_000).raw(b"\x04\x04hash\x01\x01f\x01v");
    (rdb.file(), strings)
}

#[test]
fn the_dry_run_counts_values_by_kind_and_lists_the_biggest() {
    let (file, mut strings) = known();
    let (scene, targets) = (Scene::new(), servers(2));
    let source = scene.file("dump.aof", [file, aof::of_lines("SET a 1\n RPUSH list c")].concat());
    let output = scene.load(&source, &targets).args(&["--dry-run", "--json"]).run_ok();
    let survey = json(&output);
    let values = &survey["values"];
    assert_eq!(values["total"], 30 + 3 + 1 + 1, "with the empty one and the library: {output}");
    assert_eq!(values["libraries"], 1);
    let kinds = values["by_kind"].as_object().expect("kinds");
    assert_eq!(kinds.len(), 3, "{output}");
    assert_eq!(kinds["string"]["keys"], 30);
    assert_eq!(kinds["string"]["bytes"], strings.iter().map(|(_, bytes, ..)| bytes).sum::<u64>());
    assert_eq!((&kinds["list"]["keys"], &kinds["hash"]["keys"]), (&3.into(), &1.into()));
    strings.sort_by_key(|one| std::cmp::Reverse(one.1));
    let biggest = values["biggest"].as_array().expect("a list");
    assert_eq!(biggest.len(), 20);
    for (found, (key, bytes, db, start)) in biggest.iter().zip(&strings) {
        assert_eq!(
            (&found["key"], &found["bytes"], &found["database"], &found["kind"]),
            (&key.as_str().into(), &(*bytes).into(), &(*db).into(), &"string".into())
        );
        assert_eq!(found["place"]["offset_bytes"], *start, "{found}");
    }
    assert_eq!(survey["databases_needed"], 10);
    let text = scene.load(&source, &targets).arg("--dry-run").run_ok().stdout;
    for words in
        ["values of RDB parts by kind", "1 library of functions", "the 20 biggest of them", &strings[0].0]
    {
        assert!(text.contains(words), "{words:?} is missing:\n{text}");
    }
    assert!(!text.contains(&strings[25].0), "only the biggest are listed:\n{text}");
    assert_untouched(&targets);
}

/// Every number of the survey is what a server counts that has loaded the source.
#[test]
fn the_counts_are_those_of_a_server() {
    let scene = Scene::new();
    let source = scene.file("dump.rdb", everything());
    let out = scene.dir().join("out");
    let run = scene
        .loader()
        .arg(&source)
        .args(&["--shards", "3", "--output"])
        .arg(out)
        .args(&["--dry-run", "--json"]);
    let survey = json(&run.run_ok());
    let keys: u64 = survey["values"]["by_kind"]
        .as_object()
        .expect("kinds")
        .values()
        .map(|kind| kind["keys"].as_u64().expect("a number"))
        .sum();
    assert_eq!(keys, crate::scene::keys_in(&reference(&source)));
    assert_eq!(survey["values"]["libraries"], 1);
}

#[test]
fn progress_and_position_go_on_inside_an_rdb_part() {
    let scene = Scene::new();
    let mut rdb = Rdb::new(9);
    // Several windows, since position and progress go by them.
    for n in 0..140_u64 {
        rdb = rdb.string(format!("key{n}"), noise(n, 150_000));
    }
    let bytes = rdb.file();
    let source = scene.file("dump.rdb", &bytes);
    let slow = Slow::start(2);
    let load = slow.load(&scene, &source).args(&["--progress-interval-s", "1"]);
    let mut run = slow.start_load(&load);
    // A number of the lines that it writes: how much of the source is applied.
    let percents = |text: &str| -> Vec<u32> {
        let lines = text.lines().filter_map(|line| line.strip_prefix("progress: ")?.split_once('%'));
        lines.filter_map(|(number, _)| number.parse().ok()).collect()
    };
    crate::drill::wait_for(&mut run, "progress in the middle", |log| {
        percents(log).iter().any(|percent| (1..100).contains(percent))
    });
    slow.hurry();
    let output = run.finish();
    assert_eq!(output.code, Some(0), "{output}");
    assert_same(&reference(&source), &slow.targets);
}
