//! Walks the commands of a window.

use super::changed;
use crate::command::{Lookup, Spec, lookup};
use crate::error::Result;
use crate::resp::frame::{self, Record};
use crate::route::{Command, Routed, Rules, State};
use crate::source::window::{Behind, Window};
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

/// Spots whose memory is waited for together.
const FETCHED: usize = 64;

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
    for spots in spots.chunks(FETCHED) {
        fetch(surveyed.window.bytes(source), spots.iter().map(|spot| spot.start));
        for spot in spots {
            let (db, in_transaction) = (spot.db_and_transaction >> 1, spot.db_and_transaction & 1 != 0);
            let ordinal = surveyed.before + u64::from(spot.number);
            visit(&again(source, surveyed, spot.start, (db, in_transaction, ordinal), &route)?);
        }
    }
    Ok(())
}

/// Touches commands of a window, so that the memory behind them is waited for all at once instead of one by one.
pub(super) fn fetch(bytes: &[u8], starts: impl Iterator<Item = u32>) {
    let touch = |start| bytes.get(start as usize).copied().unwrap_or_default();
    let touched = starts.fold(0, |touched, start| touched ^ touch(start));
    std::hint::black_box(touched);
}

/// Looks at one command of a window once more: the one at `start`, of which its database, whether it is in a
/// transaction, and its number are known.
pub(super) fn again<'s>(
    source: &'s Source,
    surveyed: &Surveyed,
    start: u32,
    (db, in_transaction, ordinal): (u32, bool, u64),
    route: impl Fn(Option<&'static Spec>, &Command<'s>, bool) -> Routed,
) -> Result<Step<'s>> {
    let rest = surveyed.window.bytes(source).get(start as usize..).unwrap_or_default();
    let Ok((next, Record::Command(head))) = frame::record(rest) else {
        let window = surveyed.window.start;
        return Err(changed(source, Position { offset: window.offset + u64::from(start), ..window }));
    };
    let command = Command { bytes: &rest[..rest.len() - next.len()], head, db, ordinal };
    let spec = lookup(command.name());
    let routed = route(spec, &command, in_transaction);
    Ok(Step { command, start: start as usize, spec, routed, transaction: u32::from(in_transaction) })
}

/// What commands leave for those behind them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Running {
    /// The database.
    pub(super) db: u32,
    /// Number of the transaction that is open, 0 if none is.
    pub(super) transaction: u32,
    transactions: u32,
}

impl Running {
    /// At the start of a window.
    pub(super) fn new(window: &Window) -> Self {
        let transactions = u32::from(window.in_transaction);
        Running { db: window.db, transaction: transactions, transactions }
    }

    // Out of the way of what most commands do.
    #[inline(never)]
    pub(super) fn change(&mut self, state: State) {
        match state {
            State::Select(selected) => self.db = selected.unwrap_or(self.db),
            State::Multi if self.transaction == 0 => {
                self.transactions += 1;
                self.transaction = self.transactions;
            }
            State::Multi => {}
            State::Exec => self.transaction = 0,
        }
    }
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
    let mut state = Running::new(window);
    let mut framer = frame::Framer::default();
    let mut rows = Lookup::default();
    let mut start = 0;
    while !rest.is_empty() {
        start = bytes.len() - rest.len();
        match framer.record(rest) {
            Ok((next, Record::Command(head))) => {
                ordinal += 1;
                let bytes = &rest[..rest.len() - next.len()];
                let Running { db, transaction, .. } = state;
                let mut step = Step {
                    command: Command { bytes, head, db, ordinal },
                    start,
                    spec: None,
                    routed: Routed::Nowhere,
                    transaction,
                };
                step.spec = rows.row(step.command.name());
                step.routed = route(step.spec, &step.command, transaction != 0);
                visit(&step);
                if let Routed::State(change) = step.routed {
                    state.change(change);
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
    Ok(Behind { last: start as u64, db: state.db, in_transaction: state.transaction != 0 })
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
