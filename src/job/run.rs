//! Runs a load that is prepared: partitions for all lanes, drives their writers, settles, tidies up.

use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rayon::ThreadPool;
use rayon::prelude::*;

use super::scratch::Scratch;
use super::{shifted, ship};
use crate::checkpoint::{Checkpoint, Lane, Status};
use crate::config::Job;
use crate::counters::{Counters, LaneState};
use crate::error::{Error, Kind, Result};
use crate::feed::{Feed, Numbered, Plan};
use crate::marker::{LoadId, Phase};
use crate::placement::Foreign;
use crate::sink::{Shifted, Sink, Stop};
use crate::writer::{Identity, LaneBoard, LaneWriter};

/// Parts that wait for a lane's writer: enough to bridge the moment until the next ones are ready.
const QUEUE_PARTS_MAX: usize = 4;
/// Windows partitioned in one go, for each thread.
const WINDOWS_PER_THREAD: usize = 2;
/// How often a full queue is tried again.
const QUEUE_RETRY: Duration = Duration::from_millis(1);

/// A load that is ready to run.
pub struct Run<'s> {
    /// The plan of the user.
    pub job: &'s Job,
    /// What the lanes read.
    pub plan: Plan<'s>,
    /// What lanes hold for others when all are applied.
    pub foreign: &'s [Foreign],
    /// Where the lane behind those of the shards goes, if there is one.
    pub scratch: Option<&'s Scratch>,
    /// Whether the source has functions.
    pub has_functions: bool,
    /// Which load it is.
    pub load: LoadId,
    /// Who writes the markers.
    pub identity: Identity,
    /// Asks to end early.
    pub stop: &'s Stop,
    /// Numbers for progress.
    pub counters: &'s Arc<Counters>,
    /// What the lanes tell.
    pub boards: &'s [LaneBoard],
    /// Threads that partition.
    pub pool: &'s ThreadPool,
    /// How far the load is, for the checkpoint.
    pub status: Mutex<Status>,
}

impl<'s> Run<'s> {
    /// Applies all lanes; gives back their writers, settled or not, with what went wrong.
    pub fn load(
        &self,
        sinks: Vec<Box<dyn Sink + 's>>,
        starts: &[usize],
    ) -> (Vec<LaneWriter<'s>>, Result<()>) {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            sinks.iter().map(|_| sync_channel(QUEUE_PARTS_MAX)).unzip();
        thread::scope(|scope| {
            let lanes = sinks.into_iter().zip(receivers).enumerate();
            let running: Vec<_> = lanes
                .map(|(lane, (sink, queue))| {
                    let mut writer = self.writer(lane, sink, Feed::new(self.plan, lane, Some(queue)));
                    scope.spawn(move || {
                        let result = writer.load().map(drop).map_err(|error| writer.named(error));
                        if result.is_err() {
                            writer.stop.request();
                        }
                        (writer, result)
                    })
                })
                .collect();
            let dispatched = self.pool.install(|| self.dispatch(senders, starts));
            if dispatched.is_err() {
                self.stop.request();
            }
            let mut writers = Vec::new();
            let mut results = vec![dispatched];
            for thread in running {
                match thread.join() {
                    Ok((writer, result)) => {
                        writers.push(writer);
                        results.push(result);
                    }
                    Err(_) => results.push(Err(panicked())),
                }
            }
            (writers, first_cause(results))
        })
    }

    /// Settles all lanes, in parallel.
    pub fn settle(&self, writers: &mut [LaneWriter<'s>]) -> Result<()> {
        if !self.foreign.is_empty() {
            ship::ship(self, writers)?;
        }
        if let Some(scratch) = self.scratch {
            scratch.end_server();
        }
        let handovers = ship::handovers(self);
        let wander = !self.foreign.is_empty();
        let shifted = self.pool.install(|| shifted::find(&self.plan, self.load.shift_ms > 0, wander))?;
        on_all(writers, |writer| writer.settle(&shifted[writer.lane], &handovers[writer.lane]))
    }

    /// Whether a lane is the one behind those of the shards.
    pub fn is_scratch(&self, lane: usize) -> bool {
        lane >= self.load.lanes
    }

    /// Why lanes wait, in words.
    pub fn notes(&self) -> String {
        let notes = self.counters.all().map(|lane| lane.note()).filter(|note| !note.is_empty());
        notes.collect::<Vec<_>>().join("; ")
    }

    /// Takes all markers away.
    pub fn finish(&self, writers: &mut [LaneWriter<'s>]) -> Result<()> {
        let shards = self.load.lanes.min(writers.len());
        on_all(&mut writers[..shards], LaneWriter::finish)
    }

    /// Leaves nothing of the scratch lane. All lanes are settled.
    pub fn finish_scratch(&self, writers: &mut [LaneWriter<'s>]) -> Result<()> {
        let Some(scratch) = self.scratch else { return Ok(()) };
        if let (false, Some(writer)) = (scratch.is_private(), writers.get_mut(self.load.lanes))
            && let Some(marker) = writer.board.marker()
        {
            if marker.phase != Phase::Settled {
                // A run that was killed may have left it behind the others.
                let handover = ship::handovers(self).pop().unwrap_or_default();
                writer.settle(&Shifted::Keys(Vec::new()), &handover)?;
            }
            writer.finish()?;
        }
        scratch.remove()
    }

    /// Writers without queue, for a load whose lanes are all applied.
    pub fn writers(&self, sinks: Vec<Box<dyn Sink + 's>>) -> Vec<LaneWriter<'s>> {
        let lanes = sinks.into_iter().enumerate();
        lanes.map(|(lane, sink)| self.writer(lane, sink, Feed::new(self.plan, lane, None))).collect()
    }

    fn writer(&self, lane: usize, sink: Box<dyn Sink + 's>, feed: Feed<'s>) -> LaneWriter<'s>
    where
        Self: 's,
    {
        LaneWriter {
            lane,
            sink,
            feed,
            source: self.plan.source,
            load: self.load.clone(),
            identity: self.identity,
            limits: self.job.limits,
            stop: self.stop,
            counters: self.counters.lane(lane),
            board: &self.boards[lane],
            alive: std::cell::Cell::new(std::time::Instant::now()),
            complete: None,
        }
    }

    /// Partitions the windows in order and hands out the parts. A lane gets them from `starts[lane]` on.
    fn dispatch(&self, senders: Vec<SyncSender<Numbered>>, starts: &[usize]) -> Result<()> {
        let group = WINDOWS_PER_THREAD * rayon::current_num_threads();
        let end = self.plan.windows.len();
        let first = starts.iter().copied().min().unwrap_or(end);
        let ready = |from: usize| -> Result<Vec<Vec<Arc<crate::partition::LanePart>>>> {
            let numbers = from..(from + group).min(end);
            let parts = numbers
                .into_par_iter()
                .map(|number| Ok(self.plan.partition(number)?.into_iter().map(Arc::new).collect()));
            parts.collect()
        };
        let mut at = first;
        let mut parts = ready(at)?;
        while !parts.is_empty() && !self.stop.requested() {
            let (next, ()) = rayon::join(|| ready(at + group), || self.hand_out(at, parts, &senders, starts));
            at += group;
            parts = next?;
        }
        Ok(())
    }

    fn hand_out(
        &self,
        from: usize,
        windows: Vec<Vec<Arc<crate::partition::LanePart>>>,
        senders: &[SyncSender<Numbered>],
        starts: &[usize],
    ) {
        for (number, parts) in (from..).zip(windows) {
            for (lane, part) in parts.into_iter().enumerate() {
                if number >= starts[lane] {
                    self.hand_to(lane, (number, part), &senders[lane]);
                }
            }
        }
    }

    /// Waits for room in a lane's queue, but not for a lane whose target is away: that one will
    /// partition for itself what it missed.
    fn hand_to(&self, lane: usize, mut numbered: Numbered, sender: &SyncSender<Numbered>) {
        loop {
            match sender.try_send(numbered) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(back)) => numbered = back,
            }
            if self.stop.requested() || self.counters.lane(lane).state() == LaneState::Reconnecting {
                return;
            }
            thread::sleep(QUEUE_RETRY);
        }
    }

    /// Goes on to another status, and writes it down before anything else is done.
    pub fn enter(&self, status: Status) -> Result<()> {
        if let Ok(mut now) = self.status.lock() {
            *now = status;
        }
        self.record()
    }

    /// Writes the checkpoint file as the lanes stand now.
    pub fn record(&self) -> Result<()> {
        // Held while writing, so that an older record cannot replace a newer one.
        let now = self.status.lock();
        let status = now.as_deref().copied().unwrap_or(Status::Loading);
        let lanes = self.boards.iter().enumerate().map(|(lane, board)| Lane {
            target: self.counters.target(lane).to_owned(),
            marker: board.marker().map(|marker| marker.to_string()).unwrap_or_default(),
        });
        let lanes: Vec<Lane> = lanes.collect();
        let diverged = self
            .boards
            .iter()
            .any(|board| board.marker().is_some_and(|m| matches!(m.phase, Phase::Diverged(_))));
        let status = if diverged { Status::Diverged } else { status };
        Checkpoint::new(status, &self.job.source, lanes).write(&self.job.checkpoint)
    }
}

/// Takes a step with all lanes at once.
pub(super) fn on_all<'s>(
    writers: &mut [LaneWriter<'s>],
    step: impl Fn(&mut LaneWriter<'s>) -> Result<()> + Sync,
) -> Result<()> {
    let results = thread::scope(|scope| {
        let running: Vec<_> = writers
            .iter_mut()
            .map(|writer| scope.spawn(|| step(writer).map_err(|error| writer.named(error))))
            .collect();
        running.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(panicked()))).collect()
    });
    first_cause(results)
}

/// The error that made the others stop: the first that is not merely their stopping.
fn first_cause(results: Vec<Result<()>>) -> Result<()> {
    let mut errors: Vec<Error> = results.into_iter().filter_map(Result::err).collect();
    match errors.iter().position(|error| error.kind() != Kind::Interrupted) {
        Some(at) => Err(errors.swap_remove(at)),
        None => errors.pop().map_or(Ok(()), Err),
    }
}

fn panicked() -> Error {
    Error::new(Kind::Stopped, "a thread of the loader ended unexpectedly")
        .remedy("run the same command again, it resumes; please report this with the text above")
}
