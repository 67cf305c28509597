//! What is going on, in numbers: written by the working threads, read by progress and checkpoint.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

/// What the lane behind those of the shards is called.
pub const SCRATCH: &str = "scratch";

/// What a lane is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum LaneState {
    /// Nothing yet.
    Waiting,
    /// Sending batches.
    Loading,
    /// Its target is away, or asked for patience.
    Reconnecting,
    /// All of it is applied.
    Loaded,
    /// Getting what belongs to it from other shards.
    Shipping,
    /// Putting deadlines right.
    Settling,
    /// Done.
    Done,
    /// Stopped by an error or a signal.
    Stopped,
}

impl LaneState {
    const ALL: [LaneState; 8] = [
        LaneState::Waiting,
        LaneState::Loading,
        LaneState::Reconnecting,
        LaneState::Loaded,
        LaneState::Shipping,
        LaneState::Settling,
        LaneState::Done,
        LaneState::Stopped,
    ];

    /// One word for the user.
    pub fn word(self) -> &'static str {
        match self {
            LaneState::Waiting => "waiting",
            LaneState::Loading => "loading",
            LaneState::Reconnecting => "reconnecting",
            LaneState::Loaded => "loaded",
            LaneState::Shipping => "shipping",
            LaneState::Settling => "settling",
            LaneState::Done => "done",
            LaneState::Stopped => "stopped",
        }
    }
}

/// The numbers of one lane; all of them count this run only, but `position_bytes`.
#[derive(Debug, Default)]
pub struct LaneCounters {
    /// Commands that the target has applied.
    pub commands: AtomicU64,
    /// Their bytes in the source.
    pub bytes: AtomicU64,
    /// Bytes sent and not yet answered.
    pub in_flight_bytes: AtomicU64,
    /// Commands answered with an error that a loading server gets and ignores as well.
    pub ignored: AtomicU64,
    /// Times the target was lost and found again.
    pub reconnects: AtomicU64,
    /// Bytes of the source up to which the lane is applied, what it was resumed at included.
    pub position_bytes: AtomicU64,
    /// Keys looked at for other shards that this one has got; and how many there are, 0 before it begins.
    pub shipped_keys: AtomicU64,
    /// See `shipped_keys`.
    pub shipping_keys: AtomicU64,
    /// Keys removed or looked at while settling.
    pub settled_keys: AtomicU64,
    /// Keys to remove or look at while settling; 0 before it begins.
    pub settling_keys: AtomicU64,
    /// Why it waits, for the user.
    pub note: Mutex<String>,
    state: AtomicU8,
}

impl LaneCounters {
    /// What the lane is doing.
    pub fn state(&self) -> LaneState {
        LaneState::ALL
            .get(usize::from(self.state.load(Ordering::Relaxed)))
            .copied()
            .unwrap_or(LaneState::Waiting)
    }

    /// Says what the lane is doing.
    pub fn set_state(&self, state: LaneState) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// Says why the lane waits; an empty text clears it.
    pub fn set_note(&self, note: impl Into<String>) {
        if let Ok(mut held) = self.note.lock() {
            *held = note.into();
        }
    }

    /// Why the lane waits.
    pub fn note(&self) -> String {
        self.note.lock().map(|note| note.clone()).unwrap_or_default()
    }
}

/// The numbers of a load.
#[derive(Debug)]
pub struct Counters {
    /// By lane, those of the shards.
    pub lanes: Vec<LaneCounters>,
    /// Those of the scratch lane, once there is known to be one.
    scratch: OnceLock<LaneCounters>,
    /// Names of the targets, by lane, for the user.
    pub targets: Vec<String>,
    /// Bytes of the source that the load covers.
    pub source_bytes: u64,
    /// Bytes of it that the survey has seen.
    pub surveyed_bytes: AtomicU64,
}

impl Counters {
    /// All zero.
    pub fn new(targets: Vec<String>, source_bytes: u64) -> Self {
        let lanes = targets.iter().map(|_| LaneCounters::default()).collect();
        let surveyed_bytes = AtomicU64::new(0);
        Counters { lanes, scratch: OnceLock::new(), targets, source_bytes, surveyed_bytes }
    }

    /// Counts for a scratch lane from now on.
    pub fn add_scratch(&self) {
        self.scratch.get_or_init(LaneCounters::default);
    }

    /// All lanes: the shards', and behind them the scratch lane if there is one.
    pub fn all(&self) -> impl Iterator<Item = &LaneCounters> {
        self.lanes.iter().chain(self.scratch.get())
    }

    /// One lane.
    pub fn lane(&self, number: usize) -> &LaneCounters {
        self.lanes.get(number).unwrap_or_else(|| self.scratch.get_or_init(LaneCounters::default))
    }

    /// The name of a lane's target.
    pub fn target(&self, lane: usize) -> &str {
        self.targets.get(lane).map_or(SCRATCH, String::as_str)
    }

    /// Bytes of the source that all lanes have applied.
    pub fn applied_bytes(&self) -> u64 {
        self.all().map(|lane| lane.position_bytes.load(Ordering::Relaxed)).min().unwrap_or(0)
    }
}
