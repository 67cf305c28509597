//! Brings keys to the lanes on which they belong, once all lanes are applied.
//!
//! In rounds: every lane is brought to its end, takes in what belongs to it, writes that down and makes sure of it. If
//! any of that fails on any lane, because a target was lost or has changed to another that is behind, all begin
//! another round. Nothing is removed anywhere before a round has gone well on all lanes.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::run::{Run, on_all};
use super::scratch::Scratch;
use crate::error::{Error, Kind, Result};
use crate::marker::{Marker, Phase};
use crate::placement::Foreign;
use crate::sink::ship::{self, Depot, Terms};
use crate::sink::wire::pause;
use crate::sink::{Fault, Sink};
use crate::topology::Target;
use crate::writer::{Handover, LaneWriter, fell_back, interrupted};

/// The pause between two rounds.
const PAUSE: Duration = Duration::from_millis(500);

/// Goes through rounds until one has gone well. Nothing to do if a lane has gone on past them already.
pub fn ship<'s>(run: &Run<'s>, writers: &mut [LaneWriter<'s>]) -> Result<()> {
    let owed = by_own_lane(run);
    for (counters, owed) in run.counters.all().zip(&owed) {
        counters.shipping_keys.store(owed.len() as u64, Ordering::Relaxed);
    }
    let markers = || run.boards.iter().map(|board| board.marker());
    let has = |marker: Option<Marker>, phase| marker.is_some_and(|marker| marker.has_reached(&phase));
    if markers().any(|marker| has(marker, Phase::Settling)) {
        // Keys may have been removed where they came from.
        let behind =
            markers().zip(&owed).position(|(marker, owed)| !owed.is_empty() && !has(marker, Phase::Shipped));
        return behind.map_or(Ok(()), |lane| Err(fell_back(run.counters.target(lane))));
    }
    let patience = Duration::from_millis(run.job.limits.retry_for_ms);
    let done = || run.counters.all().map(|lane| lane.shipped_keys.load(Ordering::Relaxed)).sum::<u64>();
    let (mut since, mut most) = (Instant::now(), 0);
    loop {
        on_all(writers, LaneWriter::open_for_shipping)?;
        if publish(run, writers)? && round(run, &owed, writers)? {
            return Ok(());
        }
        if done() > most {
            (since, most) = (Instant::now(), done());
        }
        if since.elapsed() >= patience {
            return Err(Error::new(
                Kind::Stopped,
                "keys cannot be brought to the shards on which they belong",
            )
            .place("last answer", run.notes())
            .remedy("bring the targets back and run the same command again; it resumes"));
        }
        if pause(PAUSE, run.stop) {
            return Err(interrupted());
        }
    }
}

/// What has to be brought to each lane, sorted by the lane that holds it, and then by database.
fn by_own_lane<'s>(run: &Run<'s>) -> Vec<Vec<&'s Foreign>> {
    let mut owed: Vec<Vec<&Foreign>> = run.boards.iter().map(|_| Vec::new()).collect();
    for one in run.foreign {
        owed[usize::from(one.own)].push(one);
    }
    owed
}

/// Completes the directory from which a private scratch server starts. A live one needs nothing.
fn publish(run: &Run<'_>, writers: &mut [LaneWriter<'_>]) -> Result<bool> {
    if !run.scratch.is_some_and(Scratch::is_private) {
        return Ok(true);
    }
    let scratch = writers.iter_mut().find(|writer| run.is_scratch(writer.lane));
    scratch.map_or(Ok(true), LaneWriter::publish)
}

/// What each lane exchanges with others.
pub fn handovers<'s>(run: &Run<'s>) -> Vec<Handover<'s>> {
    let mut lanes: Vec<Handover<'s>> = run.boards.iter().map(|_| Handover::default()).collect();
    for one in run.foreign {
        lanes[usize::from(one.own)].brings = true;
        if run.is_scratch(usize::from(one.home)) && run.scratch.is_some_and(Scratch::is_private) {
            // All of it goes in the end.
            continue;
        }
        let removes = &mut lanes[usize::from(one.home)].removes;
        let key = one.key.bytes(run.plan.source);
        match removes.last_mut() {
            Some((db, keys)) if *db == one.db => keys.push(key),
            _ => removes.push((one.db, vec![key])),
        }
    }
    if let (Some(false), Some(lane)) = (run.scratch.map(Scratch::is_private), lanes.last_mut()) {
        lane.drops_functions = run.has_functions;
    }
    lanes
}

fn round<'s>(run: &Run<'s>, owed: &[Vec<&Foreign>], writers: &mut [LaneWriter<'s>]) -> Result<bool> {
    let all_well = |step: &(dyn Fn(&mut LaneWriter<'s>) -> Result<bool> + Sync),
                    writers: &mut [LaneWriter<'s>]|
     -> Result<bool> {
        let went_well = std::sync::atomic::AtomicBool::new(true);
        on_all(writers, |writer| {
            if !step(writer)? {
                went_well.store(false, Ordering::SeqCst);
            }
            Ok(())
        })?;
        Ok(went_well.into_inner())
    };
    let receive = |writer: &mut LaneWriter<'s>| {
        let lane = writer.lane;
        writer.receive(&|sink, marker, progress| bring(run, (lane, &owed[lane]), (sink, marker), progress))
    };
    Ok(all_well(&receive, writers)? && all_well(&LaneWriter::confirm, writers)?)
}

/// Brings to a lane what belongs to it, from one lane after the other.
fn bring(
    run: &Run<'_>,
    (lane, owed): (usize, &[&Foreign]),
    (sink, marker): (&mut dyn Sink, &Marker),
    progress: &dyn Fn(u64),
) -> Result<(), Fault> {
    let live = |lane: usize| run.plan.rules.live.get(lane).copied().flatten();
    for held in owed.chunk_by(|one, other| one.home == other.home) {
        let home = usize::from(held[0].home);
        let mut depot = open(run, home)?;
        let unshifts = live(home).is_some() && live(lane).is_none();
        let terms = Terms {
            takes: live(lane),
            unshift_ms: if unshifts { run.load.shift_ms } else { 0 },
            refits: run.is_scratch(home),
        };
        for same_db in held.chunk_by(|one, other| one.db == other.db) {
            let keys: Vec<&[u8]> = same_db.iter().map(|one| one.key.bytes(run.plan.source)).collect();
            ship::ship(&mut depot, (sink, marker), (same_db[0].db, &keys), terms, progress, run.stop)?;
        }
    }
    Ok(())
}

/// Where the keys are that a lane holds for others.
fn open(run: &Run<'_>, home: usize) -> Result<Depot, Fault> {
    let marker = run.boards[home].marker();
    match (run.job.topology.sets.get(home).map(|set| &set.target), run.scratch) {
        (Some(Target::Server(members)), _) => {
            let timeout = Duration::from_millis(run.job.limits.timeout_ms);
            Depot::of(members, &run.job.marker_key, marker, timeout)
        }
        (None, Some(scratch)) => scratch.depot(run.job, marker, run.stop),
        _ => Err(Fault::Fatal(Error::new(Kind::Stopped, "a directory cannot hold keys of other shards"))),
    }
}
