//! The marker: the key in a target that says how much of its lane the target holds.
//!
//! It is written inside the transaction of every batch, so it is never wrong about the data beside it.
//! Its text is documented in docs/formats.md and versioned by its first word.

use std::fmt;
use std::str::FromStr;

use crate::error::shown;
use crate::source::Position;

/// The first word of every marker of this version.
pub const FORMAT: &str = "redcluster-load/1";

/// How far a lane has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// The marker is there and nothing else; the target was found (or made) empty.
    Prepared,
    /// Batches are being applied.
    Loading,
    /// All of the lane is applied; what belongs to it is being brought from other lanes. Lanes that have nothing to
    /// exchange leave this phase and the next one out.
    Shipping,
    /// All of it is there. No lane goes on before every lane is here, and sure of it.
    Shipped,
    /// What belongs to other lanes is being removed, and deadlines are being put right.
    Settling,
    /// Deadlines are right; only the marker remains to be removed.
    Settled,
    /// The target answered a command of the named place as no loading server does; only a restart helps.
    Diverged(Position),
}

impl Phase {
    /// Order of phases, for comparing lanes.
    pub fn rank(&self) -> u8 {
        match self {
            Phase::Prepared => 0,
            Phase::Loading => 1,
            Phase::Shipping => 2,
            Phase::Shipped => 3,
            Phase::Settling => 4,
            Phase::Settled => 5,
            Phase::Diverged(_) => 6,
        }
    }
}

/// What all lanes of a load have in common, and what a rerun has to find again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadId {
    /// Checksum (crc32) of the source's bytes up to `end`.
    pub sum: u32,
    /// Where the load ends; what is appended to the source later is not part of it.
    pub end: Position,
    /// Number of lanes.
    pub lanes: usize,
    /// Which of them are directories, see [`crate::topology::Topology::kinds`]: where names are placed and whether
    /// deadlines are shifted depends on it.
    pub kinds: u32,
    /// Size of the windows in bytes.
    pub window_bytes: u64,
    /// Most commands and bytes in a batch; they decide where batches end.
    pub batch_commands_max: usize,
    /// See `batch_commands_max`.
    pub batch_bytes_max: usize,
    /// Unix time in milliseconds from which relative deadlines count.
    pub clock_ms: i64,
    /// By how many milliseconds deadlines are shifted while loading; 0 if the source has none.
    pub shift_ms: i64,
    /// Commands and values that are left out because they cannot be carried out. Which these are depends on the targets
    /// too, and where batches end depends on them.
    pub left_out: u64,
}

/// A marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// The load it belongs to.
    pub load: LoadId,
    /// The lane it belongs to.
    pub lane: usize,
    /// Counts the runs of the load; a higher one has taken over from a lower one.
    pub run: u64,
    /// Random number of the loader that wrote it.
    pub owner: u64,
    /// Names the life of the server that the marker was written for, see [`crate::sink::Attached::server`].
    pub server: u64,
    /// How far the lane has come.
    pub phase: Phase,
    /// Start of the window that the lane is in.
    pub window: Position,
    /// Batches of that window that are applied.
    pub batch: u64,
}

impl Marker {
    /// This marker in another phase.
    pub fn in_phase(&self, phase: Phase) -> Marker {
        Marker { phase, ..self.clone() }
    }

    /// Whether its lane is in this phase or a later one.
    pub fn has_reached(&self, phase: &Phase) -> bool {
        self.phase.rank() >= phase.rank()
    }

    /// This marker after `batch` batches of the window that starts at `window`.
    pub fn advanced(&self, window: Position, batch: u64) -> Marker {
        Marker { phase: Phase::Loading, window, batch, ..self.clone() }
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match &self.phase {
            Phase::Prepared => "prepared".to_owned(),
            Phase::Loading => "loading".to_owned(),
            Phase::Shipping => "shipping".to_owned(),
            Phase::Shipped => "shipped".to_owned(),
            Phase::Settling => "settling".to_owned(),
            Phase::Settled => "settled".to_owned(),
            Phase::Diverged(at) => format!("diverged@{}", At(*at)),
        };
        let load = &self.load;
        write!(
            f,
            "{FORMAT} phase={phase} window={} batch={} lane={}/{} run={} owner={:016x} server={:016x} end={} sum={:08x} \
             plan={}:{}:{} kinds={:08x} clock={} shift={} left-out={}",
            At(self.window),
            self.batch,
            self.lane,
            load.lanes,
            self.run,
            self.owner,
            self.server,
            At(load.end),
            load.sum,
            load.window_bytes,
            load.batch_commands_max,
            load.batch_bytes_max,
            load.kinds,
            load.clock_ms,
            load.shift_ms,
            load.left_out
        )
    }
}

/// Why some text is not a marker that this version can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Written by another version of the format.
    #[error("it was written by another version ({0})")]
    Version(String),
    /// Not a marker.
    #[error("it is not a marker: {0}")]
    Text(String),
}

impl FromStr for Marker {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let mut words = text.split(' ');
        match words.next() {
            Some(FORMAT) => {}
            Some(word) if word.starts_with("redcluster-load/") => {
                return Err(Unreadable::Version(shown(word.as_bytes())));
            }
            _ => return Err(Unreadable::Text(shown(text.as_bytes()))),
        }
        let pairs: Vec<(&str, &str)> = words.filter_map(|word| word.split_once('=')).collect();
        let field = |name: &str| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        parse(&field).ok_or_else(|| Unreadable::Text(shown(text.as_bytes())))
    }
}

fn parse<'t>(field: &dyn Fn(&str) -> Option<&'t str>) -> Option<Marker> {
    let (lane, lanes) = field("lane")?.split_once('/')?;
    let mut plan = field("plan")?.split(':');
    let phase = match field("phase")? {
        "prepared" => Phase::Prepared,
        "loading" => Phase::Loading,
        "shipping" => Phase::Shipping,
        "shipped" => Phase::Shipped,
        "settling" => Phase::Settling,
        "settled" => Phase::Settled,
        other => Phase::Diverged(position(other.strip_prefix("diverged@")?)?),
    };
    Some(Marker {
        load: LoadId {
            sum: u32::from_str_radix(field("sum")?, 16).ok()?,
            end: position(field("end")?)?,
            lanes: lanes.parse().ok()?,
            kinds: u32::from_str_radix(field("kinds")?, 16).ok()?,
            window_bytes: plan.next()?.parse().ok()?,
            batch_commands_max: plan.next()?.parse().ok()?,
            batch_bytes_max: plan.next()?.parse().ok()?,
            clock_ms: field("clock")?.parse().ok()?,
            shift_ms: field("shift")?.parse().ok()?,
            left_out: field("left-out")?.parse().ok()?,
        },
        lane: lane.parse().ok()?,
        run: field("run")?.parse().ok()?,
        owner: u64::from_str_radix(field("owner")?, 16).ok()?,
        server: u64::from_str_radix(field("server")?, 16).ok()?,
        phase,
        window: position(field("window")?)?,
        batch: field("batch")?.parse().ok()?,
    })
}

/// Shows a position as `segment:offset`.
struct At(Position);

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.0.segment, self.0.offset)
    }
}

fn position(text: &str) -> Option<Position> {
    let (segment, offset) = text.split_once(':')?;
    Some(Position { segment: segment.parse().ok()?, offset: offset.parse().ok()? })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> Marker {
        Marker {
            load: LoadId {
                sum: 0xdead_beef,
                end: Position { segment: 1, offset: 5_000_000_000 },
                lanes: 3,
                kinds: 0xf00d,
                window_bytes: 4 << 20,
                batch_commands_max: 1000,
                batch_bytes_max: 1 << 20,
                clock_ms: 1_700_000_000_000,
                shift_ms: 4_000_000_000_000_000,
                left_out: 0,
            },
            lane: 2,
            run: 4,
            owner: 0x0123_4567_89ab_cdef,
            server: 0xfeed,
            phase: Phase::Loading,
            window: Position { segment: 0, offset: 4_194_310 },
            batch: 17,
        }
    }

    /// The durable text: a change here is a change of the format, which needs a new version.
    #[test]
    fn golden_text() {
        assert_eq!(
            example().to_string(),
            "redcluster-load/1 phase=loading window=0:4194310 batch=17 lane=2/3 run=4 owner=0123456789abcdef \
             server=000000000000feed end=1:5000000000 sum=deadbeef plan=4194304:1000:1048576 \
             kinds=0000f00d clock=1700000000000 shift=4000000000000000 left-out=0"
        );
    }

    #[test]
    fn every_phase_survives_the_text() {
        let at = Position { segment: 3, offset: 9 };
        let loading = [Phase::Prepared, Phase::Loading, Phase::Shipping, Phase::Shipped];
        for phase in loading.into_iter().chain([Phase::Settling, Phase::Settled, Phase::Diverged(at)]) {
            let marker = example().in_phase(phase);
            assert_eq!(marker.to_string().parse(), Ok(marker));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        assert!(matches!("redcluster-load/2 x=y".parse::<Marker>(), Err(Unreadable::Version(_))));
        for text in ["", "hello", FORMAT, "redcluster-load/1 phase=loading"] {
            assert!(matches!(text.parse::<Marker>(), Err(Unreadable::Text(_))), "{text}");
        }
    }
}
