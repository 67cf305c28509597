use crate::rdb::Product;
use crate::route::Takes;
use std::path::Path;

use super::super::load::tests::narrow;
use super::*;
use crate::command::deadline;
use crate::placement::Placing;
use crate::route::{Routing, Rules};
use crate::survey::{Purpose, survey};

const NOW_MS: i64 = 1_700_000_000_000;

fn aof(commands: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for command in commands {
        let arguments: Vec<&str> = command.split(' ').collect();
        bytes.extend(format!("*{}\r\n", arguments.len()).bytes());
        arguments.iter().for_each(|arg| bytes.extend(format!("${}\r\n{arg}\r\n", arg.len()).bytes()));
    }
    bytes
}

/// Surveys `path` and gives text and JSON, with `DIR` in place of its directory.
fn surveyed(path: &Path, targets: &[&str], skip_unsupported: bool) -> (String, Value) {
    let source = Source::open(path).unwrap();
    let rules = Rules {
        routing: Routing::new(targets.len()),
        live: vec![Some(Takes::anything(Product::Redis)); targets.len()],
        marker_key: b"marker".to_vec(),
        clock: deadline::Clock { now_ms: NOW_MS, offset_ms: deadline::OFFSET_FAR_MS },
        touches: None,
        scripts: None,
    };
    let found = survey(&source, &rules, (4096, Purpose::Report), source.end(), &|_| Ok(())).unwrap();
    let targets: Vec<String> = targets.iter().map(|target| (*target).to_owned()).collect();
    let took = Duration::from_millis(500);
    let report = SurveyReport {
        source: &source,
        survey: &found,
        placing: &Placing::default(),
        scratch: None,
        deletes: &[],
        targets: &targets,
        skip_unsupported,
        took,
    };
    assert!(report.text(true).contains('\x1b'));
    let directory = path.parent().unwrap().display().to_string();
    let json = serde_json::from_str(&report.json().to_string().replace(&directory, "DIR")).unwrap();
    (report.text(false).replace(&directory, "DIR"), json)
}

#[test]
fn a_sound_source() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dump.aof");
    let mut bytes = aof(&[
        "SELECT 0",
        "SET a 1",
        "SET key:1 2",
        "INCR a",
        "GET a",
        "SELECT 3",
        "MULTI",
        "SET c 3",
        "DEL a key:1",
        "EXEC",
        "PEXPIREAT c 1600000000000",
        "PEXPIREAT b 1800000000000",
        "SELECT x",
    ]);
    bytes.extend(b"*2\r\n$3\r\nGE");
    std::fs::write(&path, bytes).unwrap();
    let (text, json) = surveyed(&path, &["10.0.0.1:6379", "out/shard-1"], false);
    narrow(&text);
    insta::assert_snapshot!(text, @"
    source        DIR/dump.aof
    size          357 bytes in 1 file
    commands      13
    transactions  1
    dropped       1 (reads and the like, which change nothing)
    no effect     1 SELECT of a database that no server has; it stays in the one before
    deadlines     set by 2 commands, 1 of them already past
    dropped tail  a cut command, 10 bytes from byte 347 of DIR/dump.aof
    surveyed in   0.50 s, 714 B/s

    2 shards
    shard  target         commands  bytes  share  keys (estimated)
    ───────────────────────────────────────────────────────────────
        0  10.0.0.1:6379         2   62 B  23.8%                ~2
        1  out/shard-1           6  198 B  76.2%                ~4
    skew (largest shard to mean): 1.50 in commands, 1.52 in bytes, 1.33 in keys

    2 databases; targets need at least 4
    database  commands  share
    ──────────────────────────
    0                3  42.9%
    3                4  57.1%

    commands by name
    command    commands  share
    ───────────────────────────
    SELECT            3  23.1%
    SET               3  23.1%
    PEXPIREAT         2  15.4%
    DEL               1   7.7%
    EXEC              1   7.7%
    GET               1   7.7%
    INCR              1   7.7%
    MULTI             1   7.7%

    the source can be loaded
    ");
    insta::assert_snapshot!(format!("{json:#}"), @r#"
    {
      "commands": {
        "by_name": {
          "DEL": 1,
          "EXEC": 1,
          "GET": 1,
          "INCR": 1,
          "MULTI": 1,
          "PEXPIREAT": 2,
          "SELECT": 3,
          "SET": 3
        },
        "dropped": 1,
        "scripts": 0,
        "selects_without_effect": 1,
        "total": 13,
        "transactions": 1,
        "unknown": 0
      },
      "databases": {
        "0": 3,
        "3": 4
      },
      "databases_needed": 4,
      "deadlines": {
        "past": 1,
        "set": 2
      },
      "deletes": [],
      "dropped_tail": {
        "bytes": 10,
        "file": "DIR/dump.aof",
        "offset_bytes": 347,
        "open_transaction": false,
        "source_bytes": 347
      },
      "format": "redcluster-load-survey/1",
      "refused": {
        "by_reason": [],
        "commands": 0,
        "first": [],
        "left_out": false
      },
      "shards": [
        {
          "bytes": 62,
          "commands": 2,
          "keys_estimated": 2,
          "shard": 0,
          "share_of_bytes": 0.23846153846153847,
          "target": "10.0.0.1:6379"
        },
        {
          "bytes": 198,
          "commands": 6,
          "keys_estimated": 4,
          "shard": 1,
          "share_of_bytes": 0.7615384615384615,
          "target": "out/shard-1"
        }
      ],
      "skew": {
        "bytes": 1.523076923076923,
        "commands": 1.5,
        "keys_estimated": 1.3333333333333333
      },
      "source": {
        "bytes": 357,
        "end": {
          "file": "DIR/dump.aof",
          "offset_bytes": 347
        },
        "files": [
          {
            "bytes": 357,
            "path": "DIR/dump.aof"
          }
        ],
        "path": "DIR/dump.aof"
      },
      "survey_s": 0.5,
      "ties": {
        "across_shards": 0,
        "commands": 0,
        "groups": 0,
        "largest_group_names": 0,
        "scratch_groups": 0,
        "scratch_server": null,
        "shipped_bytes": 0,
        "shipped_keys_max": 0
      },
      "values": {
        "biggest": [],
        "by_kind": {},
        "libraries": 0,
        "total": 0
      }
    }
    "#);
}

#[test]
fn a_refused_source_of_several_files() {
    let directory = tempfile::tempdir().unwrap();
    let base = "dump.aof.1.base.aof";
    let incr = "dump.aof.1.incr.aof";
    std::fs::write(directory.path().join(base), aof(&["SET a 1"; 3])).unwrap();
    let long = format!("NOSUCH {}", "k".repeat(200));
    let commands = ["EVAL return 0", "SORT a BY w_* STORE b", "SET", "SET marker 1", "PEXPIREAT a -1", &long];
    std::fs::write(directory.path().join(incr), aof(&commands)).unwrap();
    let manifest = directory.path().join("dump.aof.manifest");
    std::fs::write(&manifest, format!("file {base} seq 1 type b\nfile {incr} seq 1 type i\n")).unwrap();
    let (text, json) = surveyed(&manifest, &["a", "b", "c"], false);
    narrow(&text);
    insta::assert_snapshot!(text, @"
    source        DIR/dump.aof.manifest
    size          473 bytes in 2 files
    commands      9
    surveyed in   0.50 s, 946 B/s

    file, in loading order  bytes
    ──────────────────────────────
    dump.aof.1.base.aof        81
    dump.aof.1.incr.aof       392

    3 shards
    shard  target  commands  bytes   share  keys (estimated)
    ─────────────────────────────────────────────────────────
        0  a              3   81 B  100.0%                ~1
        1  b              0    0 B    0.0%                ~0
        2  c              0    0 B    0.0%                ~0
    skew (largest shard to mean): 3.00 in commands, 3.00 in bytes, 3.00 in keys

    1 database; targets need at least 1
    database  commands   share
    ───────────────────────────
    0                8  100.0%

    commands by name
    command    commands  share
    ───────────────────────────
    SET               5  55.6%
    EVAL              1  11.1%
    PEXPIREAT         1  11.1%
    SORT              1  11.1%
    (unknown)         1  11.1%

    6 commands that cannot be carried out faithfully
      1 command: unknown command: its keys cannot be told
        what to do: find out which module or later server wrote it; nothing here knows its keys
      1 command: wrong number of arguments
        what to do: find out how it came into the file: no server writes or loads it
      1 command: runs a script, whose keys and deadlines cannot be seen
        what to do: rewrite the source: load it into a spare redis-server and BGREWRITEAOF; or
        --accept-scripts, if all keys of the scripts are declared and they set no deadlines
      1 command: reads keys through a pattern, on whatever shard they are
        what to do: rewrite the source: load it into a spare redis-server and BGREWRITEAOF; what is left
        then needs none of these
      1 command: its deadline is too far in the future (or -1) to be shifted
        what to do: load into AOF directories (--shards N --output DIR), whose servers take such
        deadlines
      1 command: touches the key that holds the loader's marker (see --marker-key)
        what to do: give another --marker-key, one that the source does not use

    the first 6 of them
    byte  command    key                                       reason
    ────────────────────────────────────────────────────────────────────────────────────────────────────
                                                               in dump.aof.1.incr.aof
       0  EVAL                                                 runs a script, whose keys and deadlines
                                                               cannot be seen
      33  SORT       a                                         reads keys through a pattern, on
                                                               whatever shard they are
      89  SET                                                  wrong number of arguments
     102  SET        marker                                    touches the key that holds the loader's
                                                               marker (see --marker-key)
     134  PEXPIREAT  a                                         its deadline is too far in the future
                                                               (or -1) to be shifted
     168  NOSUCH     kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk  unknown command: its keys cannot be told
                     kkkkkkkkkkkkkkkkkkkkkkkk… (200 bytes)

    the source is refused because of 6 commands; nothing is written
    --skip-unsupported loads the rest and reports what was left out
    ");
    insta::assert_snapshot!(format!("{:#}", json["refused"]["first"][0]), @r#"
    {
      "command": "EVAL",
      "file": "DIR/dump.aof.1.incr.aof",
      "key": "",
      "offset_bytes": 0,
      "text": "runs a script, whose keys and deadlines cannot be seen"
    }
    "#);
    assert_eq!(json["commands"]["unknown"], 1);

    let (text, json) = surveyed(&manifest, &["a", "b", "c"], true);
    assert_eq!(text.lines().last(), Some("the source can be loaded without 6 commands"));
    assert_eq!(json["refused"]["left_out"], true);
}

#[test]
fn nothing_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("empty.aof");
    std::fs::write(&path, b"").unwrap();
    insta::assert_snapshot!(surveyed(&path, &["a"], false).0, @"
    source        DIR/empty.aof
    size          0 bytes in 1 file
    commands      0
    surveyed in   0.50 s, 0 B/s

    1 shard
    shard  target  commands  bytes  share  keys (estimated)
    ────────────────────────────────────────────────────────
        0  a              0    0 B   0.0%                ~0
    skew (largest shard to mean): 1.00 in commands, 1.00 in bytes, 1.00 in keys

    the source can be loaded
    ");
}

#[test]
fn long_lists_are_cut_in_the_text_and_whole_in_the_json() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("dump.aof");
    let commands: Vec<String> =
        (0..50).flat_map(|db| [format!("SELECT {db}"), format!("SET key:{db} 1")]).collect();
    std::fs::write(&path, aof(&commands.iter().map(String::as_str).collect::<Vec<_>>())).unwrap();
    let (text, json) = surveyed(&path, &["a"], false);
    let others = text.lines().find(|line| line.starts_with("30 others")).unwrap();
    assert_eq!(others.split_whitespace().collect::<Vec<_>>(), ["30", "others", "30", "60.0%"]);
    assert!(text.contains("\n50 databases; targets need at least 50\n"), "{text}");
    assert_eq!(json["databases"].as_object().unwrap().len(), 50);
}
