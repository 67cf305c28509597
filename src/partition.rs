//! Splits windows of the source into the lanes' parts: spans of the map, never copies.

use crate::error::{Kind, Result};
use crate::resp::frame::{self, Record};
use crate::route::{Command, Form, Placement, Reach, Routed, Rules, State};
use crate::source::map::Stamp;
use crate::source::window::Window;
use crate::source::{Position, Source};
use crate::survey::Surveyed;

/// Bytes of source in a window for each lane; see [`window_bytes`].
const WINDOW_BYTES_PER_LANE: u64 = 1 << 20;

/// The size of windows for a number of lanes: enough that each lane gets full batches out of one, and
/// bounded, since windows under way bound the memory. A pure function of the routing.
pub fn window_bytes(lanes: usize) -> u64 {
    (lanes as u64 * WINDOW_BYTES_PER_LANE).clamp(4 << 20, 16 << 20)
}

/// What a lane does with a span of the source, or with its own state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send the command in this form.
    Send(Form),
    /// The same for a SWAPDB, which would carry the marker to another database.
    Swap(Form),
    /// Change to the database that `Op::start` holds.
    Select,
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
}

/// The part of one window that belongs to one lane.
#[derive(Debug, Clone)]
pub struct LanePart {
    /// The window.
    pub window: Window,
    /// Checksum (crc32) of the window's bytes.
    pub sum: u32,
    /// What tells whether the window's file was written to since the checksum was compared.
    pub stamp: Option<Stamp>,
    /// What the lane does, in order.
    pub ops: Vec<Op>,
}

impl LanePart {
    /// The bytes of a command of this part.
    pub fn bytes<'s>(&self, source: &'s Source, op: &Op) -> &'s [u8] {
        let rest = self.window.bytes(source).get(op.start as usize..).unwrap_or_default();
        if op.len < u32::MAX {
            return rest.get(..op.len as usize).unwrap_or_default();
        }
        let left = frame::record(rest).map_or(0, |(left, _)| left.len());
        &rest[..rest.len() - left]
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

/// A routed command with the place it was found at.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// The command.
    pub command: Command<'a>,
    /// Its offset in the window.
    pub start: usize,
    /// Where it goes.
    pub routed: Routed,
    /// Number of its transaction in the window, 0 if it is in none.
    pub transaction: u32,
}

/// Frames and routes the commands of a window in order.
///
/// The survey has seen the window's framing; that it does not hold any more means that the source was
/// changed, which is an error.
#[inline]
pub fn walk<'s, P: Placement>(
    source: &'s Source,
    surveyed: &Surveyed,
    rules: &Rules<P>,
    mut visit: impl FnMut(Step<'s>),
) -> Result<()> {
    let window = &surveyed.window;
    let mut ordinal = surveyed.before;
    let bytes = window.bytes(source);
    let mut rest = bytes;
    let mut db = window.db;
    let mut transactions = u32::from(window.in_transaction);
    let mut transaction = transactions;
    while !rest.is_empty() {
        let start = bytes.len() - rest.len();
        match frame::record(rest) {
            Ok((next, Record::Command(head))) => {
                ordinal += 1;
                let command = Command { bytes: &rest[..rest.len() - next.len()], head, db, ordinal };
                let routed = rules.route(&command, transaction != 0);
                visit(Step { command, start, routed, transaction });
                if let Routed::State(state) = routed {
                    match state {
                        State::Select(selected) => db = selected.unwrap_or(db),
                        State::Multi if transaction == 0 => {
                            transactions += 1;
                            transaction = transactions;
                        }
                        State::Multi => {}
                        State::Exec => transaction = 0,
                    }
                }
                rest = next;
            }
            Ok((next, Record::Annotation)) => rest = next,
            Err(_) => {
                let at = Position { offset: window.start.offset + start as u64, ..window.start };
                return Err(changed(source, at));
            }
        }
    }
    Ok(())
}

/// Splits a window; element i is lane i's part.
pub fn partition<P: Placement>(
    source: &Source,
    surveyed: &Surveyed,
    rules: &Rules<P>,
) -> Result<Vec<LanePart>> {
    let Surveyed { window, sum, .. } = surveyed;
    source.check(window.start.segment)?;
    let stamp = source.stamp(window.start.segment);
    if crc32fast::hash(window.bytes(source)) != *sum {
        return Err(changed(source, window.start));
    }
    let lanes = rules.routing.lanes();
    let mut parts: Vec<LanePart> =
        (0..lanes).map(|_| LanePart { window: *window, sum: *sum, stamp, ops: Vec::new() }).collect();
    // Each lane selects a database only when it has something to do there.
    let mut selected = vec![window.db; lanes];
    walk(source, surveyed, rules, |step| {
        let mut push = |lane: usize, action: Action, reach: Reach| {
            let ops = &mut parts[lane].ops;
            let op = Op {
                start: step.start as u32,
                len: u32::try_from(step.command.bytes.len()).unwrap_or(u32::MAX),
                transaction: step.transaction,
                reach,
                action,
            };
            if selected[lane] != step.command.db {
                selected[lane] = step.command.db;
                ops.push(Op {
                    start: step.command.db,
                    len: 0,
                    action: Action::Select,
                    reach: Reach::All,
                    ..op
                });
            }
            ops.push(op);
        };
        match step.routed {
            Routed::Lane(lane, form, reach) => push(lane, Action::Send(form), reach),
            Routed::Every(form) => {
                let swaps = step.command.name().eq_ignore_ascii_case(b"SWAPDB");
                let action = if swaps { Action::Swap(form) } else { Action::Send(form) };
                (0..lanes).for_each(|lane| push(lane, action, Reach::All));
            }
            Routed::Parts => {
                lanes_of(&step.command, rules)
                    .for_each(|lane| push(lane, Action::Send(Form::Part), Reach::Arguments));
            }
            // What is refused stops the survey, unless the user asked to leave it out.
            Routed::State(_) | Routed::Nowhere | Routed::Refused(_) => {}
        }
    })?;
    Ok(parts)
}

/// The lanes that a splittable command has keys on, in order, each once.
pub fn lanes_of<P: Placement>(command: &Command<'_>, rules: &Rules<P>) -> impl Iterator<Item = usize> {
    let mut named = vec![false; rules.routing.lanes()];
    let arguments = command.arguments();
    for key in split_keys(&arguments) {
        named[rules.routing.lane(command.db, arguments[key])] = true;
    }
    named.into_iter().enumerate().filter_map(|(lane, named)| named.then_some(lane))
}

/// The indexes of a splittable command's keys: every argument, or every second one of MSET.
pub fn split_keys(arguments: &[&[u8]]) -> impl Iterator<Item = usize> {
    (1..arguments.len()).step_by(split_unit(arguments))
}

/// How many arguments of a splittable command belong together: a key alone, or a key and its value.
pub fn split_unit(arguments: &[&[u8]]) -> usize {
    if arguments.first().is_some_and(|name| name.eq_ignore_ascii_case(b"MSET")) { 2 } else { 1 }
}

fn changed(source: &Source, at: Position) -> crate::error::Error {
    source
        .error(Kind::Source, "the source was changed while it was read", at)
        .remedy("restore the file as it was and run the same command again; it resumes")
}
