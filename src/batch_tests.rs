//! Tests of cutting and writing batches, over a source in a temporary file.

use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::partition::{Spare, partition, window_bytes};
use crate::rdb::Product;
use crate::route::Routing;
use crate::survey::{Purpose, survey};

pub(crate) struct Parts {
    pub(crate) source: Source,
    pub(crate) rules: Rules,
    pub(crate) parts: Vec<Vec<LanePart>>,
    looks_ahead: bool,
}

/// What a source of these commands comes to on a number of live shards.
pub(crate) fn parts(shards: usize, commands: &[&str]) -> Parts {
    let mut bytes = Vec::new();
    for command in commands {
        encode::command(&mut bytes, &command.split(' ').collect::<Vec<_>>());
    }
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(&bytes).expect("room");
    let source = Source::open(file.path()).expect("a readable source");
    let rules = Rules {
        routing: Routing::new(shards),
        live: vec![Some(Takes::anything(Product::Redis)); shards],
        marker_key: b"marker".to_vec(),
        clock: deadline::Clock { now_ms: 1000, offset_ms: deadline::OFFSET_FAR_MS },
        touches: None,
        scripts: None,
    };
    let seen = survey(&source, &rules, (window_bytes(shards), Purpose::Load), source.end(), &|_| Ok(()))
        .expect("a sound source");
    let parts = seen
        .windows
        .iter()
        .map(|surveyed| partition(&source, surveyed, &rules, &Spare::default()).expect("an unchanged source"))
        .collect();
    Parts { source, rules, parts, looks_ahead: false }
}

impl Parts {
    /// The batches of a lane, as text, each with its SELECTs.
    fn batches(&self, lane: usize, commands_max: usize, bytes_max: usize) -> Vec<String> {
        let mut shown = Vec::new();
        for window in &self.parts {
            for batch in Batches::new(&window[lane], commands_max, bytes_max) {
                let mut out = Vec::new();
                let looks_ahead = self.looks_ahead;
                write_commands(
                    &mut out,
                    &self.source,
                    &self.rules,
                    lane,
                    (&window[lane], &batch),
                    (0, looks_ahead),
                )
                .expect("memory");
                shown.push(text(&out));
            }
        }
        shown
    }
}

fn text(mut bytes: &[u8]) -> String {
    let mut commands = Vec::new();
    while let Ok((rest, crate::resp::frame::Record::Command(_))) = crate::resp::frame::record(bytes) {
        let words: Vec<_> =
            Arguments::of(bytes).map(|argument| String::from_utf8_lossy(argument).into_owned()).collect();
        commands.push(words.join(" "));
        bytes = rest;
    }
    commands.join("; ")
}

/// crc32 % 2: a, b, c are odd; d, e are even.
#[test]
fn commands_reach_their_lanes_in_order_with_their_databases() {
    let parts = parts(
        2,
        &["SET a 1", "SELECT 3", "SET d 1", "SET a 2", "MSET a 3 d 3 e 3", "SELECT 0", "DEL d b", "FLUSHDB"],
    );
    assert_eq!(parts.batches(0, 100, 1 << 20), ["SELECT 3; SET d 1; MSET d 3 e 3; SELECT 0; DEL d; FLUSHDB"]);
    assert_eq!(
        parts.batches(1, 100, 1 << 20),
        ["SET a 1; SELECT 3; SET a 2; MSET a 3; SELECT 0; DEL b; FLUSHDB"]
    );
}

#[test]
fn every_batch_selects_for_itself() {
    let parts = parts(1, &["SELECT 2", "SET a 1", "SET b 2", "SELECT 4", "SET c 3"]);
    assert_eq!(parts.batches(0, 1, 1 << 20), ["SELECT 2; SET a 1", "SELECT 2; SET b 2", "SELECT 4; SET c 3"]);
}

#[test]
fn transactions_stay_whole() {
    let parts = parts(
        1,
        &[
            "SET a 1", "MULTI", "SET b 2", "SELECT 1", "SET c 3", "EXEC", "SET d 4", "MULTI", "SET e 5",
            "EXEC",
        ],
    );
    assert_eq!(parts.batches(0, 2, 1 << 20), ["MSET a 1 b 2; SELECT 1; SET c 3", "SELECT 1; MSET d 4 e 5"]);
}

#[test]
fn bytes_bound_batches() {
    let parts = parts(1, &["SET a 1", "SET b 2", "SET c 3"]);
    assert_eq!(parts.batches(0, 100, 60), ["MSET a 1 b 2", "SET c 3"]);
    assert_eq!(parts.batches(0, 100, 1), ["SET a 1", "SET b 2", "SET c 3"]);
}

#[test]
fn deadlines_and_trims_are_rewritten() {
    let parts = parts(
        1,
        &["SET a 1 PX 5", "XADD s MAXLEN = 3 LIMIT 9 1-1 f v", "XADD s 1-2 f v", "PEXPIREAT a 7 GT"],
    );
    assert_eq!(
        parts.batches(0, 100, 1 << 20),
        ["SET a 1 PXAT 4000000000000001005; XADD s MAXLEN = 3 1-1 f v; XADD s 1-2 f v; \
          PEXPIREAT a 4000000000000000007 GT"]
    );
}

#[test]
fn sets_in_lower_case_are_merged_too() {
    let parts = parts(1, &["SET a 1", "set a 2", "SET b 1", "SET c 1"]);
    assert_eq!(parts.batches(0, 100, 1 << 20), ["MSET a 1 a 2 b 1 c 1"]);
}

/// A SET passes by what does not touch its key, and nothing else.
#[test]
fn plain_sets_become_one_mset() {
    let commands = [
        "SET a 1",
        "INCR b",
        "SET c 2",
        "APPEND c x",
        "SET a 3",
        "SET d 4 NX",
        "SET e 5",
        "DEL f g",
        "SET f 6",
    ];
    let parts = parts(1, &commands);
    assert_eq!(
        parts.batches(0, 100, 1 << 20),
        ["SET c 2; APPEND c x; DEL f g; SET f 6; INCR b; SET d 4 NX; MSET a 1 a 3 e 5"]
    );
    assert_eq!(parts.batches(0, 1, 1 << 20), commands, "a batch of one command leaves nothing to merge");
}

/// Where nothing else touches their keys.
#[test]
fn commands_of_one_name_come_together() {
    let commands =
        ["INCR a", "HSET b f 1", "incr c", "INCR d", "HSET b f 2", "RENAME d e", "HSET f f 1", "INCR g"];
    let parts = parts(1, &commands);
    assert_eq!(
        parts.batches(0, 100, 1 << 20),
        ["HSET b f 1; INCR d; HSET b f 2; RENAME d e; INCR a; incr c; INCR g; HSET f f 1"]
    );
}

#[test]
fn keys_are_looked_at_before_commands_that_need_them() {
    let commands =
        ["INCR a", "SET b 1", "INCR c", "SET d 1", "RENAME x y", "SELECT 1", "INCR a", "INCR b", "INCR c"];
    let mut parts = parts(1, &commands);
    parts.looks_ahead = true;
    assert_eq!(
        parts.batches(0, 100, 1 << 20),
        ["EXISTS a c b d; RENAME x y; INCR a; INCR c; MSET b 1 d 1; SELECT 1; INCR a; INCR b; INCR c"]
    );
}

#[test]
fn sets_do_not_pass_what_may_touch_anything() {
    let parts =
        parts(1, &["SET a 1", "SET b 1", "FLUSHDB", "SET a 2", "SET b 2", "SELECT 1", "SET a 3", "SET b 3"]);
    assert_eq!(
        parts.batches(0, 100, 1 << 20),
        ["MSET a 1 b 1; FLUSHDB; MSET a 2 b 2; SELECT 1; MSET a 3 b 3"]
    );
}

#[test]
fn files_get_every_command() {
    let parts = parts(1, &["SET a 1", "SET b 2"]);
    let part = &parts.parts[0][0];
    let batch = Batches::new(part, 100, 1 << 20).next().expect("a batch");
    let mut out = Vec::new();
    let db = append_commands(&mut out, &parts.source, &parts.rules, 0, (part, &batch), 0).expect("memory");
    assert_eq!((text(&out).as_str(), db), ("SET a 1; SET b 2", 0));
}

/// Most of these collide: few keys, few fields.
fn any_command() -> impl Strategy<Value = String> {
    let key = || prop::sample::select(vec!["a", "b", "c", "d", "e", "f", "g", "h"]);
    prop_oneof![
        6 => (key(), 0..9).prop_map(|(key, value)| format!("SET {key} {value}")),
        3 => key().prop_map(|key| format!("INCR {key}")),
        3 => (key(), 0..9).prop_map(|(key, value)| format!("RPUSH {key} {value}")),
        2 => (key(), 0..9).prop_map(|(key, value)| format!("SET {key} {value} NX")),
        1 => (key(), key()).prop_map(|(one, other)| format!("DEL {one} {other}")),
        1 => (key(), key()).prop_map(|(one, other)| format!("RENAME {one} {other}")),
        1 => Just("FLUSHDB".to_owned()),
        1 => (0..2).prop_map(|db| format!("SELECT {db}")),
    ]
}

proptest! {
    /// What touches a key, and what may touch anything, keeps its place among what else touches that key.
    #[test]
    fn commands_on_one_key_keep_their_order(commands in prop::collection::vec(any_command(), 1..60)) {
        let parts = parts(1, &commands.iter().map(String::as_str).collect::<Vec<_>>());
        for part in parts.parts.iter().map(|window| &window[0]) {
            let Some(batch) = Batches::new(part, 1000, 1 << 20).next() else { continue };
            let sent = order(part, &batch, &parts.source);
            let steps: Vec<u32> = sent.iter().flat_map(|sent| sent.steps().iter().copied()).collect();
            let mut sorted = steps.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..part.ops.len() as u32).collect::<Vec<_>>());
            let keys = |step: u32| {
                let op = &part.ops[step as usize];
                let bytes = if op.reach == Reach::All { b"".as_slice() } else { part.bytes(&parts.source, op) };
                Arguments::of(bytes).skip(1).filter(|key| key[0].is_ascii_lowercase()).collect::<Vec<_>>()
            };
            for (place, later) in steps.iter().enumerate() {
                for earlier in &steps[..place] {
                    let (one, other) = (keys(*earlier), keys(*later));
                    let meet = one.is_empty() || other.is_empty() || one.iter().any(|key| other.contains(key));
                    prop_assert!(earlier < later || !meet, "{} and {} of {:?}", earlier, later, commands);
                }
            }
        }
    }
}

/// What stands before a transaction does not count towards where it is cut.
#[test]
fn a_transaction_behind_many_commands_stays_whole() {
    let filler = 3 * TRANSACTION_COMMANDS_MAX / 2;
    let words: Vec<String> = (0..filler).map(|n| format!("APPEND a{n} x")).collect();
    let transaction = ["MULTI", "APPEND b 1", "APPEND b 2", "EXEC"];
    let commands: Vec<&str> = words.iter().map(String::as_str).chain(transaction).collect();
    let parts = parts(1, &commands);
    let cut = |commands_max: usize| -> Vec<u64> {
        let lanes = parts.parts.iter().flat_map(|window| Batches::new(&window[0], commands_max, 1 << 30));
        lanes.map(|batch| batch.commands).collect()
    };
    // It begins within the batch, and ends past it.
    assert_eq!(cut(filler + 1), [filler as u64 + 2]);
    assert_eq!(cut(filler), [filler as u64, 2]);
}
