//! RDB parts of a source, which servers write unless told otherwise: read from wherever they may stand, and loaded to
//! the same end as a server that loads them.

mod damage;
mod deadlines;
mod duplicates;
mod limits;
mod resume;
mod sources;
mod survey;
mod verdicts;
mod verdicts_fields;

use crate::scene::{Scene, reference, servers, started};
use crate::support::compare::assert_same;
use crate::support::fill;
use crate::support::rdb;
use crate::support::server::Server;
use redis::Value;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Shards of most tests.
const SHARDS: usize = 3;

/// What a server that holds every type in every encoding saves.
fn everything() -> &'static [u8] {
    static FILE: OnceLock<Vec<u8>> = OnceLock::new();
    FILE.get_or_init(|| {
        let server = Server::start(&[]);
        fill::fill(&server);
        rdb::saved(&server)
    })
}

/// Loads `source` into masters and into directories and compares both; gives them back, the directories' servers last.
fn both_sinks(scene: &Scene, source: &Path) -> (Vec<Server>, Vec<PathBuf>) {
    let reference = reference(source);
    let targets = servers(SHARDS);
    let checkpoint = scene.dir().join("masters.checkpoint");
    scene.load(source, &targets).arg("--checkpoint").arg(checkpoint).run_ok();
    assert_same(&reference, &targets);
    let (loader, dirs) = scene.load_into_directories(source, SHARDS);
    loader.run_ok();
    assert_same(&reference, &started(dirs.clone()));
    (targets, dirs)
}

/// A value as DUMP gives it, made with these commands in the key `it`.
fn dumped(server: &Server, lines: &[&str]) -> Vec<u8> {
    let conn = &mut server.conn();
    fill::ask(conn, &fill::words("DEL it"));
    lines.iter().for_each(|line| fill::ask(conn, &fill::words(line)));
    match server.cmd(&["DUMP", "it"]) {
        Ok(Value::BulkString(dump)) => dump,
        other => panic!("DUMP answered {other:?}"),
    }
}
