//! Splits windows of the source into the lanes' parts: spans of the map, never copies.

mod commands;
mod ops;
mod trace;
pub mod values;

pub use commands::{Spot, Step, lanes_of, revisit, scan, split_keys, split_unit, walk};
pub use ops::{Ops, Spare};
pub use trace::{Trace, retrace};

use crate::command::keys;
use crate::error::{Kind, Result};
use crate::rdb::{Entry, Item};
use crate::resp::frame::{self, Arguments};
use crate::route::{Form, Reach, Routed, Rules};
use crate::source::map::Stamp;
use crate::source::window::{Content, Window};
use crate::source::{Position, Source};
use crate::survey::Surveyed;

/// Bytes of source in a window for each lane; see [`window_bytes`].
const WINDOW_BYTES_PER_LANE: u64 = 1 << 20;

/// The size of windows for a number of lanes: enough that each lane gets full batches out of one, and
/// bounded, since windows under way bound the memory. A pure function of the routing.
pub fn window_bytes(lanes: usize) -> u64 {
    (lanes as u64 * WINDOW_BYTES_PER_LANE).clamp(4 << 20, 16 << 20)
}

/// Steps for which a lane's part has room at least.
const OPS_MIN: usize = 64;

/// What a lane does with a span of the source, or with its own state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send the command in this form.
    Send(Form),
    /// The same for a SWAPDB, which would carry the marker to another database.
    Swap(Form),
    /// Change to the database that `Op::start` holds.
    Select,
    /// Set the key of an RDB part's entry, its deadlines shifted if the form is [`Form::Rewritten`].
    Value(Form),
    /// Load the functions of an RDB part's entry.
    Library,
}

/// One step of a lane: small, since there is one for every command under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Op {
    /// Offset of the command in the window (or the database, for [`Action::Select`]).
    pub start: u32,
    /// Its length in bytes; `u32::MAX` if it is that long or longer.
    pub len: u32,
    /// Number of its transaction in the window, 0 if it is in none.
    pub transaction: u32,
    /// What it reads and writes.
    pub reach: Reach,
    /// What to do with it.
    pub action: Action,
    /// The same for all commands of one name, or values of one type.
    pub row: u16,
}
const _: () = assert!(size_of::<Op>() == 24);

/// The part of one window that belongs to one lane.
#[derive(Debug)]
pub struct LanePart {
    /// The window.
    pub window: Window,
    /// Checksum (crc32) of the window's bytes.
    pub sum: u32,
    /// What tells whether the window's file was written to since the checksum was compared.
    pub stamp: Option<Stamp>,
    /// What the lane does, in order.
    pub ops: Ops,
    /// For each split command where it starts in the window, and its number among the commands of the source.
    pub ordinals: Vec<(u32, u64)>,
}

impl Op {
    /// The bytes of its command, of those of its window.
    #[inline]
    pub fn bytes<'w>(&self, window: &'w [u8]) -> &'w [u8] {
        let start = self.start as usize;
        if self.len < u32::MAX {
            return window.get(start..start + self.len as usize).unwrap_or_default();
        }
        let rest = window.get(start..).unwrap_or_default();
        let left = frame::record(rest).map_or(0, |(left, _)| left.len());
        &rest[..rest.len() - left]
    }
}

impl LanePart {
    /// The bytes of a command of this part.
    pub fn bytes<'s>(&self, source: &'s Source, op: &Op) -> &'s [u8] {
        op.bytes(self.window.bytes(source))
    }

    /// An entry of this part, of an RDB part; `None` only if the source was changed under the map.
    pub fn entry<'s>(&self, source: &'s Source, op: &Op) -> Option<Entry<'s>> {
        let at = Window { start: self.position(op), ..self.window };
        at.entries(source.bytes(at.start.segment)).ok()?.next()?.ok()
    }

    /// A step's command and its key, escaped, or what stands for them in an RDB part; for messages.
    pub fn names(&self, source: &Source, op: &Op) -> (String, String) {
        if let Content::Rdb(_) = self.window.content {
            return self.entry(source, op).map_or_else(Default::default, |entry| values::names(&entry.item));
        }
        keys::told(Arguments::of(self.bytes(source, op)))
    }

    /// The number of a split command of this part among the commands of the source.
    pub fn ordinal(&self, op: &Op) -> u64 {
        let found = self.ordinals.binary_search_by_key(&op.start, |(start, _)| *start);
        found.ok().and_then(|at| self.ordinals.get(at)).map_or(0, |(_, ordinal)| *ordinal)
    }

    /// Refuses to commit what was read from the window if the window was changed since.
    pub fn check(&self, source: &Source) -> Result<()> {
        let unchanged = self.stamp.is_some() && self.stamp == source.stamp(self.window.start.segment);
        if unchanged || crc32fast::hash(self.window.bytes(source)) == self.sum {
            return Ok(());
        }
        Err(changed(source, self.window.start))
    }

    /// Where a command of this part stands in the source.
    pub fn position(&self, op: &Op) -> Position {
        Position { offset: self.window.start.offset + u64::from(op.start), ..self.window.start }
    }
}

/// Splits a window; element i is lane i's part, in memory from `spare`.
pub fn partition(
    source: &Source,
    surveyed: &Surveyed,
    rules: &Rules,
    spare: &Spare,
) -> Result<Vec<LanePart>> {
    let Surveyed { window, sum, .. } = surveyed;
    source.check(window.start.segment)?;
    let stamp = source.stamp(window.start.segment);
    if crc32fast::hash(window.bytes(source)) != *sum {
        return Err(changed(source, window.start));
    }
    let lanes = rules.lanes();
    let part = |lane| {
        // Room for somewhat more than a lane gets on average: growing would cost more than all else.
        let ops = spare.ops(lane, surveyed.commands as usize / lanes * 9 / 8 + OPS_MIN);
        LanePart { window: *window, sum: *sum, stamp, ops, ordinals: Vec::new() }
    };
    let mut split =
        Split { parts: (0..lanes).map(part).collect(), selected: vec![window.db; lanes], torn: None };
    match window.content {
        Content::Commands => {
            walk(source, surveyed, rules, |step| match step.routed {
                Routed::Lane(lane, form, reach) => {
                    split.push(lane, step.command.db, op(step, Action::Send(form), reach));
                }
                // A copy, so that no address of the step itself is taken, which would keep all steps out of registers.
                _ => split.rarer(&{ *step }, rules),
            })?;
        }
        Content::Rdb(_) => values::walk(source, surveyed, rules, |step| {
            split.entry(&step);
            Ok(())
        })?,
    }
    match split.torn {
        None => Ok(split.parts),
        Some(start) => {
            Err(torn(source, Position { offset: window.start.offset + start as u64, ..window.start }))
        }
    }
}

/// Parts under construction.
struct Split {
    parts: Vec<LanePart>,
    /// Each lane selects a database only when it has something to do there.
    selected: Vec<u32>,
    /// Where a command starts whose names are on several lanes all the same.
    torn: Option<usize>,
}

impl Split {
    /// Takes in a command that does not go to one lane as it is.
    #[inline(never)]
    fn rarer(&mut self, step: &Step<'_>, rules: &Rules) {
        let lanes = self.parts.len();
        let op = |action, reach| op(step, action, reach);
        let db = step.command.db;
        match step.routed {
            Routed::Lane(lane, form, reach) => self.push(lane, db, op(Action::Send(form), reach)),
            Routed::Every(form) => {
                let swaps = step.command.name().eq_ignore_ascii_case(b"SWAPDB");
                let action = if swaps { Action::Swap(form) } else { Action::Send(form) };
                (0..lanes).for_each(|lane| self.push(lane, db, op(action, Reach::All)));
            }
            Routed::Parts => {
                for lane in lanes_of(&step.command, rules) {
                    self.push(lane, db, op(Action::Send(Form::Part), Reach::Arguments));
                    self.parts[lane].ordinals.push((step.start as u32, step.command.ordinal));
                }
            }
            Routed::Tied => self.torn = self.torn.or(Some(step.start)),
            // What is refused stops the survey, unless the user asked to leave it out.
            Routed::State(_) | Routed::Nowhere | Routed::Refused(_) => {}
        }
    }

    fn entry(&mut self, step: &values::Step<'_, '_>) {
        let op = |action, reach| Op {
            start: step.start as u32,
            len: u32::try_from(step.len).unwrap_or(u32::MAX),
            transaction: 0,
            reach,
            action,
            row: match step.item {
                Item::Value(value) => u16::from(value.object.kind.type_byte()),
                _ => u16::MAX,
            },
        };
        match step.routed {
            Routed::Lane(lane, form, reach) => self.push(lane, step.db, op(Action::Value(form), reach)),
            Routed::Every(_) => {
                let lanes = self.parts.len();
                (0..lanes).for_each(|lane| self.push(lane, step.db, op(Action::Library, Reach::All)));
            }
            Routed::Parts | Routed::State(_) | Routed::Nowhere | Routed::Tied | Routed::Refused(_) => {}
        }
    }

    #[inline(always)]
    fn push(&mut self, lane: usize, db: u32, op: Op) {
        if self.selected[lane] != db {
            self.select(lane, db, op.transaction);
        }
        self.parts[lane].ops.push(op);
    }

    #[cold]
    fn select(&mut self, lane: usize, db: u32, transaction: u32) {
        self.selected[lane] = db;
        let op =
            Op { start: db, len: 0, transaction, action: Action::Select, reach: Reach::All, row: u16::MAX };
        self.parts[lane].ops.push(op);
    }
}

/// What a lane does with a command.
#[inline(always)]
fn op(step: &Step<'_>, action: Action, reach: Reach) -> Op {
    Op {
        start: step.start as u32,
        len: u32::try_from(step.command.bytes.len()).unwrap_or(u32::MAX),
        transaction: step.transaction,
        reach,
        action,
        row: step.spec.map_or(u16::MAX, |spec| spec.row() as u16),
    }
}

/// The placement joins what a command names, so this is a fault of this program, and must not pass for a load.
fn torn(source: &Source, at: Position) -> crate::error::Error {
    source
        .error(Kind::Stopped, "the names of a command have been given homes on several shards", at)
        .remedy("please report this; BGREWRITEAOF on the source leaves no such commands")
}

fn changed(source: &Source, at: Position) -> crate::error::Error {
    source
        .error(Kind::Source, "the source was changed while it was read", at)
        .remedy("restore the file as it was and run the same command again; it resumes")
}
