//! Puts right what an unfinished load left in a target, without finishing it.

use std::path::Path;

use redis::Connection;

use super::{Fault, Shifted, Stop, aof, exchange, settle};
use crate::error::{Error, Kind};
use crate::marker::{Marker, Phase};

/// Puts the deadlines of a live master right and removes its marker.
///
/// The marker says "diverged" meanwhile, so that no loader goes on with it, not even a later one if this
/// is cut short.
pub fn server(
    connection: &mut Connection,
    key: &[u8],
    marker: &Marker,
    name: &str,
    stop: &Stop,
) -> Result<(), Fault> {
    let seized = seize(connection, key, marker, name)?;
    if marker.load.shift_ms > 0 {
        settle::unshift(connection, name, (marker.load.shift_ms, &Shifted::Anywhere), stop, &|_, _| {})?;
    }
    exchange::remove(connection, key, &seized, name)
}

/// Empties a server on which a load has put what directories cannot run, the marker included.
pub fn scratch(
    connection: &mut Connection,
    key: &[u8],
    marker: &Marker,
    has_functions: bool,
    name: &str,
) -> Result<(), Fault> {
    let seized = seize(connection, key, marker, name)?;
    let mut commands = vec![redis::cmd("FLUSHALL")];
    if has_functions {
        let mut functions = redis::cmd("FUNCTION");
        functions.arg("FLUSH");
        commands.push(functions);
    }
    exchange::compare_and(connection, key, Some(&seized.to_string()), &commands, name)
}

/// Puts a marker in place that stops any loader which still runs; that one may move its own meanwhile.
fn seize(connection: &mut Connection, key: &[u8], marker: &Marker, name: &str) -> Result<Marker, Fault> {
    const TRIES_MAX: usize = 1000;
    let mut found = marker.clone();
    for _ in 0..TRIES_MAX {
        let run = found.run.saturating_add(1);
        let seized = Marker { run, owner: 0, ..found.in_phase(Phase::Diverged(found.window)) };
        match exchange::exchange(connection, key, &found, &seized, name) {
            Ok(()) => return Ok(seized),
            Err(Fault::Marker(_)) => {}
            Err(fault) => return Err(fault),
        }
        match exchange::read(connection, key, name)? {
            Some(moved) => found = moved,
            None => break,
        }
    }
    Err(Fault::Marker(format!("the marker of {name} is moved by a loader that is still at work")))
}

/// Removes the files of an append-only file that was never finished; no server could start from them.
pub fn directory(directory: &Path) -> Result<(), Error> {
    let failed = |error| {
        Error::new(Kind::Local, "cannot remove an unfinished append-only file")
            .file(directory)
            .remedy("make its directory writable; then run the same command again")
            .caused_by(error)
    };
    aof::remove_data(directory)?.map_err(failed)?;
    aof::or_missing(std::fs::remove_file(directory.join(aof::MARKER_FILE))).map_err(failed)
}
