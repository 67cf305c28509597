//! The connection that batches go through, and what is under way on it.
//!
//! Exactly once, whatever the server refuses and whenever it does: a transaction is executed only after the
//! server has *said* that the marker is what it must be, and that it is watched. So EXEC is held back
//! until the reply to GET is there. Meanwhile the server is busy queueing the transaction's commands, and
//! before that with executing the one before, so that this costs no time: at most one transaction is
//! closed and awaits its replies, and at most one behind it is open. Over a slow network a transaction
//! takes in several batches, so that queueing them lasts longer than the reply takes to come.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::reply::Token;
use super::transaction::Transaction;
use super::wire::Wire;
use super::{Applied, Fault, control, verdict};
use crate::batch::{Batch, write_commands};
use crate::marker::Marker;
use crate::partition::LanePart;
use crate::resp::encode;
use crate::route::Rules;
use crate::source::Source;
use crate::topology::{Credentials, Endpoint};

/// Bytes gathered before they are written; larger arguments are written from where they lie.
const WRITE_BYTES: usize = 128 << 10;
/// Commands that no server queues in less than a microsecond.
const COMMANDS_PER_US: u128 = 4;
/// See [`COMMANDS_PER_US`], for large values.
const BYTES_PER_US: u128 = 4 << 10;
/// With fewer keys most of what a server needs is in its processor's cache anyway. A choice between 80,000, where looking
/// ahead gains nothing, and millions, see docs/benchmarks.md.
const AHEAD_KEYS_MIN: u64 = 200_000;
/// See [`AHEAD_KEYS_MIN`]; longer than within one data centre.
const AHEAD_ROUND_TRIP_MAX: Duration = Duration::from_millis(5);
/// Times that a round trip is measured.
const ROUND_TRIPS: usize = 3;

/// What all transactions of a lane have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lane<'s> {
    pub(super) number: usize,
    pub(super) source: &'s Source,
    pub(super) rules: &'s Rules,
    /// Bytes that one transaction may take in beyond its first batch.
    pub(super) bytes_max: usize,
    /// Keys that the target is to have, about.
    pub(super) keys: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Pipeline<'s> {
    lane: Lane<'s>,
    name: String,
    wire: BufWriter<Wire>,
    /// EXEC is written.
    closed: Option<Transaction>,
    /// EXEC is not written.
    open: Option<Transaction>,
    /// Whether keys are looked at ahead.
    looks_ahead: Arc<AtomicBool>,
    /// Commands and bytes that a transaction is to have, unless there are no more.
    full: (u64, usize),
    /// What became of transactions, to be told in this order.
    done: Vec<Applied>,
    /// See `done`; it comes after those.
    fault: Option<Fault>,
}

impl<'s> Pipeline<'s> {
    /// Connects and logs in.
    pub(super) fn open(
        lane: Lane<'s>,
        endpoint: &Endpoint,
        credentials: Option<&Credentials>,
        timeout: Duration,
        may_look: &Arc<AtomicBool>,
    ) -> Result<Self, Fault> {
        let name = endpoint.to_string();
        let lost = |error: io::Error| Fault::Lost(format!("{name}: {error}"));
        let mut wire = Wire::connect(endpoint, timeout).map_err(lost)?;
        if let Some(credentials) = credentials {
            let password = credentials.password.expose().as_bytes();
            let mut login = Vec::new();
            match &credentials.username {
                Some(username) => encode::command(&mut login, &[b"AUTH", username.as_bytes(), password]),
                None => encode::command(&mut login, &[b"AUTH", password]),
            }
            wire.write_all(&login).map_err(lost)?;
            if let Token::Error(text) = next_token(&mut wire).map_err(lost)? {
                // A server may repeat the password in its answer.
                return Err(control::refused(&name, verdict::known_part(&text).as_bytes()));
            }
        }
        let marker_key = lane.rules.marker_key.as_slice();
        let round_trip = try_out(&mut wire, marker_key, &name)?;
        tracing::debug!(target = %name, round_trip_us = round_trip.as_micros(), "connected");
        // Over a slow network bytes count for more than the server's time.
        let looks_ahead = match lane.keys >= AHEAD_KEYS_MIN && round_trip < AHEAD_ROUND_TRIP_MAX {
            true => Arc::clone(may_look),
            false => Arc::default(),
        };
        let full = |per_us: u128| u64::try_from(round_trip.as_micros() * per_us).unwrap_or(u64::MAX);
        let bytes = usize::try_from(full(BYTES_PER_US)).unwrap_or(usize::MAX);
        Ok(Pipeline {
            lane,
            name,
            wire: BufWriter::with_capacity(WRITE_BYTES, wire),
            closed: None,
            open: None,
            looks_ahead,
            full: (full(COMMANDS_PER_US), bytes.min(lane.bytes_max)),
            done: Vec::new(),
            fault: None,
        })
    }

    /// Bytes of batches that are not known to be applied.
    pub(super) fn bytes(&self) -> usize {
        self.closed.iter().chain(&self.open).map(Transaction::bytes).sum()
    }

    /// Begins to apply a batch, between two states of the marker.
    pub(super) fn apply(
        &mut self,
        part: &Arc<LanePart>,
        batch: Batch,
        (old, new): (&Marker, &Marker),
    ) -> Result<(), Fault> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let closed = if batch.swaps { self.close() } else { Ok(()) };
        let result = closed.and_then(|()| self.write(part, batch, (old, new))).and_then(|()| {
            let open = self.open.as_ref();
            let commands: u64 =
                open.iter().flat_map(|open| open.batches()).map(|(_, batch)| batch.commands).sum();
            let bytes = open.map_or(0, Transaction::bytes);
            if commands >= self.full.0 || bytes >= self.full.1 { self.close() } else { Ok(()) }
        });
        self.after_what_is_done(result)
    }

    /// Puts a fault off until what was applied before it is told.
    fn after_what_is_done(&mut self, result: Result<(), Fault>) -> Result<(), Fault> {
        match result {
            Err(fault) if !self.done.is_empty() => {
                self.fault = Some(fault);
                Ok(())
            }
            result => result,
        }
    }

    fn write(
        &mut self,
        part: &Arc<LanePart>,
        batch: Batch,
        (old, new): (&Marker, &Marker),
    ) -> Result<(), Fault> {
        let key = self.lane.rules.marker_key.as_slice();
        let mut text = Vec::with_capacity(512);
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                encode::command(&mut text, &[b"WATCH".as_slice(), key]);
                encode::command(&mut text, &[b"GET".as_slice(), key]);
                encode::command(&mut text, &[b"MULTI".as_slice()]);
                Transaction::begun(old.to_string(), old.clone(), Arc::clone(&self.looks_ahead))
            }
        };
        if batch.swaps {
            // Otherwise the marker would move with the database and leave a copy behind.
            encode::command(&mut text, &[b"DEL".as_slice(), key]);
            open.add_own(1);
        }
        let Lane { number, source, rules, .. } = self.lane;
        let looks_ahead = self.looks_ahead.load(Ordering::Relaxed);
        let written = self.wire.write_all(&text).and_then(|()| {
            let written = write_commands(
                &mut self.wire,
                source,
                rules,
                number,
                (part, &batch),
                (open.db, looks_ahead),
            )?;
            self.wire.flush()?;
            Ok(written)
        });
        match written {
            Ok(written) => open.add(Arc::clone(part), batch, new.clone(), written),
            Err(error) => return Err(self.lost(&error)),
        }
        self.open = Some(open);
        Ok(())
    }

    /// Writes EXEC behind the open transaction, once the server has said that it is guarded.
    fn close(&mut self) -> Result<(), Fault> {
        while self.open.as_ref().is_some_and(|open| !open.is_guarded()) {
            if !self.digest()? {
                self.wait()?;
            }
        }
        let Some(mut open) = self.open.take() else { return Ok(()) };
        for (part, _) in open.batches() {
            part.check(self.lane.source)?;
        }
        let mut text = Vec::with_capacity(512);
        if open.db != 0 {
            encode::select(&mut text, 0);
            open.add_own(1);
        }
        let key = self.lane.rules.marker_key.as_slice();
        encode::command(&mut text, &[b"SET".as_slice(), key, open.marker().to_string().as_bytes()]);
        open.add_own(1);
        encode::command(&mut text, &[b"EXEC".as_slice()]);
        open.close();
        self.closed = Some(open);
        let written = self.wire.write_all(&text).and_then(|()| self.wire.flush());
        written.map_err(|error| self.lost(&error))
    }

    /// What has been applied since this was asked last; waits for something if `wait` and if anything is under
    /// way.
    pub(super) fn applied(&mut self, wait: bool) -> Result<Vec<Applied>, Fault> {
        if self.done.is_empty() {
            if let Some(fault) = self.fault.take() {
                return Err(fault);
            }
            let collected = self.collect(wait);
            self.after_what_is_done(collected)?;
        }
        Ok(std::mem::take(&mut self.done))
    }

    fn collect(&mut self, wait: bool) -> Result<(), Fault> {
        self.receive()?;
        self.digest()?;
        if wait && self.done.is_empty() && self.closed.is_none() {
            self.close()?;
        }
        while wait && self.done.is_empty() && self.closed.is_some() {
            self.wait()?;
            self.digest()?;
        }
        Ok(())
    }

    /// Takes the replies that have come; whether they settled something.
    fn digest(&mut self) -> Result<bool, Fault> {
        let inbox = &mut self.wire.get_mut().inbox;
        if let Some(closed) = &mut self.closed {
            let Some(applied) = closed.digest(inbox, self.lane.source, &self.name)? else { return Ok(false) };
            self.closed = None;
            self.done.push(applied);
        }
        let Some(open) = &mut self.open else { return Ok(false) };
        let before = open.is_guarded();
        open.digest(inbox, self.lane.source, &self.name)?;
        Ok(open.is_guarded() != before)
    }

    fn receive(&mut self) -> Result<bool, Fault> {
        let received = self.wire.get_mut().receive();
        received.map_err(|error| self.lost(&error))
    }

    fn wait(&mut self) -> Result<(), Fault> {
        let waited = self.wire.get_mut().wait();
        waited.map_err(|error| self.lost(&error))
    }

    /// The connection has failed. A server that closes it may have said why before.
    fn lost(&mut self, error: &io::Error) -> Fault {
        let _ = self.wire.get_mut().receive();
        match self.digest() {
            Err(fault) => fault,
            Ok(_) => Fault::Lost(format!("{}: {error}", self.name)),
        }
    }
}

/// Makes sure that transactions are permitted: without MULTI its commands would run bare. How long a round trip
/// takes.
fn try_out(wire: &mut Wire, marker_key: &[u8], name: &str) -> Result<Duration, Fault> {
    let lost = |error: io::Error| Fault::Lost(format!("{name}: {error}"));
    let mut shortest = Duration::MAX;
    let mut hello = Vec::new();
    encode::command(&mut hello, &[b"WATCH".as_slice(), marker_key]);
    encode::command(&mut hello, &[b"MULTI".as_slice()]);
    encode::command(&mut hello, &[b"EXEC".as_slice()]);
    for _ in 0..ROUND_TRIPS {
        let begun = Instant::now();
        wire.write_all(&hello).map_err(lost)?;
        for _ in ["WATCH", "MULTI", "EXEC"] {
            if let Token::Error(text) = next_token(wire).map_err(lost)? {
                return Err(control::refused(name, &text));
            }
        }
        shortest = shortest.min(begun.elapsed());
    }
    Ok(shortest)
}

/// Waits for the next reply.
fn next_token(wire: &mut Wire) -> io::Result<Token> {
    loop {
        if let Some(token) = wire.inbox.token().map_err(io::Error::other)? {
            return Ok(token);
        }
        wire.wait()?;
    }
}

#[cfg(test)]
#[path = "pipeline_tests.rs"]
mod tests;
