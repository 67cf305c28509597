//! What changes in the survey's counts once names have been given homes.
//!
//! Most commands go where they were counted already. A pass over the source looks at the others alone, and tells how
//! many there are more or fewer on each lane.

use rayon::prelude::*;

use super::{Purpose, Survey, Surveyed, Tally, WINDOWS_PER_THREAD, tally};
use crate::command::{Class, Spec};
use crate::error::Result;
use crate::partition::{Spot, Step, Trace, lanes_of, retrace, revisit, scan, values};
use crate::rdb::Item;
use crate::route::homes::Filter;
use crate::route::{Command, Routed, Routing, Rules, key_hash};
use crate::source::Source;
use crate::source::window::Content;
use crate::survey::duplicates::Fingerprints;

/// What is asked about a survey's counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// All of them.
    Counts,
    /// Only what cannot be carried out.
    Refusals,
}

/// What the survey has remembered of a window's commands.
enum Known<'s> {
    /// Nothing.
    Nothing,
    /// See [`Survey::spots`]; no others are looked at.
    Spots(&'s [Spot]),
    /// See [`Survey::traces`].
    Trace(&'s Trace),
}

/// What a window changes.
struct Change {
    /// For each lane how many commands and bytes more it gets.
    lanes: Vec<(i64, i64)>,
    /// See [`Tally::foreign_bytes`].
    foreign_bytes: u64,
    /// Whether what cannot be carried out is something else than before.
    refuses_others: bool,
}

/// Corrects the counts of a survey whose names now have homes in the routing of `rules`.
pub fn placed(
    source: &Source,
    rules: &Rules,
    survey: &mut Survey,
    wanted: Wanted,
    go_on: &(dyn Fn() -> Result<()> + Sync),
) -> Result<()> {
    let shards = rules.routing.shards();
    // A lane behind those of the shards came with the homes.
    let live = rules.live.iter().take(shards).copied().collect();
    let own = Rules { routing: Routing::new(shards), live, ..rules.clone() };
    // Where all lanes take the same, only commands that had no lane before can be refused now.
    let same = rules.live.windows(2).all(|pair| pair[0] == pair[1]);
    let spots = survey.spots.as_ref().filter(|_| same && wanted == Wanted::Refusals);
    let look = |(number, surveyed): (usize, &Surveyed)| {
        go_on()?;
        match (surveyed.window.content, spots) {
            (Content::Commands, Some(spots)) => {
                let known = spots.get(number).map_or(Known::Nothing, |spots| Known::Spots(spots));
                in_commands(source, surveyed, (&own, rules), known)
            }
            (Content::Commands, None) => {
                let known = survey.traces.get(number).and_then(Option::as_ref);
                in_commands(source, surveyed, (&own, rules), known.map_or(Known::Nothing, Known::Trace))
            }
            (Content::Rdb(_), Some(_)) => Ok(Change::none(rules)),
            (Content::Rdb(_), None) => in_values(source, surveyed, (&own, rules)),
        }
    };
    let mut total = Change::none(rules);
    let windows: Vec<_> = survey.windows.iter().enumerate().collect();
    for group in windows.chunks(WINDOWS_PER_THREAD * rayon::current_num_threads()) {
        let changes = group.par_iter().map(|window| look(*window)).collect::<Result<Vec<_>>>()?;
        changes.iter().for_each(|change| total.add(change));
    }
    if total.refuses_others {
        let again = count_again(source, rules, survey, go_on)?;
        survey.tally = Tally { tied: survey.tally.tied, ..again };
    } else if spots.is_none() {
        survey.tally.correct(&total.lanes, total.foreign_bytes);
    }
    Ok(())
}

/// Counts everything again: the list of what cannot be carried out is in the source's order.
fn count_again(
    source: &Source,
    rules: &Rules,
    survey: &Survey,
    go_on: &(dyn Fn() -> Result<()> + Sync),
) -> Result<Tally> {
    let unused = (&Filter::default(), &Fingerprints::new());
    let look = |surveyed: &Surveyed| {
        go_on()?;
        tally::tally(source, surveyed, (rules, Purpose::Report), unused, None).map(|(tally, _)| tally)
    };
    let mut total = Tally::new(rules.lanes());
    for group in survey.windows.chunks(WINDOWS_PER_THREAD * rayon::current_num_threads()) {
        let tallies = group.par_iter().map(look).collect::<Result<Vec<_>>>()?;
        tallies.iter().for_each(|tally| total.add(tally));
    }
    Ok(total)
}

impl Change {
    fn none(rules: &Rules) -> Self {
        Change { lanes: vec![(0, 0); rules.lanes()], foreign_bytes: 0, refuses_others: false }
    }

    fn add(&mut self, other: &Change) {
        for (lane, more) in self.lanes.iter_mut().zip(&other.lanes) {
            *lane = (lane.0 + more.0, lane.1 + more.1);
        }
        self.foreign_bytes += other.foreign_bytes;
        self.refuses_others |= other.refuses_others;
    }

    /// Takes in that something of so many bytes goes elsewhere than before: `parts` names the lanes of a split command by such rules.
    fn differ(
        &mut self,
        (own, before): (&Rules, Routed),
        (rules, after): (&Rules, Routed),
        bytes: u64,
        parts: impl Fn(&Rules) -> Vec<usize>,
    ) {
        let refused = |routed| if let Routed::Refused(refusal) = routed { Some(refusal) } else { None };
        self.refuses_others |= refused(before) != refused(after);
        for (rules, routed, sign) in [(own, before, -1), (rules, after, 1)] {
            match routed {
                Routed::Lane(lane, ..) => self.shift(lane, sign, bytes),
                Routed::Every(_) => (0..rules.lanes()).for_each(|lane| self.shift(lane, sign, bytes)),
                Routed::Parts => parts(rules).into_iter().for_each(|lane| self.shift(lane, sign, bytes)),
                Routed::State(_) | Routed::Nowhere | Routed::Tied | Routed::Refused(_) => {}
            }
        }
    }

    /// Takes in that a lane gets so many commands of so many bytes more.
    fn shift(&mut self, lane: usize, commands: i64, bytes: u64) {
        let lane = &mut self.lanes[lane];
        *lane = (lane.0 + commands, lane.1 + commands * bytes as i64);
    }
}

fn in_commands(
    source: &Source,
    surveyed: &Surveyed,
    (own, rules): (&Rules, &Rules),
    known: Known<'_>,
) -> Result<Change> {
    let mut change = Change::none(rules);
    let route = |spec: Option<&'static Spec>, command: &Command<'_>, in_transaction| {
        let matters = spec.is_some_and(|spec| may_differ(spec, command, rules));
        if matters { rules.route_by(spec, command, in_transaction) } else { Routed::Nowhere }
    };
    let visit = |step: &Step<'_>| {
        if matches!(step.routed, Routed::State(_) | Routed::Nowhere) {
            return;
        }
        let command = &step.command;
        let before = own.route_by(step.spec, command, step.transaction != 0);
        let parts = |rules: &Rules| lanes_of(command, rules).collect();
        change.differ((own, before), (rules, step.routed), command.bytes.len() as u64, parts);
        if let Routed::Lane(lane, ..) = step.routed
            && rules.routing.is_foreign(lane, command.db, command.first(), command.ordinal)
        {
            change.foreign_bytes += command.bytes.len() as u64;
        }
    };
    let may_be_away = |hash| rules.routing.may_be_away(hash);
    match known {
        Known::Spots(spots) => revisit(source, surveyed, spots, route, visit)?,
        Known::Trace(trace) => retrace(source, surveyed, trace, may_be_away, route, visit)?,
        Known::Nothing => {
            scan(source, surveyed, route, visit)?;
        }
    }
    Ok(change)
}

/// Whether the key of a command may be away from its own lane.
#[inline]
fn may_be_away(command: &Command<'_>, rules: &Rules) -> bool {
    rules.routing.may_be_away(key_hash(command.first()))
}

/// Whether a command changes the reader's state, or may go elsewhere than to its keys' own lanes.
#[inline]
fn may_differ(spec: &Spec, command: &Command<'_>, rules: &Rules) -> bool {
    match spec.class {
        _ if spec.names_first => may_be_away(command, rules),
        Class::Splittable if command.head.argc == 2 => may_be_away(command, rules),
        Class::Read | Class::Discard => false,
        _ => true,
    }
}

fn in_values(source: &Source, surveyed: &Surveyed, (own, rules): (&Rules, &Rules)) -> Result<Change> {
    let mut change = Change::none(rules);
    values::walk(source, surveyed, rules, |step| {
        let matters = match step.item {
            Item::Value(value) => rules.routing.may_be_away(key_hash(&value.key)),
            _ => true,
        };
        if !matters {
            return Ok(());
        }
        let before = values::route(own, step.item, step.db, step.ordinal);
        change.differ((own, before), (rules, step.routed), step.len, |_| Vec::new());
        if let (Routed::Lane(lane, ..), Item::Value(value)) = (step.routed, step.item)
            && rules.routing.is_foreign(lane, step.db, &value.key, step.ordinal)
        {
            change.foreign_bytes += step.len;
        }
        Ok(())
    })?;
    Ok(change)
}

#[cfg(test)]
#[path = "placed_tests.rs"]
mod tests;
