//! Random sources over all commands, loaded into every layout; and which commands they have covered.
//!
//! `scripts/differential` runs the first test for as long as wanted. Environment: `DIFFERENTIAL_SEED`,
//! `DIFFERENTIAL_SECONDS`, `DIFFERENTIAL_WORKERS`, and `DIFFERENTIAL_TIES`, `DIFFERENTIAL_FIELDS`,
//! `DIFFERENTIAL_SCRIPTS` (0 or 1).

use super::campaign::{self, Plan, fresh_seed, play, wanted};
use super::coverage::Coverage;
use super::number;
use super::source::{Settings, Source};
use crate::support::server::Server;
use std::time::Duration;

/// Of a usual run of the tests.
const SOURCES: u64 = 12;
const SECONDS: u64 = 15;
/// Sources are played until every command was seen, which takes 30 to 150; with so many, chance fails no run.
const PLAYED_MAX: u64 = 800;

fn plan(server: &Server) -> Plan {
    let seconds = number("SECONDS");
    Plan {
        seed: number("SEED").unwrap_or_else(fresh_seed),
        time: Duration::from_secs(seconds.unwrap_or(SECONDS)),
        sources_min: seconds.map_or(SOURCES, |_| 1),
        sources_max: number("SOURCES").unwrap_or(u64::MAX),
        workers: number("WORKERS").map_or(1, |count| usize::try_from(count).expect("a small number")),
        settings: Settings::of(server),
    }
}

#[test]
fn random_sources_load_as_a_server_loads_them() {
    let server = Server::start(&[]);
    let mut coverage = Coverage::default();
    campaign::run(&plan(&server), &mut coverage);
    println!("{}", coverage.table(&server));
}

/// Every write command of the server changes something in some source, and those with several keys tie lanes.
#[test]
fn every_write_command_is_covered() {
    let server = Server::start(&[]);
    let settings = Settings::of(&server);
    let seed = number("SEED").unwrap_or_else(fresh_seed);
    println!("coverage: DIFFERENTIAL_SEED={seed}");
    let mut coverage = Coverage::default();
    let live = Server::start(&[]);
    for nth in 0..PLAYED_MAX {
        let source = Source::random(seed.wrapping_mul(1_000_000).wrapping_add(nth), &settings);
        if !source.playable || source.base.is_some() {
            continue;
        }
        play(&mut coverage, &live, &source);
        if coverage.missing(&server, &wanted(&settings)).is_empty() {
            break;
        }
    }
    println!("{}", coverage.table(&server));
    let missing = coverage.missing(&server, &wanted(&settings));
    assert!(missing.is_empty(), "not covered:\n  {}", missing.join("\n  "));
}
