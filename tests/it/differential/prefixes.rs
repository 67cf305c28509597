//! The argument for placing names, on random beginnings of random sources: after position p, a lane holds exactly what
//! one server holds at p under the names whose life at that moment is at home on the lane, and nothing else.
//!
//! Routing and placement are those of the tool, and are asked directly; what each lane gets is written to a file of
//! its own, which a server loads. So deadlines have no part in it.

use super::campaign::fresh_seed;
use super::number;
use super::source::{Settings, Source};
use crate::support::aof;
use crate::support::compare::{Placement, Snapshot, assert_no_differences, diff};
use crate::support::generate::{Command, RELATIVE_UNIT_MS};
use crate::support::server::Server;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use redcluster_load::command::deadline::Clock;
use redcluster_load::command::{Class, lookup};
use redcluster_load::partition::{Step, lanes_of, split_keys, split_unit, walk};
use redcluster_load::placement::place;
use redcluster_load::rdb::Product;
use redcluster_load::route::{Routed, Routing, Rules, Takes};
use redcluster_load::source::Source as Mapped;
use redcluster_load::survey::{Purpose, Survey, survey};
use std::path::Path;

const SOURCES: u64 = 8;
const PREFIXES: usize = 2;
const WANDERING_SOURCES: u64 = 20;
const PREFIXES_OF_WANDERING: usize = 2;
const WANDERING_COMMANDS: usize = 200;
const NAMES: usize = 12;
const DATABASES: usize = 4;
/// What may become of names: tied to others, of other databases too, ended, swapped with their database, emptied.
const WANDERING: &str = "SET {one} {value}|SET {one} {value}|APPEND {one} {value}|APPEND {one} {value}|RENAME {one} {other}
    |RENAME {one} {other}|RENAMENX {one} {other}|COPY {one} {other}|COPY {one} {other} DB {db} REPLACE|MOVE {one} {db}|DEL {one}
    |UNLINK {one} {other}|MSETNX {one} {value} {other} {value}|BITOP OR {one} {one} {other}|SWAPDB {db} {db2}|SWAPDB {db} {db2}
    |FLUSHDB|SELECT {db}|SELECT {db}|SELECT {db}";
/// Small, so that a source has many windows; and large, so that it has one.
const WINDOW_BYTES: [u64; 2] = [2 << 10, 4 << 20];

/// A source that is placed.
struct Placed {
    mapped: Mapped,
    rules: Rules,
    survey: Survey,
    /// Groups of lives of several lanes.
    groups: u64,
}

impl Placed {
    fn of(path: &Path, lanes: usize, window_bytes: u64) -> Self {
        let mapped = Mapped::open(path).expect("the source can be read");
        let mut rules = Rules {
            routing: Routing::new(lanes),
            live: vec![Some(Takes::anything(Product::Redis)); lanes],
            marker_key: b"no key of the source".to_vec(),
            clock: Clock { now_ms: 0, offset_ms: 0 },
            touches: None,
            scripts: None,
        };
        let survey = survey(&mapped, &rules, (window_bytes, Purpose::Load), mapped.end(), &|_| Ok(()))
            .expect("the source is sound");
        let (homes, placing) =
            place(&mapped, &rules, &survey, u64::MAX, &|| Ok(())).expect("it can be placed");
        rules.routing.set_homes(homes);
        Self { mapped, rules, survey, groups: placing.groups }
    }

    fn each(&self, mut visit: impl FnMut(&Step<'_>)) {
        for window in &self.survey.windows {
            walk(&self.mapped, window, &self.rules, |step| visit(step)).expect("it was surveyed");
        }
    }

    /// The files of the lanes and, last, that of a single server, up to command number `p`. Transactions are dissolved:
    /// at p the server has carried out all before.
    fn files(&self, p: u64) -> Vec<Lane> {
        let lanes = self.rules.routing.shards();
        let mut files = vec![Lane::default(); lanes + 1];
        self.each(|step| {
            if step.command.ordinal > p {
                return;
            }
            let all: Command = step.command.arguments().iter().map(|word| word.to_vec()).collect();
            let db = step.command.db;
            if !step
                .spec
                .is_some_and(|spec| matches!(spec.class, Class::Multi | Class::Exec | Class::Discard))
            {
                files[lanes].push(db, &all);
            }
            match step.routed {
                Routed::Lane(lane, ..) => files[lane].push(db, &all),
                Routed::Every(_) => files[..lanes].iter_mut().for_each(|lane| lane.push(db, &all)),
                Routed::Parts => {
                    for lane in lanes_of(&step.command, &self.rules) {
                        files[lane].push(db, &self.part(step, lane));
                    }
                }
                Routed::Tied => panic!("command {} is still tied across lanes", step.command.ordinal),
                Routed::Refused(why) => {
                    panic!("command {} is refused: {}", step.command.ordinal, why.reason())
                }
                Routed::State(_) | Routed::Nowhere => {}
            }
        });
        files
    }

    /// What of a command is for a lane.
    fn part(&self, step: &Step<'_>, lane: usize) -> Command {
        let arguments = step.command.arguments();
        let mut part = vec![arguments[0].to_vec()];
        for at in split_keys(&arguments) {
            if self.rules.routing.lane(step.command.db, arguments[at], step.command.ordinal) == lane {
                part.extend(arguments[at..at + split_unit(&arguments)].iter().map(|word| word.to_vec()));
            }
        }
        part
    }

    /// The number of the last command.
    fn commands(&self) -> u64 {
        let mut last = 0;
        self.each(|step| last = step.command.ordinal);
        last
    }
}

/// A lane's file under construction.
#[derive(Clone, Default)]
struct Lane {
    bytes: Vec<u8>,
    db: u32,
}

impl Lane {
    fn push(&mut self, db: u32, command: &Command) {
        if self.db != db {
            aof::push_words(&mut self.bytes, &format!("SELECT {db}"));
            self.db = db;
        }
        aof::push(&mut self.bytes, &command.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }

    fn loaded(&self, made_ms: i64) -> Snapshot {
        let dir = tempfile::tempdir().expect("a directory");
        let path = aof::write_file(dir.path(), "lane.aof", &self.bytes);
        let server = Server::loading(path).unwrap_or_else(|log| panic!("a lane's file is refused:\n{log}"));
        Snapshot::of(&server).without_clock(made_ms, RELATIVE_UNIT_MS)
    }
}

#[test]
fn each_lane_holds_what_is_at_home_there_at_any_moment() {
    // A script that a command on one lane brings is not known to the others' servers.
    let settings = Settings { scripts: false, ..Settings::of(&Server::start(&[])) };
    let base = number("SEED").unwrap_or_else(fresh_seed);
    let mut seeds = (0..).map(|nth| base.wrapping_mul(1_000_000).wrapping_add(500_000 + nth));
    let (mut tried, mut groups) = (0, 0);
    while tried < number("SOURCES").unwrap_or(SOURCES) {
        let seed = seeds.next().expect("numbers do not end");
        let source = Source::random(seed, &settings);
        if source.untied_for.is_some() || source.base.is_some() {
            continue;
        }
        tried += 1;
        println!("DIFFERENTIAL_SEED={base}: source {seed}");
        groups += check(&source.bytes(), seed, source.made_ms, PREFIXES);
    }
    assert!(groups > 0, "nothing was tied");
}

/// The same of few names in few databases, which are swapped and emptied all the time.
#[test]
fn names_are_followed_through_databases_at_any_moment() {
    let base = number("SEED").unwrap_or_else(fresh_seed);
    let mut groups = 0;
    for nth in 0..number("SOURCES").unwrap_or(WANDERING_SOURCES) {
        let seed = base.wrapping_mul(1_000_000).wrapping_add(700_000 + nth);
        println!("DIFFERENTIAL_SEED={base}: source {seed}");
        groups += check(&wandering(seed), seed, 0, PREFIXES_OF_WANDERING);
    }
    assert!(groups > 0, "nothing was tied");
}

/// Commands on few names in [`DATABASES`] databases.
fn wandering(seed: u64) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(seed);
    let forms: Vec<&str> = WANDERING.split('|').map(str::trim).collect();
    let mut bytes = Vec::new();
    for nth in 0..WANDERING_COMMANDS {
        let mut line = forms[rng.random_range(0..forms.len())].to_owned();
        for word in ["{one}", "{other}"] {
            line = line.replace(word, &format!("name{}", rng.random_range(0..NAMES)));
        }
        for word in ["{db}", "{db2}"] {
            line = line.replace(word, &rng.random_range(0..DATABASES).to_string());
        }
        aof::push_words(&mut bytes, &line.replace("{value}", &format!("{nth},")));
    }
    bytes
}

/// Compares at random positions; gives the number of groups that were placed.
fn check(bytes: &[u8], seed: u64, made_ms: i64, prefixes: usize) -> u64 {
    let dir = tempfile::tempdir().expect("a directory");
    let path = aof::write_file(dir.path(), "dump.aof", bytes);
    let mut rng = StdRng::seed_from_u64(seed);
    let lanes = [2, 3, 5][rng.random_range(0..3)];
    let placed = Placed::of(&path, lanes, WINDOW_BYTES[rng.random_range(0..2)]);
    for _ in 0..prefixes {
        let p = rng.random_range(1..=placed.commands());
        println!("up to command {p}, {lanes} lanes");
        compare(&placed, p, made_ms);
    }
    placed.groups
}

fn compare(placed: &Placed, p: u64, made_ms: i64) {
    let mut held: Vec<Snapshot> = placed.files(p).iter().map(|lane| lane.loaded(made_ms)).collect();
    let whole = held.pop().expect("the last is the server's");
    for (lane, held) in held.into_iter().enumerate() {
        let home = |db: u32, key: &[u8]| placed.rules.routing.lane(db, key, p + 1);
        let expected = whole.clone().without(|db, key| home(db, key) != lane);
        assert_no_differences(&diff(&expected, &[held], Placement::Anywhere));
    }
}

/// The table knows every command that these tests make, or nothing would be said of it.
#[test]
fn the_table_knows_the_commands_that_tie() {
    for name in super::coverage::TYING.split_whitespace() {
        assert!(lookup(name.as_bytes()).is_some_and(|spec| spec.class == Class::Several), "{name}");
    }
}
