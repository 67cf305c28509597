use std::sync::atomic::Ordering::Relaxed;

use super::super::tests::{counters, snapshot};
use super::*;
use crate::counters::Counters;

fn shown(counters: &Counters, color: bool) -> String {
    let mut meter = Meter::new(WINDOW);
    meter.rates(&snapshot(counters, 0));
    for lane in &counters.lanes {
        if lane.state() == LaneState::Loading {
            lane.commands.fetch_add(512_000, Relaxed);
            lane.bytes.fetch_add(120_000_000, Relaxed);
            lane.position_bytes.fetch_add(360_000_000, Relaxed);
            lane.in_flight_bytes.store(4_194_304, Relaxed);
        }
    }
    let now = snapshot(counters, 1000);
    let (phase, rates) = (now.phase(), meter.rates(&now));
    let mut text = format!("{} | {}\n", phase.word(), whole(&now, phase, &rates));
    for line in lines(&now, phase, &rates, color) {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

#[test]
fn while_loading_each_shard_has_a_line() {
    let counters = counters(7);
    let states = [
        (LaneState::Waiting, ""),
        (LaneState::Loading, ""),
        (LaneState::Loading, "OOM, waits for memory"),
        (LaneState::Reconnecting, "connection refused\r\n"),
        (LaneState::Loaded, ""),
        (LaneState::Stopped, "gone"),
        (LaneState::Done, ""),
    ];
    for (lane, (state, note)) in counters.lanes.iter().zip(states) {
        lane.set_state(state);
        lane.set_note(note);
    }
    counters.lanes[1].ignored.store(1, Relaxed);
    insta::assert_snapshot!(shown(&counters, false), @r#"
    loading | 0% 0 B of 2.80 GB
    10.0.0.0:6379  waiting
    10.0.0.1:6379  loading        512k cmd/s,  120 MB/s, 4.19 MB in flight, 1 error ignored
    10.0.0.2:6379  loading        512k cmd/s,  120 MB/s, 4.19 MB in flight, OOM, waits for memory
    10.0.0.3:6379  reconnecting  connection refused\r\n
    10.0.0.4:6379  loaded        0 commands
    10.0.0.5:6379  stopped       gone
    10.0.0.6:6379  done          0 commands
    "#);
}

#[test]
fn before_and_after_loading() {
    let counters = Counters::new(vec!["/var/lib/a/long/directory/out/shard-0".to_owned()], 1_000_000);
    counters.surveyed_bytes.store(500_000, Relaxed);
    insta::assert_snapshot!(shown(&counters, false), @"surveying | 50% 500 kB of 1.00 MB");
    counters.lanes[0].set_state(LaneState::Settling);
    counters.lanes[0].settling_keys.store(1_200_000, Relaxed);
    counters.lanes[0].settled_keys.store(300_000, Relaxed);
    insta::assert_snapshot!(shown(&counters, false), @"
    settling | 25% 300k of 1.20M keys
    …irectory/out/shard-0  settling      25% of 1.20M keys
    ");
    counters.lanes[0].set_state(LaneState::Done);
    assert_eq!(
        shown(&counters, true),
        "done | 100% 1.00 MB of 1.00 MB\n…irectory/out/shard-0  \x1b[32mdone        \x1b[0m  0 commands\n"
    );
}

#[test]
fn of_many_shards_those_in_trouble_are_shown() {
    let counters = counters(60);
    for (number, lane) in counters.lanes.iter().enumerate() {
        lane.set_state(if number % 3 == 0 { LaneState::Reconnecting } else { LaneState::Loading });
        lane.ignored.store(1, Relaxed);
    }
    let text = shown(&counters, false);
    assert_eq!(text.lines().count(), 1 + SHARDS_TOLD_MAX + 2);
    insta::assert_snapshot!(text.lines().rev().take(3).collect::<Vec<_>>().join("\n"), @"
    40 shards loading, 20 reconnecting: 20.5M cmd/s, 4.80 GB/s, 168 MB in flight, 60 errors ignored
    and 4 more like these
    10.0.0.45:6379  reconnecting  1 error ignored
    ");
}

#[test]
fn a_line_of_an_address_fits_80_columns() {
    let counters = Counters::new(vec!["255.255.255.255:65535".to_owned()], 10_000_000_000);
    counters.lanes[0].set_state(LaneState::Loading);
    let text = shown(&counters, false);
    let longest = text.lines().skip(1).map(|line| "  ".len() + line.chars().count()).max();
    assert!(longest <= Some(80), "{text}");
}
