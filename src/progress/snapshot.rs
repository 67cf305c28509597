//! The counters at one moment, and what they say about the load as a whole.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::counters::{Counters, LaneCounters, LaneState};

/// What the load as a whole is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The source is looked through.
    Surveying,
    /// It is surveyed, and nothing is sent yet: targets are looked at.
    Preparing,
    /// Commands are sent.
    Loading,
    /// Shards get from each other what belongs to them.
    Shipping,
    /// Deadlines are put right.
    Settling,
    /// All shards are done.
    Done,
    /// All shards have stopped, or are done.
    Stopped,
}

impl Phase {
    /// One word for the user.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Surveying => "surveying",
            Phase::Preparing => "preparing",
            Phase::Loading => "loading",
            Phase::Shipping => "shipping",
            Phase::Settling => "settling",
            Phase::Done => "done",
            Phase::Stopped => "stopped",
        }
    }
}

/// One lane at one moment.
#[derive(Debug, Clone)]
pub struct Lane {
    pub target: String,
    pub state: LaneState,
    pub commands: u64,
    pub bytes: u64,
    pub in_flight_bytes: u64,
    pub ignored: u64,
    pub position_bytes: u64,
    pub shipped_keys: u64,
    pub shipping_keys: u64,
    pub settled_keys: u64,
    pub settling_keys: u64,
    pub note: String,
}

impl Lane {
    fn take(target: &str, lane: &LaneCounters) -> Lane {
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Lane {
            target: target.to_owned(),
            state: lane.state(),
            commands: number(&lane.commands),
            bytes: number(&lane.bytes),
            in_flight_bytes: number(&lane.in_flight_bytes),
            ignored: number(&lane.ignored),
            position_bytes: number(&lane.position_bytes),
            shipped_keys: number(&lane.shipped_keys),
            shipping_keys: number(&lane.shipping_keys),
            settled_keys: number(&lane.settled_keys),
            settling_keys: number(&lane.settling_keys),
            note: lane.note(),
        }
    }

    /// Whether it has applied all of the source.
    fn is_loaded(&self) -> bool {
        matches!(self.state, LaneState::Loaded | LaneState::Shipping | LaneState::Settling | LaneState::Done)
            || self.shipping_keys + self.settling_keys > 0
    }
}

/// All counters at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Time since the beginning.
    pub at: Duration,
    pub source_bytes: u64,
    pub surveyed_bytes: u64,
    pub lanes: Vec<Lane>,
}

impl Snapshot {
    pub fn take(counters: &Counters, at: Duration) -> Snapshot {
        let lanes = counters.lanes.iter().enumerate();
        let target = |number| counters.targets.get(number).map_or("", String::as_str);
        Snapshot {
            at,
            source_bytes: counters.source_bytes,
            surveyed_bytes: counters.surveyed_bytes.load(Ordering::Relaxed),
            lanes: lanes.map(|(number, lane)| Lane::take(target(number), lane)).collect(),
        }
    }

    /// Number of lanes in a state.
    pub fn in_state(&self, state: LaneState) -> usize {
        self.lanes.iter().filter(|lane| lane.state == state).count()
    }

    /// What the load as a whole is doing. No counter says so: the lanes go through it each on its own.
    pub fn phase(&self) -> Phase {
        let any = |state| self.in_state(state) > 0;
        let unloaded = |lane: &Lane| lane.state == LaneState::Reconnecting && !lane.is_loaded();
        if any(LaneState::Loading) || self.lanes.iter().any(unloaded) {
            Phase::Loading
        } else if any(LaneState::Shipping) {
            Phase::Shipping
        } else if any(LaneState::Settling) || any(LaneState::Reconnecting) {
            Phase::Settling
        } else if any(LaneState::Waiting) {
            let begun = self.lanes.iter().any(|lane| lane.state != LaneState::Waiting);
            match (begun, self.surveyed_bytes < self.source_bytes) {
                (true, _) => Phase::Loading,
                (false, true) => Phase::Surveying,
                (false, false) => Phase::Preparing,
            }
        } else if any(LaneState::Stopped) {
            Phase::Stopped
        } else if any(LaneState::Loaded) {
            // All are: what follows is settling, if only to wait for replicas.
            Phase::Settling
        } else {
            Phase::Done
        }
    }

    /// How much of the phase's work is done, and how much there is: keys when shipping and settling, bytes of
    /// the source otherwise.
    pub fn done(&self, phase: Phase) -> (u64, u64) {
        let keys = |of: fn(&Lane) -> u64| self.lanes.iter().map(of).sum();
        match phase {
            Phase::Surveying => (self.surveyed_bytes.min(self.source_bytes), self.source_bytes),
            Phase::Shipping => {
                (keys(|lane| lane.shipped_keys.min(lane.shipping_keys)), keys(|lane| lane.shipping_keys))
            }
            Phase::Settling => {
                (keys(|lane| lane.settled_keys.min(lane.settling_keys)), keys(|lane| lane.settling_keys))
            }
            Phase::Preparing | Phase::Loading | Phase::Done | Phase::Stopped => {
                let unloaded = self.lanes.iter().filter(|lane| !lane.is_loaded());
                let applied = unloaded.map(|lane| lane.position_bytes).min();
                (applied.unwrap_or(self.source_bytes).min(self.source_bytes), self.source_bytes)
            }
        }
    }
}
