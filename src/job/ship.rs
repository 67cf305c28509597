//! Brings keys to the lanes on which they belong, once all lanes are applied.
//!
//! In rounds: every lane is brought to its end, takes in what belongs to it, writes that down and makes sure of it. If
//! any of that fails on any lane, because a target was lost or has changed to another that is behind, all begin
//! another round. Nothing is removed anywhere before a round has gone well on all lanes.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::run::{Run, on_all};
use crate::error::{Error, Kind, Result};
use crate::marker::{Marker, Phase};
use crate::placement::Foreign;
use crate::sink::ship::{self, Depot};
use crate::sink::wire::pause;
use crate::sink::{Fault, Sink, server};
use crate::topology::Target;
use crate::writer::{Exchange, LaneWriter, fell_back, interrupted};

/// The pause between two rounds.
const PAUSE: Duration = Duration::from_millis(500);

/// Goes through rounds until one has gone well. Nothing to do if a lane has gone on past them already.
pub fn ship<'s>(run: &Run<'s>, writers: &mut [LaneWriter<'s>]) -> Result<()> {
    for (lane, counters) in run.counters.lanes.iter().enumerate() {
        let keys = run.foreign.iter().filter(|foreign| usize::from(foreign.own) == lane).count() as u64;
        counters.shipping_keys.store(keys, Ordering::Relaxed);
    }
    let markers = || run.boards.iter().map(|board| board.marker());
    let has = |marker: Option<Marker>, phase| marker.is_some_and(|marker| marker.has_reached(&phase));
    if markers().any(|marker| has(marker, Phase::Settling)) {
        // Keys may have been removed where they came from.
        let behind = markers().enumerate().find(|(lane, marker)| {
            !has(marker.clone(), Phase::Shipped)
                && run.foreign.iter().any(|one| usize::from(one.own) == *lane)
        });
        return behind.map_or(Ok(()), |(lane, _)| Err(fell_back(&run.counters.targets[lane])));
    }
    let patience = Duration::from_millis(run.job.limits.retry_for_ms);
    let done =
        || run.counters.lanes.iter().map(|lane| lane.shipped_keys.load(Ordering::Relaxed)).sum::<u64>();
    let (mut since, mut most) = (Instant::now(), 0);
    loop {
        on_all(writers, LaneWriter::open_for_shipping)?;
        if round(run, writers)? {
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

/// What each lane exchanges with others.
pub fn exchanges<'s>(run: &Run<'s>) -> Vec<Exchange<'s>> {
    let mut lanes: Vec<Exchange<'s>> = run.boards.iter().map(|_| Exchange::default()).collect();
    for one in run.foreign {
        lanes[usize::from(one.own)].brings = true;
        let removes = &mut lanes[usize::from(one.home)].removes;
        let key = one.key.bytes(run.plan.source);
        match removes.last_mut() {
            Some((db, keys)) if *db == one.db => keys.push(key),
            _ => removes.push((one.db, vec![key])),
        }
    }
    lanes
}

fn round<'s>(run: &Run<'s>, writers: &mut [LaneWriter<'s>]) -> Result<bool> {
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
        writer.receive(&|sink, marker, progress| bring(run, lane, (sink, marker), progress))
    };
    Ok(all_well(&receive, writers)? && all_well(&LaneWriter::confirm, writers)?)
}

/// Brings to a lane what belongs to it, from one lane after the other.
fn bring(
    run: &Run<'_>,
    lane: usize,
    (sink, marker): (&mut dyn Sink, &Marker),
    progress: &dyn Fn(u64),
) -> Result<(), Fault> {
    let takes = run.plan.rules.live.get(lane).copied().flatten();
    let argument_bytes_max = takes.map_or(u64::MAX, |takes| takes.argument_bytes_max);
    // They are sorted by the lane that holds them, and then by database.
    for homes in run.foreign.chunk_by(|one, other| one.home == other.home) {
        let own: Vec<&Foreign> = homes.iter().filter(|one| usize::from(one.own) == lane).collect();
        let Some(first) = own.first() else { continue };
        let mut depot = open(run, usize::from(first.home))?;
        for same_db in own.chunk_by(|one, other| one.db == other.db) {
            let keys: Vec<&[u8]> = same_db.iter().map(|one| one.key.bytes(run.plan.source)).collect();
            ship::ship(
                &mut depot,
                (sink, marker),
                (same_db[0].db, &keys),
                argument_bytes_max,
                progress,
                run.stop,
            )?;
        }
    }
    Ok(())
}

/// Where the keys are that a lane holds for others.
fn open(run: &Run<'_>, home: usize) -> Result<Depot, Fault> {
    let set = run.job.topology.sets.get(home);
    let Some(Target::Server(members)) = set.map(|set| &set.target) else {
        return Err(Fault::Fatal(Error::new(Kind::Stopped, "a directory cannot hold keys of other shards")));
    };
    let marker = run.boards[home].marker().ok_or_else(|| Fault::Lost("a marker is not known yet".into()))?;
    let timeout = Duration::from_millis(run.job.limits.timeout_ms);
    let (endpoint, connection) = server::connect_to_master(members, None, timeout)?;
    let guard = (run.job.marker_key.clone(), marker.to_string());
    Ok(Depot::new(connection, endpoint.to_string(), Some(guard)))
}
