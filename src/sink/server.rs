//! A live master: batches as guarded transactions (`pipeline.rs`), everything else through the redis crate.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use redis::Connection;

use super::control::{self, fault, info_field};
use super::exchange::{self, Flush};
use super::inspect::{self, life_of};
use super::pipeline::{Lane, Pipeline};
use super::{Applied, Attached, Fault, OwnCommand, Secured, Shifted, Sink, Stop, settle};
use crate::batch::Batch;
use crate::config::Limits;
use crate::marker::Marker;
use crate::partition::LanePart;
use crate::route::Rules;
use crate::source::Source;
use crate::topology::master::{self, Answer, NoMaster};
use crate::topology::{Endpoint, Members};

/// See the module.
pub struct ServerSink<'s> {
    members: Members,
    lane: Lane<'s>,
    /// The highest database of the source.
    db_max: u32,
    marker_key: &'s [u8],
    limits: Limits,
    stop: &'s Stop,
    /// Whether the user is taken to be permitted EXISTS, because it was not refused so far.
    may_look: Arc<AtomicBool>,
    /// Who was master last.
    last: Option<Endpoint>,
    pipeline: Option<Pipeline<'s>>,
    /// A connection for the loader's own commands.
    control: Option<Connection>,
}

impl<'s> ServerSink<'s> {
    /// A sink for one lane, whose target is to have about so many keys, in databases up to `db_max`; connects to nothing
    /// yet.
    pub fn new(
        members: Members,
        (lane, keys, db_max): (usize, u64, u32),
        source: &'s Source,
        rules: &'s Rules,
        limits: Limits,
        stop: &'s Stop,
    ) -> Self {
        let lane = Lane { number: lane, source, rules, bytes_max: limits.in_flight_bytes_max / 2, keys };
        ServerSink {
            members,
            lane,
            db_max,
            marker_key: &rules.marker_key,
            limits,
            stop,
            may_look: Arc::new(AtomicBool::new(true)),
            last: None,
            pipeline: None,
            control: None,
        }
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.limits.timeout_ms)
    }

    /// A connection of the redis crate to whoever is master now.
    fn master(&mut self) -> Result<Connection, Fault> {
        let (endpoint, connection) = connect_to_master(&self.members, self.last.as_ref(), self.timeout())?;
        self.last = Some(endpoint);
        Ok(connection)
    }

    /// Does something over the one connection for all that is not a batch. It is kept from one time to the next until
    /// the target is attached anew, so that all of it reaches one server: another that takes its place may hold the
    /// same marker, and less.
    fn with_control<T>(
        &mut self,
        work: impl FnOnce(&mut Connection, &Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut connection = match self.control.take() {
            Some(connection) => connection,
            None => self.master()?,
        };
        let done = work(&mut connection, self)?;
        self.control = Some(connection);
        Ok(done)
    }

    /// A server that was restarted with an append-only file of its own may have a torn transaction at
    /// that file's end, which swallows what is appended later; a rewrite makes the file whole.
    fn mend_append_only_file(&self, connection: &mut Connection) -> Result<(), Fault> {
        let name = self.name();
        let persistence = |connection: &mut Connection| -> Result<String, Fault> {
            redis::cmd("INFO").arg("persistence").query(connection).map_err(|error| fault(&name, &error))
        };
        if info_field(&persistence(connection)?, "aof_enabled") != Some("1") {
            return Ok(());
        }
        tracing::info!(target = %name, "the server was restarted: rewriting its append-only file first");
        match redis::cmd("BGREWRITEAOF").query::<String>(connection) {
            // One that is under way is waited for, like one that is put off until a snapshot is done.
            Err(error)
                if !control::reply_text(&error).is_some_and(|text| text.contains("already in progress")) =>
            {
                return Err(fault(&name, &error));
            }
            _ => {}
        }
        loop {
            let info = persistence(connection)?;
            let busy = |field: &str| info_field(&info, field) == Some("1");
            if !busy("aof_rewrite_in_progress") && !busy("aof_rewrite_scheduled") {
                return match info_field(&info, "aof_last_bgrewrite_status") {
                    Some("ok") | None => Ok(()),
                    Some(status) => Err(Fault::Wait(format!("{name}: BGREWRITEAOF ended with {status}"))),
                };
            }
            if super::wire::pause(Duration::from_millis(50), self.stop) {
                return Err(Fault::Wait("asked to stop".into()));
            }
        }
    }
}

impl Sink for ServerSink<'_> {
    fn attach(&mut self) -> Result<Attached, Fault> {
        (self.pipeline, self.control) = (None, None);
        let mut connection = self.master()?;
        let name = self.name();
        let failed = |error: redis::RedisError| fault(&name, &error);
        let marker = exchange::read(&mut connection, self.marker_key, &name)?;
        let info: String = redis::cmd("INFO").arg("all").query(&mut connection).map_err(failed)?;
        let run_id = info_field(&info, "run_id").unwrap_or_default();
        let server = life_of(run_id);
        let is_another = marker.as_ref().is_none_or(|marker| marker.server != server);
        if is_another {
            let takes = self.lane.rules.live.get(self.lane.number).copied().flatten();
            inspect::fit_to_go_on(&mut connection, &info, (takes, self.db_max), marker.is_some(), &name)?;
        }
        if is_another && marker.is_some() {
            self.mend_append_only_file(&mut connection)?;
        }
        let endpoint = self.last.as_ref().unwrap_or(&self.members.master);
        let credentials = self.members.credentials.as_ref();
        self.pipeline =
            Some(Pipeline::open(self.lane, endpoint, credentials, self.timeout(), &self.may_look)?);
        let own = u64::from(marker.is_some());
        Ok(Attached { marker, is_empty: control::keys_in(&info) == own, server })
    }

    fn create(&mut self, found: Option<&Marker>, new: &Marker, flush: Flush) -> Result<(), Fault> {
        self.with_control(|connection, sink| {
            exchange::create(connection, sink.marker_key, found, new, flush, &sink.name())
        })
    }

    fn exchange(&mut self, old: &Marker, new: &Marker) -> Result<(), Fault> {
        self.with_control(|connection, sink| {
            exchange::exchange(connection, sink.marker_key, old, new, &sink.name())
        })
    }

    fn apply(&mut self, part: &Arc<LanePart>, batch: Batch, old: &Marker, new: &Marker) -> Result<(), Fault> {
        match &mut self.pipeline {
            Some(pipeline) => pipeline.apply(part, batch, (old, new)),
            None => Err(Fault::Lost(format!("{}: not connected", self.name()))),
        }
    }

    fn applied(&mut self, wait: bool) -> Result<Vec<Applied>, Fault> {
        self.pipeline.as_mut().map_or(Ok(Vec::new()), |pipeline| pipeline.applied(wait))
    }

    fn in_flight_bytes(&self) -> usize {
        self.pipeline.as_ref().map_or(0, Pipeline::bytes)
    }

    fn rest(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn run(&mut self, marker: &Marker, db: u32, commands: &[OwnCommand]) -> Result<(), Fault> {
        let command = |arguments: &OwnCommand| {
            let mut command = redis::Cmd::new();
            command.arg(arguments);
            command
        };
        let select = |db: u32| command(&vec![b"SELECT".to_vec(), db.to_string().into_bytes()]);
        let own = commands.iter().map(command);
        let all: Vec<redis::Cmd> = std::iter::once(select(db)).chain(own).chain([select(0)]).collect();
        let expected = marker.to_string();
        self.with_control(|connection, sink| {
            exchange::compare_and(connection, sink.marker_key, Some(&expected), &all, &sink.name())
        })
    }

    fn secure(&mut self, marker: &Marker) -> Result<Secured, Fault> {
        let failed_over = self.last.as_ref().is_some_and(|last| *last != self.members.master);
        let declared = self.members.replicas.len();
        self.with_control(|connection, sink| {
            let (name, wait_ms) = (sink.name(), sink.limits.replica_wait_ms);
            // After a failover the master that was lost need not be there, but it may have come back as a replica.
            let replicas = match failed_over {
                true => settle::replicas(connection, &name)?.clamp(declared - 1, declared),
                false => declared,
            };
            // WAIT looks at the last write of its own connection, so there must be one.
            exchange::exchange(connection, sink.marker_key, marker, marker, &name)?;
            settle::wait_for_replicas(connection, &name, replicas, wait_ms, sink.stop)?;
            settle::wait_for_file(connection, &name, wait_ms, sink.stop)?;
            Ok(Secured { missing: declared - replicas })
        })
    }

    fn settle(
        &mut self,
        marker: &Marker,
        shifted: &Shifted<'_>,
        progress: &dyn Fn(u64, u64),
    ) -> Result<(), Fault> {
        let shift_ms = marker.load.shift_ms;
        if shift_ms == 0 {
            return Ok(());
        }
        self.with_control(|connection, sink| {
            let name = sink.name();
            // Not on a server that has taken the master's place meanwhile and is behind.
            exchange::exchange(connection, sink.marker_key, marker, marker, &name)?;
            settle::unshift(connection, &name, (shift_ms, shifted), sink.stop, progress)
        })
    }

    fn finish(&mut self, marker: &Marker) -> Result<(), Fault> {
        self.with_control(|connection, sink| {
            exchange::remove(connection, sink.marker_key, marker, &sink.name())
        })
    }

    fn name(&self) -> String {
        self.last.as_ref().unwrap_or(&self.members.master).to_string()
    }
}

/// Whoever is master of a set now, and a connection to it; `last` was it last.
pub fn connect_to_master(
    members: &Members,
    last: Option<&Endpoint>,
    timeout: Duration,
) -> Result<(Endpoint, Connection), Fault> {
    let connect = |endpoint: &Endpoint| control::connect(endpoint, members.credentials.as_ref(), timeout);
    master::find(members, last, &connect).map_err(|none| no_master(&none))
}

/// What it means that a set has no master to write to.
pub fn no_master(none: &NoMaster) -> Fault {
    let answers = match none {
        NoMaster::None(answers) => answers,
        NoMaster::Several(endpoints) => {
            let names: Vec<String> = endpoints.iter().map(Endpoint::to_string).collect();
            return Fault::Wait(format!("several members say that they are master: {}", names.join(", ")));
        }
    };
    let mut said = Vec::new();
    for (endpoint, answer) in answers {
        match answer {
            Answer::Replica(of) => said.push(format!("{endpoint} is a replica of {of}")),
            Answer::Other(role) => said.push(format!("{endpoint} is no master but a {role}")),
            Answer::Failed(error) => match fault(&endpoint.to_string(), error) {
                // A refusal such as a wrong password does not go away by waiting.
                fatal @ Fault::Fatal(_) => return fatal,
                Fault::Lost(text) | Fault::Wait(text) | Fault::Marker(text) => said.push(text),
                Fault::Diverged(_) => {}
            },
        }
    }
    Fault::Lost(format!("no master: {}", said.join("; ")))
}
