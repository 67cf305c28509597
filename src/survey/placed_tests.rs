//! Tests that what is corrected once names are placed comes out as if all of it were counted anew.

use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::command::deadline::{Clock, OFFSET_FAR_MS};
use crate::partition::window_bytes;
use crate::placement::place;
use crate::rdb::Product;
use crate::resp::encode;
use crate::route::Takes;
use crate::survey::{Purpose, survey};

const LANES: usize = 3;
/// Room for whatever a test ties.
const PLACEMENT_BYTES: u64 = 1 << 30;

fn rules() -> Rules {
    Rules {
        routing: Routing::new(LANES),
        live: vec![Some(Takes::anything(Product::Redis)); LANES],
        marker_key: b"marker".to_vec(),
        clock: Clock { now_ms: 0, offset_ms: OFFSET_FAR_MS },
        touches: None,
        scripts: None,
    }
}

fn source(commands: &[String]) -> (tempfile::NamedTempFile, Source) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut text = Vec::new();
    for command in commands {
        encode::command(&mut text, &command.split(' ').map(str::as_bytes).collect::<Vec<_>>());
    }
    file.write_all(&text).expect("room for the source");
    let source = Source::open(file.path()).expect("a readable source");
    (file, source)
}

/// A survey, and the rules once its names are placed.
fn surveyed(source: &Source, forgets: bool) -> (Survey, Rules, crate::placement::Placing) {
    surveyed_in(source, window_bytes(LANES), forgets)
}

/// The same in windows of so many bytes.
fn surveyed_in(
    source: &Source,
    window_bytes: u64,
    forgets: bool,
) -> (Survey, Rules, crate::placement::Placing) {
    let mut rules = rules();
    let mut survey = survey(source, &rules, (window_bytes, Purpose::Report), source.end(), &|_| Ok(()))
        .expect("a sound source");
    if forgets {
        survey.spots = None;
        survey.traces.clear();
    }
    let (homes, placing) =
        place(source, &rules, &survey, PLACEMENT_BYTES, &|| Ok(())).expect("room for names");
    rules.routing.set_homes(homes);
    (survey, rules, placing)
}

fn lanes(tally: &Tally) -> Vec<(u64, u64)> {
    tally.lanes.iter().map(|lane| (lane.commands, lane.bytes)).collect()
}

fn commands() -> impl Strategy<Value = Vec<String>> {
    let key = "[a-h]";
    let command = prop_oneof![
        key.prop_map(|key| format!("SET {key} value")),
        key.prop_map(|key| format!("DEL {key}")),
        (key, key).prop_map(|(one, other)| format!("DEL {one} {other}")),
        (key, key).prop_map(|(one, other)| format!("MSET {one} 1 {other} 2")),
        (key, key).prop_map(|(one, other)| format!("RENAME {one} {other}")),
        (key, key, key).prop_map(|(one, other, third)| format!("SUNIONSTORE {one} {other} {third}")),
        (key, 0..3u32).prop_map(|(key, db)| format!("MOVE {key} {db}")),
        (0..3u32).prop_map(|db| format!("SELECT {db}")),
        (0..3u32, 0..3u32).prop_map(|(one, other)| format!("SWAPDB {one} {other}")),
        Just("FLUSHDB".to_owned()),
    ];
    proptest::collection::vec(command, 1..120)
}

proptest! {
    #[test]
    fn corrected_counts_are_those_of_counting_again(commands in commands()) {
        let (_file, source) = source(&commands);
        let (mut survey, rules, _) = surveyed(&source, false);
        let again = count_again(&source, &rules, &survey, &|| Ok(())).expect("an unchanged source");
        placed(&source, &rules, &mut survey, Wanted::Counts, &|| Ok(())).expect("an unchanged source");
        prop_assert_eq!(lanes(&survey.tally), lanes(&again));
        prop_assert_eq!(survey.tally.foreign_bytes, again.foreign_bytes);
    }

    /// Small windows, so that the commands of some are remembered.
    #[test]
    fn counts_are_corrected_from_what_is_remembered(commands in commands()) {
        let (_file, source) = source(&commands);
        let (mut survey, rules, _) = surveyed_in(&source, 100, false);
        let again = count_again(&source, &rules, &survey, &|| Ok(())).expect("an unchanged source");
        placed(&source, &rules, &mut survey, Wanted::Counts, &|| Ok(())).expect("an unchanged source");
        prop_assert_eq!(lanes(&survey.tally), lanes(&again));
        prop_assert_eq!(survey.tally.foreign_bytes, again.foreign_bytes);
    }

    #[test]
    fn what_is_remembered_places_names_as_the_whole_source_does(commands in commands()) {
        let (_file, source) = source(&commands);
        let (remembered, looked_up) = (surveyed(&source, false).2, surveyed(&source, true).2);
        prop_assert_eq!(remembered.foreign, looked_up.foreign);
        prop_assert_eq!((remembered.groups, remembered.largest), (looked_up.groups, looked_up.largest));
    }
}

/// More commands in a window than are gone through at once, some of them long, some in transactions.
#[test]
fn counts_are_corrected_in_windows_of_thousands_of_commands() {
    let name = |number: usize| number.wrapping_mul(2_654_435_761) % 997;
    let commands: Vec<String> = (0..60_000)
        .map(|number| match number % 50 {
            0 => format!("RENAME {} {}", name(number), name(number + 7)),
            1 => format!("SELECT {}", number % 3),
            2 => format!("SET {} {}", name(number), "v".repeat(150 + number / 50 % 150)),
            3 => "MULTI".to_owned(),
            5 => "EXEC".to_owned(),
            _ => format!("SET {} {number}", name(number)),
        })
        .collect();
    let (_file, source) = source(&commands);
    let (mut survey, rules, _) = surveyed_in(&source, 64 << 10, false);
    assert!(survey.traces.iter().flatten().any(|trace| trace.len() > 1500));
    let again = count_again(&source, &rules, &survey, &|| Ok(())).expect("an unchanged source");
    assert_ne!(lanes(&survey.tally), lanes(&again));
    placed(&source, &rules, &mut survey, Wanted::Counts, &|| Ok(())).expect("an unchanged source");
    assert_eq!(lanes(&survey.tally), lanes(&again));
    assert_eq!(survey.tally.foreign_bytes, again.foreign_bytes);
}

/// A command that had no lane before may have one that refuses it.
#[test]
fn what_is_refused_once_it_has_a_lane_is_found_in_either_way() {
    let commands = ["SET a 1", "MSETEX 2 a 1 b 2 PX 9223372036854775807"].map(str::to_owned);
    let (_file, source) = source(&commands);
    for wanted in [Wanted::Counts, Wanted::Refusals] {
        let (mut survey, rules, _) = surveyed(&source, false);
        assert_eq!((survey.tally.tied, survey.tally.refused_total()), (1, 0));
        placed(&source, &rules, &mut survey, wanted, &|| Ok(())).expect("an unchanged source");
        assert_eq!((survey.tally.tied, survey.tally.refused_total()), (1, 1), "{wanted:?}");
    }
}
