use std::io;
use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::cli::Color;
use crate::counters::LaneState;
use meter::Meter;
use snapshot::Phase;

const SOURCE_BYTES: u64 = 2_800_000_000;

pub(super) fn counters(lanes: usize) -> Counters {
    let targets = (0..lanes).map(|lane| format!("10.0.0.{lane}:6379")).collect();
    Counters::new(targets, SOURCE_BYTES)
}

pub(super) fn snapshot(counters: &Counters, ms: u64) -> Snapshot {
    Snapshot::take(counters, Duration::from_millis(ms))
}

/// A stderr that keeps what is written to it.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Vec<u8>>>);

impl Write for Fake {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Fake {
    /// What was written since the last call.
    fn taken(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

fn set(counters: &Counters, state: LaneState) {
    counters.lanes.iter().for_each(|lane| lane.set_state(state));
}

fn apply(counters: &Counters, position: u64, commands: u64) {
    for lane in &counters.lanes {
        lane.position_bytes.store(position, Relaxed);
        lane.commands.store(commands, Relaxed);
        lane.bytes.store(position / counters.lanes.len() as u64, Relaxed);
    }
}

#[test]
fn plain_lines_come_every_interval_and_say_the_rate_since_the_last() {
    let fake = Fake::default();
    let mut plain = Plain::new(fake.clone(), Duration::from_secs(5));
    let counters = counters(3);
    counters.surveyed_bytes.store(1_000_000, Relaxed);
    plain.tick(snapshot(&counters, 100));
    assert_eq!(fake.taken(), "");
    counters.surveyed_bytes.store(1_400_000_000, Relaxed);
    plain.tick(snapshot(&counters, 5_000));
    assert_eq!(fake.taken(), "progress: surveying 50% 1.40 GB of 2.80 GB, 286 MB/s, eta 5 s\n");
    counters.surveyed_bytes.store(SOURCE_BYTES, Relaxed);
    plain.tick(snapshot(&counters, 10_000));
    assert_eq!(fake.taken(), "progress: preparing\n");

    // A resumed load: where it begins is not counted as if it had been loaded now.
    apply(&counters, 1_000_000_000, 0);
    set(&counters, LaneState::Loading);
    plain.tick(snapshot(&counters, 10_100));
    apply(&counters, 1_204_000_000, 853_000);
    plain.tick(snapshot(&counters, 15_100));
    assert_eq!(
        fake.taken(),
        "progress: 43% 1.20 GB of 2.80 GB, 512k commands/s, 3 shards loading, eta 40 s\n"
    );
    // Nothing moves: no guess at the end.
    for ms in [16_000, 18_000, 20_100] {
        plain.tick(snapshot(&counters, ms));
    }
    assert_eq!(fake.taken(), "progress: 43% 1.20 GB of 2.80 GB, 0 commands/s, 3 shards loading\n");

    set(&counters, LaneState::Settling);
    counters.lanes.iter().for_each(|lane| lane.settling_keys.store(1_000_000, Relaxed));
    plain.tick(snapshot(&counters, 20_200));
    counters.lanes.iter().for_each(|lane| lane.settled_keys.store(250_000, Relaxed));
    fake.taken();
    plain.tick(snapshot(&counters, 25_200));
    assert_eq!(
        fake.taken(),
        "progress: settling 25% 750k of 3.00M keys, 150k keys/s, 3 shards settling, eta 15 s\n"
    );
}

#[test]
fn plain_lines_tell_every_change_of_a_shard() {
    let fake = Fake::default();
    let mut plain = Plain::new(fake.clone(), Duration::from_secs(5));
    let counters = counters(2);
    let lane = &counters.lanes[1];
    let mut after = |state, note: &str| {
        lane.set_state(state);
        lane.set_note(note);
        plain.tick(snapshot(&counters, 100));
        fake.taken()
    };
    assert_eq!(after(LaneState::Loading, ""), "");
    assert_eq!(after(LaneState::Reconnecting, ""), "", "it gets a moment to say why");
    assert_eq!(
        after(LaneState::Reconnecting, "connection refused\x1b[2J"),
        "shard 1 (10.0.0.1:6379): reconnecting: connection refused\\u{1b}[2J\n"
    );
    assert_eq!(after(LaneState::Reconnecting, "still refused"), "", "once is enough");
    assert_eq!(after(LaneState::Loading, ""), "shard 1 (10.0.0.1:6379): loading again\n");
    lane.commands.store(1234, Relaxed);
    assert_eq!(after(LaneState::Loaded, ""), "shard 1 (10.0.0.1:6379): loaded, 1,234 commands\n");
    assert_eq!(after(LaneState::Settling, ""), "shard 1 (10.0.0.1:6379): settling\n");
    assert_eq!(after(LaneState::Reconnecting, ""), "");
    assert_eq!(after(LaneState::Reconnecting, ""), "shard 1 (10.0.0.1:6379): reconnecting\n");
    assert_eq!(after(LaneState::Settling, ""), "shard 1 (10.0.0.1:6379): settling again\n");
    assert_eq!(after(LaneState::Done, ""), "shard 1 (10.0.0.1:6379): done\n");
    // What happens in the last moment is told too, without a line of progress.
    counters.lanes[0].set_note("out of memory");
    counters.lanes[0].set_state(LaneState::Stopped);
    plain.end(snapshot(&counters, 60_000));
    assert_eq!(fake.taken(), "shard 0 (10.0.0.0:6379): stopped: out of memory\n");
}

#[test]
fn of_many_shards_only_trouble_is_told() {
    let fake = Fake::default();
    let mut plain = Plain::new(fake.clone(), Duration::from_secs(5));
    let counters = counters(plain::SHARDS_TOLD_MAX + 1);
    for state in [LaneState::Loading, LaneState::Loaded, LaneState::Settling, LaneState::Done] {
        set(&counters, state);
        plain.tick(snapshot(&counters, 100));
    }
    assert_eq!(fake.taken(), "");
    counters.lanes[3].set_state(LaneState::Stopped);
    plain.tick(snapshot(&counters, 6_000));
    assert_eq!(
        fake.taken(),
        "shard 3 (10.0.0.3:6379): stopped\nprogress: stopped 0% 0 B of 2.80 GB, 16 shards done, 1 stopped\n"
    );
}

#[test]
fn the_phase_follows_from_the_lanes() {
    use LaneState::{Done, Loaded, Loading, Reconnecting, Settling, Stopped, Waiting};
    for (states, phase) in [
        ([Waiting, Waiting], Phase::Surveying),
        ([Waiting, Loading], Phase::Loading),
        ([Waiting, Loaded], Phase::Loading),
        ([Reconnecting, Loaded], Phase::Loading),
        ([Loaded, Loaded], Phase::Settling),
        ([Settling, Loaded], Phase::Settling),
        ([Settling, Waiting], Phase::Settling),
        ([Settling, Stopped], Phase::Settling),
        ([Done, Settling], Phase::Settling),
        ([Done, Stopped], Phase::Stopped),
        ([Done, Done], Phase::Done),
    ] {
        let counters = counters(2);
        for (lane, state) in counters.lanes.iter().zip(states) {
            lane.set_state(state);
        }
        assert_eq!(snapshot(&counters, 0).phase(), phase, "{states:?}");
    }
    let counters = counters(1);
    counters.surveyed_bytes.store(SOURCE_BYTES, Relaxed);
    assert_eq!(snapshot(&counters, 0).phase(), Phase::Preparing);
    // Lost while settling: it does not fall back to loading.
    counters.lanes[0].settling_keys.store(1, Relaxed);
    counters.lanes[0].set_state(Reconnecting);
    assert_eq!(snapshot(&counters, 0).phase(), Phase::Settling);
    assert_eq!(snapshot(&super::tests::counters(0), 0).phase(), Phase::Done);
}

#[test]
fn rates_are_those_of_the_last_window() {
    let counters = counters(2);
    set(&counters, LaneState::Loading);
    let mut meter = Meter::new(Duration::from_secs(3));
    let mut rates = meter.rates(&snapshot(&counters, 0));
    assert_eq!((rates.done_per_s, rates.lanes.len(), rates.eta_s), (0.0, 2, None));
    for tenth in 1..=200 {
        apply(&counters, tenth * 1_000_000, tenth * 100);
        rates = meter.rates(&snapshot(&counters, tenth * 100));
    }
    assert!((rates.done_per_s - 10_000_000.0).abs() < 1.0, "{rates:?}");
    assert!((rates.total.commands_per_s - 2_000.0).abs() < 1.0, "{rates:?}");
    assert!((rates.lanes[0].bytes_per_s - 5_000_000.0).abs() < 1.0, "{rates:?}");
    assert!((rates.eta_s.unwrap() - 260.0).abs() < 1.0, "{rates:?}");
    // A stall is seen within the window.
    for tenth in 201..=233 {
        rates = meter.rates(&snapshot(&counters, tenth * 100));
    }
    assert_eq!((rates.done_per_s, rates.eta_s), (0.0, None));
}

#[test]
fn the_slowest_shard_decides_how_much_is_done() {
    let counters = counters(3);
    for (lane, (state, position)) in counters.lanes.iter().zip([
        (LaneState::Loading, 700),
        (LaneState::Reconnecting, 300),
        // A shard that got nothing at the end of the source need not say that it is there.
        (LaneState::Loaded, 100),
    ]) {
        lane.set_state(state);
        lane.position_bytes.store(position, Relaxed);
    }
    let now = snapshot(&counters, 0);
    assert_eq!(now.done(now.phase()), (300, SOURCE_BYTES));
}

#[test]
fn finish_does_not_wait_for_the_interval_and_quiet_shows_nothing() {
    let output = Output { json: false, quiet: true, verbosity: 0, color: Color::Never };
    let start = Instant::now();
    let progress = Progress::start(Arc::new(counters(1)), output, Duration::from_secs(3600));
    assert!(progress.thread.is_none());
    progress.warn("kept\x07");
    let notices = progress.notices();
    progress.finish();
    assert_eq!(notices.warnings(), ["kept\\u{7}"]);

    let end = Arc::new(End::default());
    let thread = std::thread::spawn({
        let end = Arc::clone(&end);
        move || run(&counters(1), &end, Box::new(Plain::new(Fake::default(), Duration::from_secs(3600))))
    });
    end.set();
    thread.join().unwrap();
    assert!(start.elapsed() < Duration::from_secs(60));
}
