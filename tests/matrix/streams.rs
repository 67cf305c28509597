//! A stream that Redis 6.2 wrote and that is too long for one argument of its target: servers of 7.0 and later take from
//! its entries how far its consumer groups have read.

use crate::Named;
use crate::scene::Scene;
use crate::support::aof;
use crate::support::compare::{Placement, Snapshot, diff};
use crate::support::fill::noise;
use crate::support::rdb;
use crate::support::server::Server;
use crate::support::wire::ask;
use std::path::Path;

const ENTRIES: u64 = 300;
const ENTRY_BYTES: usize = 6000;
/// The least that a server can be told to take in one argument: less than all entries together have.
const LIMIT: (&str, &str) = ("proto-max-bulk-len", "1mb");
/// What a group was last given: before the first entry, deleted ones, the first that is left, some, the last, and what is to come.
const DELIVERED: [&str; 8] = ["0-0", "1-1", "1-2", "2-2", "2-3", "150-150", "300-300", "301-0"];

/// Loads it into servers of each version; what went wrong.
pub fn check(from: &Named, all: &[Named]) -> Result<(), String> {
    let scene = Scene::new();
    let source = scene.file("dump.aof", written(from));
    all.iter().try_for_each(|to| {
        one(&scene, &source, to).map_err(|wrong| format!("{} -> {}: {wrong}", from.name, to.name))
    })
}

fn written(from: &Named) -> Vec<u8> {
    let server = Server::start_binary(&from.binary, &[("proto-max-bulk-len", "1gb")]);
    let conn = &mut server.conn();
    for n in 1..=ENTRIES {
        let (id, value) = (format!("{n}-{n}"), noise(n, ENTRY_BYTES));
        ask(conn, &[b"XADD", b"stream", id.as_bytes(), b"f", &value]);
    }
    for id in DELIVERED {
        ask(conn, &[b"XGROUP", b"CREATE", b"stream", id.as_bytes(), id.as_bytes()]);
    }
    let lines = [
        "XREADGROUP GROUP 0-0 reader COUNT 7 STREAMS stream >",
        "XREADGROUP GROUP 0-0 other COUNT 2 STREAMS stream >",
        "XGROUP SETID stream 0-0 0-0",
        "XDEL stream 1-1 7-7 40-40",
        "SET another value",
    ];
    for line in lines {
        ask(conn, &line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
    }
    // Copies that have to be brought to the other shard as well.
    let copies =
        aof::of_lines("COPY stream copy:1\n COPY stream copy:2\n COPY stream copy:3\n COPY stream copy:4");
    [rdb::saved(&server), copies].concat()
}

fn one(scene: &Scene, source: &Path, to: &Named) -> Result<(), String> {
    let targets = [Server::start_binary(&to.binary, &[LIMIT]), Server::start_binary(&to.binary, &[LIMIT])];
    let checkpoint = scene.dir().join(&to.name);
    let output = scene.load(source, &targets).arg("--checkpoint").arg(checkpoint).run();
    if output.code != Some(0) {
        return Err(output.to_string());
    }
    let reference = Server::loading_binary(&to.binary, source, &[])?;
    let held: Vec<Snapshot> = targets.iter().map(Snapshot::of).collect();
    let found = diff(&Snapshot::of(&reference), &held, Placement::Crc32);
    if found.is_empty() { Ok(()) } else { Err(format!("{:#?}", &found[..found.len().min(5)])) }
}
