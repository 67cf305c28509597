//! What the survey counts in a window, and how counts of windows add up.

use std::collections::BTreeMap;

use crate::command::keys;
use crate::command::names::{database, names};
use crate::command::table::TABLE;
use crate::command::{Class, Rewrite, Spec, deadline, lookup_sub};
use crate::error::Result;
use crate::partition::{Spot, Step, Trace, lanes_of, split_keys, walk};
use crate::rdb::Kind;
use crate::resp::frame::Arguments;
use crate::route::homes::Filter;
use crate::route::{Reach, Refusal, Routed, Rules, State, key_hash};
use crate::source::window::{Behind, Content, Window};
use crate::source::{Position, Source};
use crate::survey::duplicates::Fingerprints;
use crate::survey::values::{self, Biggest, KindTally};
use crate::survey::{Purpose, Sketch, Surveyed};

/// Refused commands that are listed with their positions; all of them are counted.
const REFUSED_LISTED_MAX: usize = 20;

/// Libraries of functions whose places are remembered; no server has so many.
pub(super) const LIBRARY_SPOTS_MAX: usize = 1 << 14;

/// A command that cannot be carried out, for the list.
#[derive(Debug, Clone)]
pub struct Refused {
    /// Where it stands.
    pub at: Position,
    /// Its name as written, escaped.
    pub command: String,
    /// Its key, escaped, see [`keys::told`].
    pub key: String,
    /// Why.
    pub refusal: Refusal,
}

/// What one lane will get.
#[derive(Debug, Clone, Default)]
pub struct LaneTally {
    /// Commands, parts of split ones included.
    pub commands: u64,
    /// Their bytes in the source.
    pub bytes: u64,
    /// The keys that are its own at the end, if they are asked for: for a report, and for live targets.
    pub keys: Sketch,
}

/// Counts.
#[derive(Debug, Clone)]
pub struct Tally {
    /// By lane.
    pub lanes: Vec<LaneTally>,
    /// Commands by database, those that go somewhere.
    pub databases: BTreeMap<u32, u64>,
    /// Commands by name as in the table; unknown ones are not here.
    pub commands: BTreeMap<&'static str, u64>,
    /// All commands of the source.
    pub total: u64,
    /// Commands that change nothing and are dropped.
    pub dropped: u64,
    /// Scripts and functions that run, whose keys and deadlines cannot be seen.
    pub scripts: u64,
    /// SELECTs that a server refuses, staying where it is.
    pub bad_selects: u64,
    /// Commands that name several keys, or one in several databases, and were not split.
    pub ties: u64,
    /// Those whose names are at home on several lanes, so that they have to be placed before they go anywhere.
    pub tied: u64,
    /// Bytes of commands and values that make what has to be brought to another lane at the end.
    pub foreign_bytes: u64,
    /// Transactions.
    pub transactions: u64,
    /// Commands that set a deadline.
    pub deadlines: u64,
    /// Those whose deadline had passed when the survey ran.
    pub past_deadlines: u64,
    /// The latest deadline, in milliseconds of Unix time; 0 if there is none.
    pub deadline_ms_max: i64,
    /// The highest database that is named.
    pub db_max: u32,
    /// Values of RDB parts, by kind.
    pub kinds: BTreeMap<Kind, KindTally>,
    /// The biggest of them, the biggest first.
    pub biggest: Vec<Biggest>,
    /// Libraries of functions in RDB parts.
    pub libraries: u64,
    /// Where the first of them stand, and their bytes in the source.
    pub library_spots: Vec<(Position, u64)>,
    /// Commands that matter to the lives of names, of one window only.
    pub(super) spots: Vec<Spot>,
    /// All commands of one window, if they are to be remembered.
    pub(super) trace: Option<Trace>,
    /// Whether keys are counted.
    pub(super) counts_keys: bool,
    /// Fingerprints of the keys of RDB parts, of one window only.
    pub(super) fingerprints: Vec<u64>,
    /// Commands that cannot be carried out, by reason.
    pub refusals: BTreeMap<Refusal, u64>,
    /// The first of them.
    pub refused: Vec<Refused>,
}

impl Tally {
    /// All zero, for a number of lanes.
    pub fn new(lanes: usize) -> Self {
        Tally {
            lanes: vec![LaneTally::default(); lanes],
            databases: BTreeMap::new(),
            commands: BTreeMap::new(),
            total: 0,
            dropped: 0,
            scripts: 0,
            bad_selects: 0,
            ties: 0,
            tied: 0,
            foreign_bytes: 0,
            transactions: 0,
            deadlines: 0,
            past_deadlines: 0,
            deadline_ms_max: 0,
            db_max: 0,
            kinds: BTreeMap::new(),
            biggest: Vec::new(),
            libraries: 0,
            library_spots: Vec::new(),
            spots: Vec::new(),
            trace: None,
            counts_keys: true,
            fingerprints: Vec::new(),
            refusals: BTreeMap::new(),
            refused: Vec::new(),
        }
    }

    /// Adds the counts of what follows in the source.
    pub fn add(&mut self, later: &Tally) {
        for (lane, more) in self.lanes.iter_mut().zip(&later.lanes) {
            lane.commands += more.commands;
            lane.bytes += more.bytes;
            lane.keys.merge(&more.keys);
        }
        add_all(&mut self.databases, &later.databases);
        add_all(&mut self.commands, &later.commands);
        add_all(&mut self.refusals, &later.refusals);
        self.total += later.total;
        self.dropped += later.dropped;
        self.scripts += later.scripts;
        self.bad_selects += later.bad_selects;
        self.ties += later.ties;
        self.tied += later.tied;
        self.foreign_bytes += later.foreign_bytes;
        self.transactions += later.transactions;
        self.deadlines += later.deadlines;
        self.past_deadlines += later.past_deadlines;
        self.deadline_ms_max = self.deadline_ms_max.max(later.deadline_ms_max);
        self.db_max = self.db_max.max(later.db_max);
        self.libraries += later.libraries;
        let room = LIBRARY_SPOTS_MAX.saturating_sub(self.library_spots.len());
        self.library_spots.extend(later.library_spots.iter().take(room));
        self.add_values(later);
        let room = REFUSED_LISTED_MAX - self.refused.len();
        self.refused.extend(later.refused.iter().take(room).cloned());
    }

    /// Number of values of RDB parts, libraries among them.
    pub fn values(&self) -> u64 {
        self.kinds.values().map(|kind| kind.keys).sum::<u64>() + self.libraries
    }

    /// Number of commands that cannot be carried out.
    pub fn refused_total(&self) -> u64 {
        self.refusals.values().sum()
    }
}

fn add_all<K: Ord + Copy>(counts: &mut BTreeMap<K, u64>, more: &BTreeMap<K, u64>) {
    for (key, count) in more {
        *counts.entry(*key).or_default() += count;
    }
}

/// Counts one window; also gives the state behind it, if it is of commands. The keys of commands that tie names together
/// are added to `ties`. Keys are counted for a report, and for live targets.
pub fn tally(
    source: &Source,
    surveyed: &Surveyed,
    (rules, purpose): (&Rules, Purpose),
    (ties, fingerprints): (&Filter, &Fingerprints),
    trace: Option<Trace>,
) -> Result<(Tally, Option<Behind>)> {
    let counts_keys = purpose == Purpose::Report || rules.live.iter().any(Option::is_some);
    let mut tally = Tally { trace, counts_keys, ..Tally::new(rules.lanes()) };
    let mut names = Names::new();
    if let Content::Rdb(_) = surveyed.window.content {
        values::tally(source, surveyed, rules, fingerprints, &mut tally)?;
        return Ok((tally, None));
    }
    let behind = walk(source, surveyed, rules, |step| match (step.spec, step.routed) {
        // Nearly all of a source, so it is kept apart.
        (Some(spec), Routed::Lane(lane, _, Reach::Set(hash) | Reach::Key(hash)))
            if spec.names_first && is_plain(spec, step) =>
        {
            names.count_plain(spec, step.command.db);
            tally.count_key(lane, hash, step, rules);
        }
        // A copy, so that no address of the step itself is taken, which would keep all steps out of registers.
        _ => tally.count_any(&{ *step }, surveyed, (rules, ties), &mut names),
    })?;
    names.add_to(&mut tally);
    Ok((tally, Some(behind)))
}

/// Whether a command may tie names together, end their lives, or give a database another number; see
/// [`crate::placement`].
#[inline]
pub(crate) fn matters_to_lives(spec: &'static Spec) -> bool {
    match spec.class {
        Class::Several | Class::Script | Class::Broadcast => true,
        Class::Splittable => matches!(spec.name, "DEL" | "UNLINK"),
        _ => false,
    }
}

impl Tally {
    /// Counts a command that its key alone, of this crc32, brings to this lane.
    #[inline(always)]
    fn count_key(&mut self, lane: usize, hash: u32, step: &Step<'_>, rules: &Rules) {
        let command = &step.command;
        self.total += 1;
        if let Some(trace) = &mut self.trace {
            trace.add(step, Some(hash));
        }
        self.see_key(rules.routing.own_lane(hash), command.db, command.first());
        self.count_lane(lane, step);
        if rules.routing.is_foreign(lane, command.db, command.first(), command.ordinal) {
            self.foreign_bytes += command.bytes.len() as u64;
        }
    }

    #[inline(never)]
    fn count_any(
        &mut self,
        step: &Step<'_>,
        surveyed: &Surveyed,
        (rules, ties): (&Rules, &Filter),
        names: &mut Names,
    ) {
        if let Some(spec) = names.count(step) {
            self.look_into(spec, step, rules.clock);
        }
        if matches!(step.routed, Routed::Tied | Routed::Lane(_, _, Reach::Arguments | Reach::All)) {
            self.name(step, rules, ties);
        }
        if step.spec.is_some_and(matters_to_lives) {
            self.spots.push(Spot::of(step, surveyed.before));
        }
        let is_script = step.spec.is_some_and(|spec| spec.class == Class::Script);
        self.scripts += u64::from(is_script && matches!(step.routed, Routed::Lane(..)));
        if let Routed::Lane(lane, _, Reach::Set(hash) | Reach::Key(hash)) = step.routed {
            return self.count_key(lane, hash, step, rules);
        }
        self.total += 1;
        if let Some(trace) = &mut self.trace {
            trace.add(step, None);
        }
        self.count(step, &surveyed.window, rules);
    }

    fn count(&mut self, step: &Step<'_>, window: &Window, rules: &Rules) {
        let command = &step.command;
        match step.routed {
            Routed::Lane(lane, ..) => {
                self.count_lane(lane, step);
                if rules.routing.is_foreign(lane, command.db, command.first(), command.ordinal) {
                    self.foreign_bytes += command.bytes.len() as u64;
                }
            }
            Routed::Parts => {
                let arguments = command.arguments();
                for key in split_keys(&arguments) {
                    let own = rules.routing.own_lane(key_hash(arguments[key]));
                    self.see_key(own, command.db, arguments[key]);
                }
                lanes_of(command, rules).for_each(|lane| self.count_lane(lane, step));
            }
            Routed::Every(_) => (0..self.lanes.len()).for_each(|lane| self.count_lane(lane, step)),
            Routed::State(State::Select(Some(db))) => self.db_max = self.db_max.max(db),
            Routed::State(State::Select(None)) => self.bad_selects += 1,
            Routed::State(State::Multi) => self.transactions += 1,
            Routed::State(State::Exec) => {}
            Routed::Nowhere => self.dropped += 1,
            Routed::Tied => self.tied += 1,
            Routed::Refused(refusal) => {
                let offset = window.start.offset + step.start as u64;
                let at = Position { offset, ..window.start };
                self.refuse(refusal, at, || keys::told(Arguments::of(command.bytes)));
            }
        }
    }

    /// Counts the names of a command that has, or may have, several.
    fn name(&mut self, step: &Step<'_>, rules: &Rules, ties: &Filter) {
        let Some(spec) = row(step) else { return };
        if let Some(keys) = step.command.two_keys(spec) {
            self.ties += 1;
            for key in keys {
                let hash = key_hash(key);
                self.see_key(rules.routing.own_lane(hash), step.command.db, key);
                ties.add(hash);
            }
            return;
        }
        let arguments = step.command.arguments();
        let names = names(spec, &arguments, step.command.db).unwrap_or_default();
        let is_tie = names.len() > 1 && matches!(spec.class, Class::Several | Class::Script);
        self.ties += u64::from(is_tie);
        for name in names {
            let hash = key_hash(arguments[name.at]);
            self.see_key(rules.routing.own_lane(hash), name.db, arguments[name.at]);
            if is_tie {
                ties.add(hash);
            }
        }
    }

    /// Counts a key of this lane's.
    #[inline(always)]
    pub(super) fn see_key(&mut self, lane: usize, db: u32, key: &[u8]) {
        if self.counts_keys {
            self.lanes[lane].keys.insert(db, key);
        }
    }

    /// Takes in that lanes get so many commands and bytes more.
    pub(super) fn correct(&mut self, lanes: &[(i64, i64)], foreign_bytes: u64) {
        self.lanes.resize_with(lanes.len(), LaneTally::default);
        for (lane, (commands, bytes)) in self.lanes.iter_mut().zip(lanes) {
            lane.commands = lane.commands.saturating_add_signed(*commands);
            lane.bytes = lane.bytes.saturating_add_signed(*bytes);
        }
        self.foreign_bytes += foreign_bytes;
    }

    /// Counts what cannot be carried out; `names` gives the command and its key, or what stands for them.
    pub(super) fn refuse(
        &mut self,
        refusal: Refusal,
        at: Position,
        names: impl FnOnce() -> (String, String),
    ) {
        *self.refusals.entry(refusal).or_default() += 1;
        if self.refused.len() < REFUSED_LISTED_MAX {
            let (command, key) = names();
            self.refused.push(Refused { at, command, key, refusal });
        }
    }

    #[inline]
    fn count_lane(&mut self, lane: usize, step: &Step<'_>) {
        self.lanes[lane].commands += 1;
        self.lanes[lane].bytes += step.command.bytes.len() as u64;
    }

    /// Commands whose arguments matter to the survey: deadlines, and databases that must exist.
    fn look_into(&mut self, spec: &'static Spec, step: &Step<'_>, clock: deadline::Clock) {
        let arguments = step.command.arguments();
        if let deadline::Shifted::Changed(_, deadline_ms) = deadline::shift(spec.rewrite, &arguments, clock) {
            self.deadlines += 1;
            self.past_deadlines += u64::from(deadline_ms <= clock.now_ms);
            self.deadline_ms_max = self.deadline_ms_max.max(deadline_ms);
        }
        let swapped = match arguments.as_slice() {
            [_, one, other] if spec.name == "SWAPDB" => [database(one), database(other)],
            _ => [None, None],
        };
        let named = names(spec, &arguments, step.command.db).unwrap_or_default();
        let databases = named.iter().map(|name| name.db).chain(swapped.into_iter().flatten());
        self.db_max = databases.fold(self.db_max, u32::max);
    }
}

/// Counts rows of the table, and databases.
struct Names {
    /// By row, see [`Spec::row`].
    rows: Vec<u64>,
    databases: BTreeMap<u32, u64>,
    /// The database of the last commands, and how many of them there were in a row.
    last: (u32, u64),
}

impl Names {
    fn new() -> Self {
        Names { rows: vec![0; TABLE.len()], databases: BTreeMap::new(), last: (0, 0) }
    }

    /// Counts a command whose arguments are not worth a look.
    #[inline]
    fn count_plain(&mut self, spec: &'static Spec, db: u32) {
        if let Some(count) = self.rows.get_mut(spec.row()) {
            *count += 1;
        }
        self.count_in(db);
    }

    /// Counts the command; gives its row if its arguments are worth a look.
    fn count(&mut self, step: &Step<'_>) -> Option<&'static Spec> {
        let spec = row(step)?;
        if spec.class == Class::Keyed {
            self.count_plain(spec, step.command.db);
            return (!is_plain(spec, step)).then_some(spec);
        }
        if let Some(count) = self.rows.get_mut(spec.row()) {
            *count += 1;
        }
        let is_state =
            matches!(spec.class, Class::Select | Class::Multi | Class::Exec | Class::Discard | Class::Read);
        if !is_state {
            self.count_in(step.command.db);
        }
        (spec.rewrite != Rewrite::None || matches!(spec.name, "MOVE" | "COPY" | "SWAPDB")).then_some(spec)
    }

    #[inline]
    fn count_in(&mut self, db: u32) {
        if db != self.last.0 {
            self.flush();
            self.last = (db, 0);
        }
        self.last.1 += 1;
    }

    fn flush(&mut self) {
        let (db, commands) = self.last;
        if commands > 0 {
            *self.databases.entry(db).or_default() += commands;
        }
    }

    fn add_to(mut self, tally: &mut Tally) {
        self.flush();
        let counted = TABLE.iter().zip(self.rows).filter(|(_, count)| *count > 0);
        tally.commands = counted.map(|(spec, count)| (spec.name, count)).collect();
        tally.databases = self.databases;
    }
}

/// Whether nothing among the arguments of a command with one key can need a rewriting.
#[inline]
fn is_plain(spec: &Spec, step: &Step<'_>) -> bool {
    spec.rewrite == Rewrite::None || (spec.rewrite == Rewrite::Set && step.command.head.argc == 3)
}

fn row(step: &Step<'_>) -> Option<&'static Spec> {
    let spec = step.spec?;
    if spec.class == Class::Container { lookup_sub(spec, step.command.first()) } else { Some(spec) }
}
