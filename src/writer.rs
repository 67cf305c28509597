//! Brings one lane into its target: sends, sees what was applied, and after a fault finds its place again.

mod ends;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::batch::Batches;
use crate::config::Limits;
use crate::counters::{LaneCounters, LaneState};
use crate::error::{Error, Kind, Result};
use crate::feed::Feed;
use crate::marker::{LoadId, Marker, Phase};
use crate::sink::exchange::Flush;
use crate::sink::wire::pause;
use crate::sink::{Applied, Attached, Divergence, Fault, Ignored, Secured, Shifted, Sink, Stop, ship};
use crate::source::{Position, Source};
use ends::{MEND, MEND_SCRIPT, SCRIPTS, foreign_marker, lost_marker, taken_over};
pub use ends::{diverged_before, fell_back, interrupted};

/// The pause after a first failure, doubled with each further one up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// See [`PAUSE_MIN`].
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Who writes the markers of this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The run's number; a higher one takes over from a lower one.
    pub run: u64,
    /// A random number.
    pub owner: u64,
}

/// Errors that loading servers get as well, counted by kind, with the first of each.
pub type IgnoredByKind = BTreeMap<&'static str, (u64, Ignored)>;

/// What a lane tells the rest of the program.
#[derive(Debug, Default)]
pub struct LaneBoard {
    /// The marker as last seen in, or acknowledged by, the target.
    pub marker: Mutex<Option<Marker>>,
    /// See [`IgnoredByKind`].
    pub ignored: Mutex<IgnoredByKind>,
    /// Batches that the marker shows applied, but whose replies were lost with a connection: errors
    /// that single commands of them may have met were not seen.
    pub unseen_batches: AtomicU64,
    /// Declared members that were away in the end and not waited for, see [`Secured`].
    pub missing_replicas: AtomicU64,
}

impl LaneBoard {
    /// The marker as last seen.
    pub fn marker(&self) -> Option<Marker> {
        self.marker.lock().ok().and_then(|marker| marker.clone())
    }

    fn show(&self, marker: &Marker) {
        if let Ok(mut shown) = self.marker.lock() {
            *shown = Some(marker.clone());
        }
    }
}

/// What a lane exchanges with others once it is applied.
#[derive(Debug, Default)]
pub struct Handover<'s> {
    /// Whether keys of other lanes' are brought to it.
    pub brings: bool,
    /// The keys that it has held for other lanes, by database.
    pub removes: Vec<(u32, Vec<&'s [u8]>)>,
    /// Whether functions are removed too: it is a lane that nothing is to remain of.
    pub drops_functions: bool,
}

/// Writes to a sink, whose marker it is told, what other lanes hold for it, and tells how many keys it has brought.
pub type Bring<'b> = dyn Fn(&mut dyn Sink, &Marker, &dyn Fn(u64)) -> Result<(), Fault> + 'b;

/// See the module.
pub struct LaneWriter<'s> {
    /// Number of the lane.
    pub lane: usize,
    /// Where it goes.
    pub sink: Box<dyn Sink + 's>,
    /// Where it comes from.
    pub feed: Feed<'s>,
    /// The source, for progress.
    pub source: &'s Source,
    /// The load that all lanes belong to.
    pub load: LoadId,
    /// Who writes the markers.
    pub identity: Identity,
    /// Bounds of memory and patience.
    pub limits: Limits,
    /// Asks to end.
    pub stop: &'s Stop,
    /// Numbers for progress.
    pub counters: &'s LaneCounters,
    /// Markers and errors for checkpoint and report.
    pub board: &'s LaneBoard,
    /// When the target last did something that it had not done before.
    pub alive: Cell<Instant>,
    /// Once everything is applied, the window and batch of the marker then: whoever finds it there again need not look
    /// through the source for more.
    pub complete: Option<(Position, u64)>,
}

/// How a session with the target ended, if it did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Session {
    /// Everything is applied; this is the marker.
    Complete(Marker),
    /// Asked to stop; what was under way is applied.
    Stopped,
}

impl LaneWriter<'_> {
    /// Applies the whole lane, from wherever the target's marker stands; returns the last marker.
    pub fn load(&mut self) -> Result<Marker> {
        self.patiently(Self::applied).inspect(|_| self.counters.set_state(LaneState::Loaded))
    }

    /// Names the shard in an error of this lane's. The scratch lane behind the shards is none.
    pub fn named(&self, error: Error) -> Error {
        if self.lane < self.load.lanes { error.in_shard(self.lane) } else { error }
    }

    /// Brings a lane to [`Phase::Shipping`], or finds it there or further on. What is not applied yet is applied: the
    /// target may have changed to a replica that lags behind.
    pub fn open_for_shipping(&mut self) -> Result<()> {
        self.patiently(|writer| {
            let marker = writer.applied()?;
            if !marker.has_reached(&Phase::Shipping) {
                writer.advance(&marker, Phase::Shipping)?;
            }
            Ok(())
        })
    }

    /// Makes a directory one that a server can start from before it is settled; one try, as for
    /// [`LaneWriter::receive`].
    pub fn publish(&mut self) -> Result<bool> {
        let Some(marker) = self.board.marker() else { return Ok(false) };
        let published = self.sink.settle(&marker, &Shifted::Keys(Vec::new()), &|_, _| {});
        self.tried(published)
    }

    /// Takes in what belongs to this lane, one try: `bring` writes it to the sink. False if that has to be tried again,
    /// after [`LaneWriter::open_for_shipping`] of all lanes.
    pub fn receive(&mut self, bring: &Bring<'_>) -> Result<bool> {
        let Some(marker) = self.board.marker().filter(|marker| marker.phase == Phase::Shipping) else {
            return Ok(true);
        };
        self.counters.set_state(LaneState::Shipping);
        let counters = self.counters;
        counters.shipped_keys.store(0, Ordering::Relaxed);
        let progress = |keys| {
            counters.shipped_keys.fetch_add(keys, Ordering::Relaxed);
        };
        let brought = bring(self.sink.as_mut(), &marker, &progress);
        self.tried(brought)
    }

    /// Writes down that all that belongs to this lane is there, and makes sure of it; one try, as for
    /// [`LaneWriter::receive`]. Has to follow it without anything else in between, so that both speak to one server.
    pub fn confirm(&mut self) -> Result<bool> {
        let Some(marker) = self.board.marker() else { return Ok(false) };
        let confirmed = match marker.phase {
            Phase::Shipping => self.advance(&marker, Phase::Shipped),
            _ => Ok(marker),
        };
        let secured = confirmed.and_then(|marker| self.secure(&marker));
        self.tried(secured)
    }

    /// Tells whether a single try went well; a fault that trying again may cure is none.
    fn tried(&mut self, result: Result<(), Fault>) -> Result<bool> {
        match result {
            Ok(()) => Ok(true),
            Err(Fault::Fatal(error)) => Err(self.stopped(error)),
            Err(Fault::Diverged(divergence)) => Err(self.diverged(*divergence)),
            Err(Fault::Lost(text) | Fault::Wait(text) | Fault::Marker(text)) => {
                tracing::info!(lane = self.lane, "{text}");
                self.counters.set_note(text);
                self.counters.set_state(LaneState::Reconnecting);
                self.counters.reconnects.fetch_add(1, Ordering::Relaxed);
                if self.stop.requested() { Err(self.stopped(interrupted())) } else { Ok(false) }
            }
        }
    }

    /// Brings a lane that is applied to the phase [`Phase::Settled`]: removes what belongs to other lanes, and puts
    /// deadlines right.
    ///
    /// The target may have changed to a replica that lags behind; then the rest is applied first.
    pub fn settle(&mut self, shifted: &Shifted<'_>, handover: &Handover<'_>) -> Result<()> {
        let most = Cell::new(0);
        self.patiently(|writer| {
            let mut marker = writer.applied()?;
            if handover.brings && !marker.has_reached(&Phase::Shipped) {
                // What was brought here may have been removed where it came from.
                return Err(Fault::Fatal(fell_back(&writer.sink.name())));
            }
            writer.counters.set_state(LaneState::Settling);
            if !marker.has_reached(&Phase::Settling) {
                marker = writer.advance(&marker, Phase::Settling)?;
            }
            if marker.phase == Phase::Settling {
                let counters = writer.counters;
                let removes = handover.removes.iter().map(|(_, keys)| keys.len() as u64).sum::<u64>();
                counters.settling_keys.store(removes, Ordering::Relaxed);
                counters.settled_keys.store(0, Ordering::Relaxed);
                let alive = &writer.alive;
                let further = |done: u64| {
                    counters.settled_keys.store(done, Ordering::Relaxed);
                    if done > most.get() {
                        most.set(done);
                        alive.set(Instant::now());
                    }
                };
                let progress = |keys| further(counters.settled_keys.load(Ordering::Relaxed) + keys);
                for (db, keys) in &handover.removes {
                    ship::remove(writer.sink.as_mut(), &marker, (*db, keys), &progress)?;
                }
                if handover.drops_functions {
                    let flush = vec![b"FUNCTION".to_vec(), b"FLUSH".to_vec()];
                    writer.sink.run(&marker, 0, &[flush])?;
                }
                writer.sink.settle(&marker, shifted, &|done, of| {
                    counters.settling_keys.store(removes + of, Ordering::Relaxed);
                    further(removes + done);
                })?;
                writer.secure(&marker)?;
                writer.advance(&marker, Phase::Settled)?;
            }
            Ok(())
        })
        .inspect(|()| self.counters.set_state(LaneState::Done))
    }

    /// Applies what is not applied yet.
    fn applied(&mut self) -> Result<Marker, Fault> {
        match self.session()? {
            Session::Complete(marker) => {
                self.at(self.load.end);
                Ok(marker)
            }
            Session::Stopped => Err(Fault::Fatal(interrupted())),
        }
    }

    /// Takes the marker away, if the target still is as it was settled.
    pub fn finish(&mut self) -> Result<()> {
        self.patiently(|writer| {
            let attached = writer.sink.attach()?;
            let known = writer.board.marker();
            match attached.marker {
                Some(marker) if marker.phase == Phase::Settled && marker.load == writer.load => {
                    writer.sink.finish(&marker)
                }
                // The answer to an earlier attempt was lost.
                None if !attached.is_empty || known.is_none_or(|known| known.server == attached.server) => {
                    Ok(())
                }
                _ => Err(Fault::Fatal(fell_back(&writer.sink.name()))),
            }
        })
    }

    fn secure(&mut self, marker: &Marker) -> Result<(), Fault> {
        let Secured { missing } = self.sink.secure(marker)?;
        self.board.missing_replicas.store(missing as u64, Ordering::Relaxed);
        Ok(())
    }

    fn advance(&mut self, from: &Marker, phase: Phase) -> Result<Marker, Fault> {
        let to = from.in_phase(phase);
        self.sink.exchange(from, &to)?;
        self.board.show(&to);
        Ok(to)
    }

    /// Repeats `attempt` through faults that waiting or looking again can cure.
    fn patiently<T>(&mut self, mut attempt: impl FnMut(&mut Self) -> Result<T, Fault>) -> Result<T> {
        let mut rest = PAUSE_MIN;
        let mut trouble: Option<Instant> = None;
        loop {
            let before = self.alive.get();
            let text = match attempt(self) {
                Ok(value) => return Ok(value),
                Err(Fault::Fatal(error)) => return Err(self.stopped(error)),
                Err(Fault::Diverged(divergence)) => return Err(self.diverged(*divergence)),
                Err(Fault::Lost(text) | Fault::Wait(text) | Fault::Marker(text)) => text,
            };
            if self.alive.get() > before {
                rest = PAUSE_MIN;
            }
            tracing::info!(lane = self.lane, "{text}");
            self.counters.set_note(text.clone());
            self.counters.set_state(LaneState::Reconnecting);
            // A lane may have nothing to send for long, so the clock starts at the first failure.
            let since = trouble.filter(|since| *since > self.alive.get()).unwrap_or_else(Instant::now);
            trouble = Some(since);
            if self.stop.requested() {
                return Err(self.stopped(interrupted()));
            }
            if since.elapsed() >= Duration::from_millis(self.limits.retry_for_ms) {
                return Err(self.stopped(self.gave_up(&text)));
            }
            if pause(rest, self.stop) {
                return Err(self.stopped(interrupted()));
            }
            rest = (rest * 2).min(PAUSE_MAX);
            self.counters.reconnects.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One go: attach, then send from the marker on until the end, a fault, or a request to stop.
    fn session(&mut self) -> Result<Session, Fault> {
        let Some(found) = self.attach()? else {
            return Err(Fault::Fatal(lost_marker(&self.sink.name())));
        };
        self.counters.set_note("");
        self.counters.set_state(LaneState::Loading);
        if found.has_reached(&Phase::Shipping) || self.complete == Some((found.window, found.batch)) {
            return Ok(Session::Complete(found));
        }
        self.feed.rewind(found.window)?;
        let mut sent = found.clone();
        while let Some(part) = self.feed.next_part()? {
            if self.stop.requested() {
                self.drain()?;
                return Ok(Session::Stopped);
            }
            let done = if part.window.start == found.window { found.batch } else { 0 };
            let batches = Batches::new(&part, self.load.batch_commands_max, self.load.batch_bytes_max);
            for batch in batches.filter(|batch| batch.number > done) {
                while self.sink.in_flight_bytes() >= self.limits.in_flight_bytes_max {
                    self.reap(true)?;
                }
                if self.stop.requested() {
                    self.drain()?;
                    return Ok(Session::Stopped);
                }
                let next = sent.advanced(part.window.start, batch.number);
                self.sink.apply(&part, batch, &sent, &next)?;
                sent = next;
                self.reap(false)?;
            }
        }
        self.drain()?;
        self.complete = Some((sent.window, sent.batch));
        Ok(Session::Complete(sent))
    }

    fn drain(&mut self) -> Result<(), Fault> {
        while self.sink.in_flight_bytes() > 0 {
            self.reap(true)?;
        }
        self.sink.rest()
    }

    fn reap(&mut self, wait: bool) -> Result<(), Fault> {
        for applied in self.sink.applied(wait)? {
            self.note(applied);
        }
        self.counters.in_flight_bytes.store(self.sink.in_flight_bytes() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Counts what is applied.
    fn note(&mut self, applied: Applied) {
        self.alive.set(Instant::now());
        self.counters.commands.fetch_add(applied.commands, Ordering::Relaxed);
        self.counters.bytes.fetch_add(applied.bytes, Ordering::Relaxed);
        self.counters.ignored.fetch_add(applied.ignored.len() as u64, Ordering::Relaxed);
        if let Ok(mut kinds) = self.board.ignored.lock() {
            for ignored in applied.ignored {
                kinds.entry(ignored.label).or_insert_with(|| (0, ignored)).0 += 1;
            }
        }
        self.board.show(&applied.marker);
        self.at(applied.marker.window);
    }

    fn at(&self, position: Position) {
        self.counters.position_bytes.store(self.source.bytes_before(position), Ordering::Relaxed);
    }

    /// Attaches and makes the marker this run's own; `None` if there is none any more.
    fn attach(&mut self) -> Result<Option<Marker>, Fault> {
        let attached = self.sink.attach()?;
        let Some(marker) = attached.marker.clone() else { return self.begin_again(&attached) };
        if marker.load != self.load || marker.lane != self.lane {
            return Err(Fault::Fatal(foreign_marker(&self.sink.name(), &marker)));
        }
        let Identity { run, owner } = self.identity;
        if marker.run > run || (marker.run == run && marker.owner != owner) {
            return Err(Fault::Fatal(taken_over(&self.sink.name())));
        }
        if let Phase::Diverged(at) = marker.phase {
            return Err(Fault::Fatal(diverged_before(self.source, at)));
        }
        let own = Marker { run, owner, server: attached.server, ..marker.clone() };
        if own != marker {
            self.sink.exchange(&marker, &own)?;
        }
        self.note_unseen(&own);
        self.board.show(&own);
        self.at(own.window);
        Ok(Some(own))
    }

    /// A target without marker that holds nothing is as good as one at the start of the lane: such is
    /// a replica that was promoted before anything of the load had reached it.
    fn begin_again(&mut self, attached: &Attached) -> Result<Option<Marker>, Fault> {
        let settled = self.board.marker().is_some_and(|marker| marker.phase == Phase::Settled);
        if settled || !attached.is_empty {
            return Ok(None);
        }
        let Identity { run, owner } = self.identity;
        let marker = Marker {
            load: self.load.clone(),
            lane: self.lane,
            run,
            owner,
            server: attached.server,
            phase: Phase::Prepared,
            window: Position::default(),
            batch: 0,
        };
        tracing::warn!(lane = self.lane, "the target is empty: the lane starts again from its beginning");
        self.sink.create(None, &marker, Flush::NOTHING)?;
        self.sink.attach()?;
        self.board.show(&marker);
        Ok(Some(marker))
    }

    /// Counts batches that were applied without their replies being seen: of those in other windows than the last one, how
    /// many they are is not known, only that there are some.
    fn note_unseen(&self, found: &Marker) {
        let Some(known) = self.board.marker() else { return };
        if (found.window, found.batch) > (known.window, known.batch) {
            let batches =
                if found.window == known.window { found.batch - known.batch } else { found.batch.max(1) };
            self.board.unseen_batches.fetch_add(batches, Ordering::Relaxed);
        }
    }

    /// Writes down in the target that it has diverged, so that no later run goes on past it.
    fn diverged(&mut self, Divergence { answered, applied }: Divergence) -> Error {
        if let Some(applied) = applied {
            self.note(applied);
        }
        self.counters.set_state(LaneState::Stopped);
        let recorded = self.attach().and_then(|marker| match marker {
            Some(marker) => self.advance(&marker, Phase::Diverged(answered.at)).map(drop),
            None => Ok(()),
        });
        if let (Err(_), Some(marker)) = (recorded, self.board.marker()) {
            // At least the checkpoint will know.
            self.board.show(&marker.in_phase(Phase::Diverged(answered.at)));
        }
        let is_script = SCRIPTS.iter().any(|name| answered.command.eq_ignore_ascii_case(name));
        let remedy = if is_script { MEND_SCRIPT } else { MEND };
        self.source
            .error(Kind::Diverged, "a target answered as no loading server would", answered.at)
            .shard(self.lane, self.sink.name())
            .place("command", answered.command)
            .key(answered.key)
            .place("answer", answered.text)
            .remedy(remedy)
    }

    fn stopped(&self, error: Error) -> Error {
        self.counters.set_state(LaneState::Stopped);
        error
    }

    fn gave_up(&self, text: &str) -> Error {
        Error::new(Kind::Stopped, "a target stayed away for longer than --retry-for-s allows")
            .shard(self.lane, self.sink.name())
            .place("last answer", text)
            .remedy("bring the target back and run the same command again; it resumes")
    }
}
