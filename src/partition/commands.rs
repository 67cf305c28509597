//! Walks the commands of a window.

use super::changed;
use crate::command::{Spec, lookup};
use crate::error::Result;
use crate::resp::frame::{self, Record};
use crate::route::{Command, Routed, Rules, State};
use crate::source::window::Behind;
use crate::source::{Position, Source};
use crate::survey::Surveyed;

/// A routed command with the place it was found at.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// The command.
    pub command: Command<'a>,
    /// Its offset in the window.
    pub start: usize,
    /// Its row in the table, if it has one.
    pub spec: Option<&'static Spec>,
    /// Where it goes.
    pub routed: Routed,
    /// Number of its transaction in the window, 0 if it is in none.
    pub transaction: u32,
}

/// A command of a window to come back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    /// Its offset in the window.
    start: u32,
    /// Its number in the window, counted from 1.
    number: u32,
    /// The database it runs in, twice, and one more inside a transaction.
    db_and_transaction: u32,
}

impl Spot {
    /// That of a command found in a window with `before` commands before it.
    pub fn of(step: &Step<'_>, before: u64) -> Self {
        Spot {
            start: step.start as u32,
            number: (step.command.ordinal - before) as u32,
            db_and_transaction: step.command.db << 1 | u32::from(step.transaction != 0),
        }
    }
}

/// Looks at some commands of a window once more, as [`scan`] does at all of them.
pub fn revisit<'s>(
    source: &'s Source,
    surveyed: &Surveyed,
    spots: &[Spot],
    route: impl Fn(Option<&'static Spec>, &Command<'s>, bool) -> Routed,
    mut visit: impl FnMut(&Step<'s>),
) -> Result<()> {
    let bytes = surveyed.window.bytes(source);
    for spot in spots {
        let start = spot.start as usize;
        let rest = bytes.get(start..).unwrap_or_default();
        let Ok((next, Record::Command(head))) = frame::record(rest) else {
            let start = surveyed.window.start;
            return Err(changed(source, Position { offset: start.offset + u64::from(spot.start), ..start }));
        };
        let command = Command {
            bytes: &rest[..rest.len() - next.len()],
            head,
            db: spot.db_and_transaction >> 1,
            ordinal: surveyed.before + u64::from(spot.number),
        };
        let spec = lookup(command.name());
        let transaction = spot.db_and_transaction & 1;
        let routed = route(spec, &command, transaction != 0);
        visit(&Step { command, start, spec, routed, transaction });
    }
    Ok(())
}

/// Frames and routes the commands of a window in order.
///
/// The survey has seen the window's framing; that it does not hold any more means that the source was
/// changed, which is an error.
#[inline]
pub fn walk<'s>(
    source: &'s Source,
    surveyed: &Surveyed,
    rules: &Rules,
    visit: impl FnMut(&Step<'s>),
) -> Result<Behind> {
    scan(
        source,
        surveyed,
        |spec, command, in_transaction| rules.route_by(spec, command, in_transaction),
        visit,
    )
}

/// The same with another way to route; it has to tell what changes the reader's state.
#[inline]
pub fn scan<'s>(
    source: &'s Source,
    surveyed: &Surveyed,
    route: impl Fn(Option<&'static Spec>, &Command<'s>, bool) -> Routed,
    mut visit: impl FnMut(&Step<'s>),
) -> Result<Behind> {
    let window = &surveyed.window;
    let mut ordinal = surveyed.before;
    let bytes = window.bytes(source);
    let mut rest = bytes;
    let mut db = window.db;
    let mut transactions = u32::from(window.in_transaction);
    let mut transaction = transactions;
    let mut framer = frame::Framer::default();
    let mut start = 0;
    while !rest.is_empty() {
        start = bytes.len() - rest.len();
        match framer.record(rest) {
            Ok((next, Record::Command(head))) => {
                ordinal += 1;
                let bytes = &rest[..rest.len() - next.len()];
                let mut step = Step {
                    command: Command { bytes, head, db, ordinal },
                    start,
                    spec: None,
                    routed: Routed::Nowhere,
                    transaction,
                };
                step.spec = lookup(step.command.name());
                step.routed = route(step.spec, &step.command, transaction != 0);
                visit(&step);
                if let Routed::State(state) = step.routed {
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
    Ok(Behind { last: start as u64, db, in_transaction: transaction != 0 })
}

/// The lanes that a splittable command has keys on, in order, each once.
pub fn lanes_of(command: &Command<'_>, rules: &Rules) -> impl Iterator<Item = usize> {
    let mut named = vec![false; rules.lanes()];
    let arguments = command.arguments();
    for key in split_keys(&arguments) {
        named[rules.routing.lane(command.db, arguments[key], command.ordinal)] = true;
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
