//! The targets of a job: looked at before anything is written, and opened as sinks.

use std::path::Path;
use std::time::Duration;

use redis::Connection;

use crate::config::Job;
use crate::error::{Error, Kind, Result};
use crate::marker::Marker;
use crate::report::human::{counted, libraries};
use crate::route::{Rules, Takes};
use crate::sink::aof::{self, AofSink};
use crate::sink::exchange::Flush;
use crate::sink::inspect::{self, Inspection};
use crate::sink::server::{ServerSink, no_master};
use crate::sink::{Sink, Stop, control};
use crate::source::Source;
use crate::survey::Survey;
use crate::topology::{Endpoint, Members, ReplicaSet, Target};

/// A target as it was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Who it is.
    pub name: String,
    /// The marker in it.
    pub marker: Option<Marker>,
    /// What it holds beside the marker, in words; empty if nothing.
    pub holds: String,
    /// What only a live server has.
    pub live: Option<Inspection>,
}

impl Found {
    /// Whether nothing but the marker is in it.
    pub fn is_empty(&self) -> bool {
        self.holds.is_empty()
    }

    /// What has to be deleted when a load begins, if the user wants that.
    pub fn flush(&self, wanted: bool) -> Flush {
        let live = wanted && self.live.is_some();
        Flush { keys: live, functions: live && self.has_functions() }
    }

    /// Whether a live server has libraries of functions.
    pub fn has_functions(&self) -> bool {
        self.live.as_ref().is_some_and(|live| live.functions > 0)
    }
}

/// For each lane what its target takes, if it is a live server. As long as targets were not looked at they are taken
/// for the latest of the product that wrote the source.
pub fn live(job: &Job, source: &Source, found: Option<&[Found]>) -> Vec<Option<Takes>> {
    let unknown = Takes::anything(source.product());
    let takes = |(lane, set): (usize, &ReplicaSet)| {
        let live = || found.and_then(|found| found.get(lane)?.live.as_ref());
        matches!(set.target, Target::Server(_)).then(|| live().map_or(unknown, |live| live.takes))
    };
    job.topology.sets.iter().enumerate().map(takes).collect()
}

/// The targets' names.
pub fn names(job: &Job) -> Vec<String> {
    job.topology.sets.iter().map(|set| set.target.to_string()).collect()
}

/// Looks at every target; refuses those that are not fit, and two sets with one master.
pub fn inspect(job: &Job) -> Result<Vec<Found>> {
    let mut found: Vec<Found> = Vec::with_capacity(job.topology.sets.len());
    for (lane, set) in job.topology.sets.iter().enumerate() {
        let next = inspect_one(job, &set.target).map_err(|error| error.in_shard(lane))?;
        let run_id = |found: &Found| found.live.as_ref().map(|live| live.run_id.clone());
        if let Some(other) =
            found.iter().position(|other| run_id(other).is_some() && run_id(other) == run_id(&next))
        {
            return Err(Error::new(Kind::Target, "two replica sets have the same master")
                .unwritten()
                .shard(other, &found[other].name)
                .shard(lane, &next.name)
                .remedy("give every set a master of its own in the topology file"));
        }
        found.push(next);
    }
    Ok(found)
}

/// Looks at one target; refuses it if it is not fit.
pub fn inspect_one(job: &Job, target: &Target) -> Result<Found> {
    match target {
        Target::Aof { directory } => inspect_directory(directory),
        Target::Server(members) => again_if_interrupted(|| {
            let (name, mut connection) = connect(job, members)?;
            inspect_server(job, &mut connection, name)
        }),
    }
}

/// A process that was stopped and goes on finds what it waited for cut short, which says nothing about the target.
fn again_if_interrupted<T>(attempt: impl Fn() -> Result<T>) -> Result<T> {
    const TRIES_MAX: usize = 5;
    let interrupted = std::io::Error::from(rustix::io::Errno::INTR).to_string();
    for _ in 1..TRIES_MAX {
        match attempt() {
            Err(error) if error.to_string().contains(&interrupted) => {}
            outcome => return outcome,
        }
    }
    attempt()
}

/// The name of a set's master as it is now, and a connection to it.
pub fn connect(job: &Job, members: &Members) -> Result<(String, Connection)> {
    let timeout = Duration::from_millis(job.limits.timeout_ms);
    let connect = |endpoint: &Endpoint| control::connect(endpoint, members.credentials.as_ref(), timeout);
    match crate::topology::master::find(members, None, &connect) {
        Ok((endpoint, connection)) => Ok((endpoint.to_string(), connection)),
        Err(none) => Err(inspect::fatal(&members.master.to_string(), no_master(&none))),
    }
}

fn inspect_server(job: &Job, connection: &mut Connection, name: String) -> Result<Found> {
    let live = inspect::inspect(connection, &job.marker_key, &name)?;
    let holds = match (live.keys, live.functions) {
        (0, 0) => String::new(),
        (0, functions) => libraries(functions),
        (keys, _) => counted(keys, "key"),
    };
    Ok(Found { name, marker: live.marker.clone(), holds, live: Some(live) })
}

/// Looks at a directory.
pub fn inspect_directory(directory: &Path) -> Result<Found> {
    let marker = aof::read_marker(directory)?.map(|(marker, _)| marker);
    let unreadable = |error: std::io::Error| {
        Error::new(Kind::Target, "cannot read the directory of a shard")
            .unwritten()
            .file(directory)
            .remedy("make it a directory that can be read and written, or name another")
            .caused_by(error)
    };
    let vacant = marker.is_some() || aof::is_vacant(directory).map_err(unreadable)?;
    let holds = if vacant { String::new() } else { "files that this load did not write".to_owned() };
    Ok(Found { name: directory.display().to_string(), marker, holds, live: None })
}

/// Refuses targets that hold something, unless they are to be emptied.
pub fn refuse_full(job: &Job, found: &[Found]) -> Result<()> {
    for (lane, found) in found.iter().enumerate() {
        if found.is_empty() || (job.flush_targets && found.live.is_some()) {
            continue;
        }
        let remedy = match found.live {
            Some(_) => "give empty targets, or delete all that is in them with --flush-targets",
            None => "name a directory that is empty or not there yet",
        };
        return Err(Error::new(Kind::Target, "a target is not empty")
            .unwritten()
            .shard(lane, &found.name)
            .place("holds", found.holds.clone())
            .remedy(remedy));
    }
    Ok(())
}

/// What a load that begins now would delete: targets by name, each with what it holds.
pub fn to_delete(job: &Job, found: &[Found]) -> Vec<(String, String)> {
    if !job.flush_targets || found.iter().any(|found| found.marker.is_some()) {
        return Vec::new();
    }
    let full = found.iter().filter(|found| found.live.is_some() && !found.is_empty());
    full.map(|found| (found.name.clone(), found.holds.clone())).collect()
}

/// Refuses targets that lack what the surveyed source needs.
pub fn require(job: &Job, found: &[Found], survey: &Survey) -> Result<()> {
    for (lane, (set, found)) in job.topology.sets.iter().zip(found).enumerate() {
        if let Target::Server(members) = &set.target {
            require_one(job, members, found, survey).map_err(|error| error.in_shard(lane))?;
        }
    }
    Ok(())
}

/// The same for one live server.
pub fn require_one(job: &Job, members: &Members, found: &Found, survey: &Survey) -> Result<()> {
    let Some(live) = &found.live else { return Ok(()) };
    again_if_interrupted(|| {
        let (name, mut connection) = connect(job, members)?;
        let commands = survey.tally.commands.keys().copied();
        inspect::require(&mut connection, live, survey.tally.db_max, commands, &name)
    })
}

/// A sink for each target: those of the shards and, behind them, that of the scratch lane.
pub fn sinks<'s>(
    job: &'s Job,
    scratch: Option<&Target>,
    source: &'s Source,
    (rules, survey): (&'s Rules, Option<&Survey>),
    stop: &'s Stop,
) -> Vec<Box<dyn Sink + 's>> {
    let targets = job.topology.sets.iter().map(|set| &set.target).chain(scratch).enumerate();
    targets
        .map(|(lane, target)| match target {
            Target::Server(members) => {
                let tally = survey.and_then(|survey| survey.tally.lanes.get(lane));
                let keys = tally.map_or(0, |lane| lane.keys.estimate());
                let db_max = survey.map_or(0, |survey| survey.tally.db_max);
                Box::new(ServerSink::new(
                    members.clone(),
                    (lane, keys, db_max),
                    source,
                    rules,
                    job.limits,
                    stop,
                )) as Box<dyn Sink + 's>
            }
            Target::Aof { directory } => Box::new(AofSink::new(directory, lane, source, rules)),
        })
        .collect()
}
