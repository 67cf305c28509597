//! Libraries of functions in an RDB part, shown to the targets before anything is written: only a server can tell whether
//! their code compiles, and whether two of them have a function of one name.
//!
//! FUNCTION RESTORE loads all that its payload holds into a place of its own (`functionRestoreCommand`, functions.c), as a
//! server does that loads an RDB part, and takes it over only if there was no error to the end. So a payload that ends in
//! an error changes nothing on the server, its replicas, or its append-only file; and a server that answers something
//! else than that error does not take the libraries.

use redis::{Connection, ErrorKind, Value};

use super::scratch::{self, Offer};
use super::targets::{self, Found};
use crate::config::Job;
use crate::error::{Error, Kind, Result};
use crate::rdb::{self, Item, Reader, payload};
use crate::sink::Stop;
use crate::source::Source;
use crate::source::window::{Content, Window};
use crate::survey::Survey;
use crate::topology::Target;

/// What is sent, without libraries and with them: a server that takes them gives the same answer.
type Payloads = [Vec<u8>; 2];

/// Refuses a load if one of its live targets, or the server that loads for its directories (`has_scratch`), does not take
/// the libraries that the source begins with. Where none can be asked, it is left to the load to find out.
pub fn rehearse(
    job: &Job,
    source: &Source,
    survey: &Survey,
    (found, has_scratch): (&[Found], bool),
    stop: &Stop,
) -> Result<()> {
    let Some(libraries) = libraries(source, survey) else { return Ok(()) };
    let payloads = [payload::refused_after(&[]), payload::refused_after(&libraries)];
    for (lane, (set, found)) in job.topology.sets.iter().zip(found).enumerate() {
        let Target::Server(members) = &set.target else { continue };
        // One that knows no functions would be refused for another reason, or is not to get them.
        if !found.live.as_ref().is_some_and(|live| live.takes.functions()) {
            continue;
        }
        let (name, mut connection) = targets::connect(job, members).map_err(|error| error.in_shard(lane))?;
        if let Some(answer) = objection(&mut connection, &payloads) {
            return Err(refused("a target", answer).shard(lane, name));
        }
    }
    let is_directory = |target: &Target| matches!(target, Target::Aof { .. });
    if job.topology.sets.iter().any(|set| is_directory(&set.target)) {
        rehearse_apart(job, source, survey, &payloads, has_scratch, stop)?;
    }
    Ok(())
}

/// A directory cannot be asked. The server that loads what is tied to it gets the libraries, too. Without such a server a
/// private one is asked only if it is of the product that wrote the source: the other may lack what a library uses.
fn rehearse_apart(
    job: &Job,
    source: &Source,
    survey: &Survey,
    payloads: &Payloads,
    has_scratch: bool,
    stop: &Stop,
) -> Result<()> {
    let (name, answer) = match scratch::offer(job) {
        Offer::Server(members) if has_scratch => {
            let (name, mut connection) = targets::connect(job, &members)?;
            (name, objection(&mut connection, payloads))
        }
        Offer::Program(program)
            if (has_scratch || program.is_valkey() == is_of_valkey(source))
                && scratch::unread(&program, survey).is_none() =>
        {
            let ask = |connection: &mut Connection| objection(connection, payloads);
            let answer = scratch::with_private(job, &program, &ask, stop);
            // One that cannot be run is nobody's concern if nothing else is asked of it.
            let is_vain = answer.is_err() && !has_scratch && !stop.requested();
            (program.to_string(), if is_vain { None } else { answer? })
        }
        _ => return Ok(()),
    };
    match answer {
        Some(answer) => {
            Err(refused("a server that reads what directories get", answer).place("server", name))
        }
        None => Ok(()),
    }
}

/// Whether it is Valkey that wrote the source, as its RDB part says.
fn is_of_valkey(source: &Source) -> bool {
    let Ok(mut entries) = Reader::new(source.bytes(0)) else { return false };
    while let Some(Ok(rdb::Entry { item: Item::Aux { key, .. }, .. })) = entries.next() {
        if *key == *b"valkey-ver" {
            return true;
        }
    }
    false
}

/// What a server says against the libraries.
fn objection(connection: &mut Connection, payloads: &Payloads) -> Option<String> {
    let [none, all] = payloads.each_ref().map(|payload| answer(connection, payload));
    all.filter(|all| none.is_some_and(|none| none != *all))
}

/// The libraries of the RDB parts before all commands, as they stand there: what comes later depends on the commands.
fn libraries<'s>(source: &'s Source, survey: &Survey) -> Option<Vec<&'s [u8]>> {
    let tally = &survey.tally;
    let is_complete = tally.library_spots.len() as u64 == tally.libraries;
    let is_command = |window: &Window| matches!(window.content, Content::Commands);
    let commands = survey.windows.iter().map(|surveyed| surveyed.window).find(is_command);
    let first = tally
        .library_spots
        .iter()
        .take_while(|(at, _)| commands.is_none_or(|commands| *at < commands.start))
        .filter_map(|(at, bytes)| {
            let start = usize::try_from(at.offset).ok()?;
            source.bytes(at.segment).get(start..start.checked_add(usize::try_from(*bytes).ok()?)?)
        });
    let first: Vec<&[u8]> = first.collect();
    (is_complete && !first.is_empty()).then_some(first)
}

/// The error that a server answers, if it is about the payload: not about rights, memory or the connection.
fn answer(connection: &mut Connection, payload: &[u8]) -> Option<String> {
    let answer = redis::cmd("FUNCTION").arg("RESTORE").arg(payload).query::<Value>(connection);
    let error = answer.err()?;
    match error.kind() {
        // The client does not read one that shows such bytes of a library's code.
        ErrorKind::Parse => Some("an error that is not UTF-8".to_owned()),
        _ if error.code() == Some("ERR") => Some(error.detail().unwrap_or_default().to_owned()),
        _ => None,
    }
}

fn refused(who: &str, answer: String) -> Error {
    Error::new(
        Kind::Target,
        format!("{who} does not take the libraries of functions in the RDB data of the source"),
    )
    .unwritten()
    .place("answer", answer)
    .remedy("take the file from a server or a backup again, or use a target of the version that wrote it")
}
