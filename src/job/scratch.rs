//! The scratch lane: what is tied to directories, which cannot run commands, is loaded into a server of its own, and its
//! outcome is what goes into the directories.
//!
//! Either that is a live server that the user names, which is a target like the others until its keys are shipped and
//! removed; or the lane is written to a directory like those of shards, from which a private server starts when all
//! lanes are applied. Which names it gets is a matter of [`crate::placement`].

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use redis::Connection;

use super::targets::{self, Found};
use crate::config::{self, Job};
use crate::error::{Error, Kind, Result};
use crate::marker::{LoadId, Marker};
use crate::rdb::Version;
use crate::route::Takes;
use crate::sink::abandon;
use crate::sink::aof::{MARKER_FILE, or_missing};
use crate::sink::exchange::Flush;
use crate::sink::inspect;
use crate::sink::private::{self, Private, Program, Purpose};
use crate::sink::ship::Depot;
use crate::sink::{Fault, Stop, control};
use crate::source::Source;
use crate::source::window::Content;
use crate::survey::Survey;
use crate::topology::{Members, Target};

/// What can be had.
#[derive(Debug, Clone)]
pub enum Offer {
    /// A private server of this program.
    Program(Program),
    /// A live one.
    Server(Members),
    /// None, and why.
    Nothing(String),
}

/// See the module.
#[derive(Debug)]
pub struct Scratch {
    /// Where the lane goes.
    pub target: Target,
    /// What was found there.
    pub found: Found,
    /// What is deleted there when the lane begins.
    pub flush: Flush,
    program: Option<Program>,
    databases: u64,
    running: Mutex<Option<Private>>,
}

/// Looks for what can be had.
pub fn offer(job: &Job) -> Offer {
    let given = match &job.scratch {
        config::Scratch::Server(members) => return Offer::Server(members.clone()),
        config::Scratch::Program(path) => Some(path.as_path()),
        config::Scratch::OnPath => None,
    };
    let path = std::env::var_os("PATH");
    Program::find(given, path.as_deref()).map_or_else(Offer::Nothing, Offer::Program)
}

/// Beside the checkpoint.
pub fn directory(job: &Job) -> PathBuf {
    let mut path = job.checkpoint.as_os_str().to_owned();
    path.push(".scratch");
    PathBuf::from(path)
}

impl Offer {
    /// What the lane takes, as [`crate::route::Rules::live`] has it. Servers that are not looked at are taken for the latest.
    pub fn takes(&self, source: &Source, found: Option<&Found>) -> Option<Takes> {
        let live = || found.and_then(|found| found.live.as_ref());
        matches!(self, Offer::Server(_))
            .then(|| live().map_or(Takes::anything(source.product()), |live| live.takes))
    }

    /// What a live server holds, if it is to be looked at.
    pub fn look(&self, job: &Job, wanted: bool) -> Result<Option<Found>> {
        match self {
            Offer::Server(members) if wanted => {
                targets::inspect_one(job, &Target::Server(members.clone())).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Who it is, for the user.
    pub fn name(&self) -> Option<String> {
        match self {
            Offer::Program(program) => Some(format!("a private {program}")),
            Offer::Server(members) => Some(members.master.to_string()),
            Offer::Nothing(_) => None,
        }
    }

    /// Refuses what is not there, or is too old for the RDB parts of the source.
    pub fn check(&self, groups: u64, survey: &Survey) -> Result<()> {
        match self {
            Offer::Nothing(why) => Err(missing(groups, survey.tally.tied, why)),
            Offer::Server(_) => Ok(()),
            Offer::Program(program) => match unread(program, survey) {
                Some(part) => Err(too_old(program, &part.to_string())),
                None => Ok(()),
            },
        }
    }
}

/// The latest version among the RDB parts that a program does not read.
pub fn unread(program: &Program, survey: &Survey) -> Option<Version> {
    let parts = survey.windows.iter().filter_map(|surveyed| match surveyed.window.content {
        Content::Rdb(version) => Some(version),
        Content::Commands => None,
    });
    parts.filter(|part| !program.reads(*part)).max_by_key(|part| part.number)
}

/// Makes the lane ready: looks at what is there, and whether it can be used. `known` is the load that goes on.
pub fn open(
    job: &Job,
    offer: Offer,
    survey: &Survey,
    (known, shards): (Option<&LoadId>, &[Found]),
    stop: &Stop,
) -> Result<Scratch> {
    let databases = u64::from(survey.tally.db_max) + 1;
    let own = |marker: &Marker| known == Some(&marker.load) && marker.lane == marker.load.lanes;
    let (target, program, mut flush) = match offer {
        Offer::Nothing(why) => return Err(missing(0, survey.tally.tied, &why)),
        Offer::Server(members) => (Target::Server(members), None, Flush::NOTHING),
        Offer::Program(program) => {
            let directory = directory(job);
            let stale = !targets::inspect_directory(&directory)?.marker.as_ref().is_some_and(own);
            if stale {
                // Of a load that was given up or started over, or begun by a run that was killed: nobody else's.
                remove_directory(&directory)?;
            }
            look(&program, &directory, databases, survey, stop).inspect_err(|_| {
                if stale {
                    drop(remove_directory(&directory))
                }
            })?;
            (Target::Aof { directory }, Some(program), Flush::NOTHING)
        }
    };
    let mut found = targets::inspect_one(job, &target)?;
    if let Target::Server(members) = &target {
        flush = admit(job, &found, known, shards)?;
        targets::require_one(job, members, &found, survey)?;
        if flush.keys {
            found.holds.clear();
        }
    }
    Ok(Scratch { target, found, flush, program, databases, running: Mutex::new(None) })
}

/// The lane of a load of which only markers are left to be removed; nothing is loaded there any more.
pub fn to_finish(job: &Job, known: Option<&LoadId>) -> Result<Option<Scratch>> {
    let config::Scratch::Server(members) = &job.scratch else {
        return remove_leftovers(job).map(|_| None);
    };
    let target = Target::Server(members.clone());
    let found = targets::inspect_one(job, &target)?;
    let is_own = |marker: &Marker| known == Some(&marker.load) && marker.lane == marker.load.lanes;
    let left = found.marker.as_ref().is_some_and(is_own);
    let running = Mutex::new(None);
    let scratch = Scratch { target, found, flush: Flush::NOTHING, program: None, databases: 0, running };
    Ok(left.then_some(scratch))
}

/// Whether a live server may be used, and what has to be deleted in it first: what an earlier load has left there.
fn admit(job: &Job, found: &Found, known: Option<&LoadId>, shards: &[Found]) -> Result<Flush> {
    let run_id = |found: &Found| found.live.as_ref().map(|live| live.run_id.clone());
    if let Some(shard) = shards.iter().position(|shard| run_id(shard) == run_id(found)) {
        return Err(Error::new(Kind::Target, "the scratch server is one of the targets")
            .unwritten()
            .shard(shard, &shards[shard].name)
            .remedy("give --scratch a server of its own"));
    }
    let other = |remedy: &str| {
        Err(Error::new(Kind::Conflict, "the scratch server holds the marker of another load")
            .place("scratch", &found.name)
            .remedy(remedy))
    };
    match (&found.marker, known) {
        (Some(marker), Some(load)) if marker.load == *load && marker.lane == load.lanes => Ok(Flush::NOTHING),
        // It was empty when that marker came, so all of it is of that load.
        (Some(marker), None) if job.restart == config::Restart::Yes && marker.lane == marker.load.lanes => {
            Ok(Flush { keys: true, functions: found.has_functions() })
        }
        (Some(_), _) => other("finish or --abandon that load first, or give another server"),
        (None, _) if found.is_empty() => Ok(Flush::NOTHING),
        (None, _) => Err(Error::new(Kind::Target, "the scratch server is not empty")
            .unwritten()
            .place("scratch", &found.name)
            .place("holds", found.holds.clone())
            .remedy("give an empty server; --flush-targets does not empty this one")),
    }
}

/// Asks a private server that holds nothing, started for a moment.
pub fn with_private<T>(
    job: &Job,
    program: &Program,
    ask: &dyn Fn(&mut Connection) -> T,
    stop: &Stop,
) -> Result<T> {
    let directory = directory(job);
    let is_there = directory.is_dir();
    let answer = started(program, &directory, 1, stop).map(|(_server, mut connection)| ask(&mut connection));
    if !is_there {
        remove_directory(&directory)?;
    }
    answer
}

/// Starts a private server for a moment: whether it can be run here, and knows the commands of the source.
fn look(program: &Program, directory: &Path, databases: u64, survey: &Survey, stop: &Stop) -> Result<()> {
    let (_server, mut connection) = started(program, directory, databases, stop)?;
    let name = program.to_string();
    let unknown = inspect::unknown(&mut connection, survey.tally.commands.keys().copied(), &name)?;
    if unknown.is_empty() { Ok(()) } else { Err(too_old(program, &unknown.join(", "))) }
}

/// Starts a private server that holds nothing.
fn started(
    program: &Program,
    directory: &Path,
    databases: u64,
    stop: &Stop,
) -> Result<(Private, Connection)> {
    let failed = |error| {
        Error::new(Kind::Local, "cannot make the scratch directory")
            .unwritten()
            .file(directory)
            .remedy("make its directory writable, or name another place with --checkpoint")
            .caused_by(error)
    };
    fs::create_dir_all(directory).map_err(failed)?;
    let name = program.to_string();
    let fatal = |fault| match fault {
        Fault::Fatal(error) => error,
        _ if stop.requested() => crate::writer::interrupted(),
        other => inspect::fatal(&name, other),
    };
    let server = Private::start(program, directory, databases, Purpose::Look, stop).map_err(fatal)?;
    let connection =
        server.connect(Duration::from_secs(10)).map_err(|error| fatal(control::fault(&name, &error)))?;
    Ok((server, connection))
}

impl Scratch {
    /// Whether it is a directory, for a private server to start from.
    pub fn is_private(&self) -> bool {
        self.program.is_some()
    }

    /// Where keys are taken from. A private server is started unless it runs; its directory is complete by then.
    pub fn depot(&self, job: &Job, marker: Option<Marker>, stop: &Stop) -> Result<Depot, Fault> {
        let timeout = Duration::from_millis(job.limits.timeout_ms);
        let (program, directory) = match (&self.target, &self.program) {
            (Target::Server(members), _) => return Depot::of(members, &job.marker_key, marker, timeout),
            (Target::Aof { directory }, Some(program)) => (program, directory),
            (Target::Aof { .. }, None) => return Err(Fault::Lost("there is no scratch server".into())),
        };
        // Several lanes may ask at once.
        let mut running =
            self.running.lock().map_err(|_| Fault::Lost("the scratch server is lost".into()))?;
        if running.as_mut().is_none_or(|private| !private.is_running()) {
            *running = None;
            tracing::info!("starting the scratch server: {program}");
            *running = Some(Private::start(program, directory, self.databases, Purpose::Load, stop)?);
        }
        let Some(private) = running.as_ref() else { return Err(Fault::Lost("not started".into())) };
        let name = format!("scratch ({})", directory.display());
        match private.connect(timeout) {
            Ok(connection) => Ok(Depot::new(connection, name, None)),
            Err(error) => Err(control::fault(&name, &error)),
        }
    }

    /// Ends a private server: all that was in it is where it belongs.
    pub fn end_server(&self) {
        if let Ok(mut running) = self.running.lock() {
            *running = None;
        }
    }

    /// Removes the directory, if there is one: all lanes are settled.
    pub fn remove(&self) -> Result<()> {
        self.end_server();
        match &self.target {
            Target::Aof { directory } => remove_directory(directory),
            Target::Server(_) => Ok(()),
        }
    }
}

/// Removes a scratch directory and all that loads have put there, the marker last; harmless if there is none. False if
/// there was none.
pub fn remove_leftovers(job: &Job) -> Result<bool> {
    let directory = directory(job);
    let is_there = directory.is_dir();
    remove_directory(&directory).map(|()| is_there)
}

/// Empties a live server that a load which is given up has used; false if there is none.
pub fn abandon(job: &Job, stop: &Stop) -> Result<bool> {
    let config::Scratch::Server(members) = &job.scratch else { return Ok(false) };
    let found = targets::inspect_one(job, &Target::Server(members.clone()))?;
    // It was empty when this marker came, so all of it is of that load.
    let has_functions = found.has_functions();
    let Some(marker) = found.marker.filter(|marker| marker.lane == marker.load.lanes) else {
        return Ok(false);
    };
    let (name, mut connection) = targets::connect(job, members)?;
    abandon::scratch(&mut connection, &job.marker_key, &marker, has_functions, &name)
        .map_err(|fault| super::abandon::failed(&name, fault, stop))?;
    Ok(true)
}

fn remove_directory(directory: &Path) -> Result<()> {
    let failed = |error: std::io::Error| {
        Error::new(Kind::Local, "cannot remove the scratch directory")
            .file(directory)
            .remedy("remove it if nothing in it is of worth, or name another place with --checkpoint")
            .caused_by(error)
    };
    if !directory.is_dir() {
        return Ok(());
    }
    private::remove_files(directory).map_err(failed)?;
    abandon::directory(directory)?;
    or_missing(fs::remove_file(directory.join(format!("{MARKER_FILE}.new")))).map_err(failed)?;
    fs::remove_dir(directory).map_err(failed)
}

fn missing(groups: u64, tied: u64, why: &str) -> Error {
    let mut error = Error::new(
        Kind::Unsupported,
        format!(
            "{tied} commands need keys of several shards; directories cannot run them, and there is no server to do so"
        ),
    ).unwritten();
    if groups > 0 {
        error = error.place("tied to directories", format!("{groups} groups of names"));
    }
    error.place("scratch server", why).remedy(
        "install redis-server (or valkey-server) so that it is on the PATH; or give --scratch the address of an empty \
         server, or the path of such a program; or BGREWRITEAOF on the source: what is left then ties nothing",
    )
}

fn too_old(program: &Program, what: &str) -> Error {
    Error::new(
        Kind::Unsupported,
        "the scratch server, which runs what directories cannot, does not know what the source needs",
    ).unwritten()
    .place("server", program.to_string())
    .place("needs", what)
    .remedy(
        "put the redis-server (or valkey-server) that wrote the source, or a later one, first on the PATH; or give \
         --scratch its path, or the address of an empty server",
    )
}
