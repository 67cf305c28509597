//! A live master: batches as guarded transactions (`pipeline.rs`), everything else through the redis crate.

use std::sync::Arc;
use std::time::Duration;

use redis::Connection;

use super::control::{self, fault, info_field};
use super::exchange::{self, Flush};
use super::inspect::life_of;
use super::pipeline::{Lane, Pipeline};
use super::{Applied, Attached, Fault, Shifted, Sink, Stop, settle};
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
    marker_key: &'s [u8],
    limits: Limits,
    stop: &'s Stop,
    /// Who was master last.
    last: Option<Endpoint>,
    pipeline: Option<Pipeline<'s>>,
}

impl<'s> ServerSink<'s> {
    /// A sink for one lane; connects to nothing yet.
    pub fn new(
        members: Members,
        lane: usize,
        source: &'s Source,
        rules: &'s Rules,
        limits: Limits,
        stop: &'s Stop,
    ) -> Self {
        let lane = Lane { number: lane, source, rules, bytes_max: limits.in_flight_bytes_max / 2 };
        ServerSink { members, lane, marker_key: &rules.marker_key, limits, stop, last: None, pipeline: None }
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.limits.timeout_ms)
    }

    /// A connection of the redis crate to whoever is master now.
    pub(super) fn master(&mut self) -> Result<Connection, Fault> {
        let timeout = self.timeout();
        let connect =
            |endpoint: &Endpoint| control::connect(endpoint, self.members.credentials.as_ref(), timeout);
        match master::find(&self.members, self.last.as_ref(), &connect) {
            Ok((endpoint, connection)) => {
                self.last = Some(endpoint);
                Ok(connection)
            }
            Err(none) => Err(no_master(&none)),
        }
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
        self.pipeline = None;
        let mut connection = self.master()?;
        let name = self.name();
        let failed = |error: redis::RedisError| fault(&name, &error);
        let marker = exchange::read(&mut connection, self.marker_key, &name)?;
        let info: String = redis::cmd("INFO").arg("server").query(&mut connection).map_err(failed)?;
        let keyspace: String = redis::cmd("INFO").arg("keyspace").query(&mut connection).map_err(failed)?;
        let run_id = info_field(&info, "run_id").unwrap_or_default();
        let server = life_of(run_id);
        if marker.as_ref().is_some_and(|marker| marker.server != server) {
            self.mend_append_only_file(&mut connection)?;
        }
        let endpoint = self.last.as_ref().unwrap_or(&self.members.master);
        let credentials = self.members.credentials.as_ref();
        self.pipeline = Some(Pipeline::open(self.lane, endpoint, credentials, self.timeout())?);
        let own = u64::from(marker.is_some());
        Ok(Attached { marker, is_empty: control::keys_in(&keyspace) == own, server })
    }

    fn create(&mut self, found: Option<&Marker>, new: &Marker, flush: Flush) -> Result<(), Fault> {
        let mut connection = self.master()?;
        exchange::create(&mut connection, self.marker_key, found, new, flush, &self.name())
    }

    fn exchange(&mut self, old: &Marker, new: &Marker) -> Result<(), Fault> {
        let mut connection = self.master()?;
        exchange::exchange(&mut connection, self.marker_key, old, new, &self.name())
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

    fn settle(
        &mut self,
        marker: &Marker,
        shifted: &Shifted<'_>,
        progress: &dyn Fn(u64, u64),
    ) -> Result<(), Fault> {
        let mut connection = self.master()?;
        // After a failover the master that was lost cannot be a replica to wait for.
        let failed_over = self.last.as_ref().is_some_and(|last| *last != self.members.master);
        let (name, replicas) = (self.name(), self.members.replicas.len() - usize::from(failed_over));
        if marker.load.shift_ms > 0 {
            // Not on a server that has taken the master's place meanwhile and is behind.
            exchange::exchange(&mut connection, self.marker_key, marker, marker, &name)?;
            settle::unshift(&mut connection, &name, (marker.load.shift_ms, shifted), self.stop, progress)?;
        }
        // WAIT looks at the last write of its own connection, so there must be one.
        exchange::exchange(&mut connection, self.marker_key, marker, marker, &name)?;
        let wait_ms = self.limits.replica_wait_ms;
        settle::wait_for_replicas(&mut connection, &name, replicas, wait_ms, self.stop)?;
        settle::wait_for_file(&mut connection, &name, wait_ms, self.stop)
    }

    fn finish(&mut self, marker: &Marker) -> Result<(), Fault> {
        let mut connection = self.master()?;
        exchange::remove(&mut connection, self.marker_key, marker, &self.name())
    }

    fn name(&self) -> String {
        self.last.as_ref().unwrap_or(&self.members.master).to_string()
    }
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
