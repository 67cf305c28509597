//! Connections that break, and bytes that arrive late.
//!
//! The bug: a batch is applied twice, or one after it without it.
//! Its mechanism: a connection is cut after any byte, so the loader does not know what went in; and what it had sent over
//! the old connection may still reach the server after it has gone on over a new one.
//! The guard: before each transaction the server compares the marker with what the batch expects, and touches the
//! watched marker if it is another, so that the EXEC changes nothing.

use super::ROUNDS;
use crate::drill::{self, Drill, Targets, mark};
use crate::support::aof::of_lines;
use crate::support::loader::Loader;
use crate::support::proxy::Proxy;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::thread;
use std::time::Duration;

const POLL_PAUSE: Duration = Duration::from_micros(500);
const CUTS_PER_LANE: usize = 8;

/// Cuts each lane's connections again and again, each time once the loader is back.
fn cut_again_and_again(seed: u64, mut cut: impl FnMut(&Proxy, &mut StdRng)) {
    let mut rng = StdRng::seed_from_u64(seed);
    let drill = Drill::mixed(seed, ROUNDS);
    let targets = Targets::new();
    targets.slow();
    // A lane may be cut again before it has got anywhere, so more is in flight than one cut takes away.
    let limits = ["--batch-bytes", "4KiB", "--in-flight-bytes", "64KiB"];
    let mut run = drill.loader().args(&limits).masters(&targets.addrs()).spawn();
    let mut cuts = [0; 3];
    let mut seen = [0; 3];
    let output = loop {
        for (lane, proxy) in targets.proxies.iter().enumerate() {
            let connections = proxy.connections();
            // The first connections belong to the look at the targets before anything is written.
            if connections > seen[lane] + 1
                && mark(&targets.masters[lane]).is_some()
                && cuts[lane] < CUTS_PER_LANE
            {
                cut(proxy, &mut rng);
                (cuts[lane], seen[lane]) = (cuts[lane] + 1, connections);
            }
        }
        if let Some(output) = run.try_wait() {
            break output;
        }
        thread::sleep(POLL_PAUSE);
    };
    assert_eq!(output.code, Some(0), "{output}");
    println!("cuts {cuts:?}");
    assert!(cuts.iter().sum::<usize>() >= 3 * CUTS_PER_LANE / 2, "the load was over too soon: {cuts:?}");
    drill.assert_loaded(&targets.masters);
}

#[test]
fn connections_cut_after_any_byte_sent() {
    for seed in [31, 32] {
        cut_again_and_again(drill::seed(seed), |proxy, rng| proxy.cut_after(rng.random_range(1..60_000)));
    }
}

#[test]
fn connections_cut_after_any_byte_answered() {
    cut_again_and_again(drill::seed(33), |proxy, rng| proxy.cut_replies_after(rng.random_range(1..10_000)));
}

/// Holds back what is sent from some byte on until the loader has gone on over another connection, and delivers it then.
fn late_bytes(drill: &Drill, loader: &Loader, targets: &Targets, rng: &mut StdRng) {
    const TIMES_PER_LANE: usize = 3;
    targets.delay(5);
    let mut run = loader.spawn();
    let (mut released, mut times, mut ended) = (0, 0, None);
    while ended.is_none() && times < 3 * TIMES_PER_LANE {
        let lane = times % 3;
        let (proxy, master) = (&targets.proxies[lane], &targets.masters[lane]);
        let has_begun = || mark(master).is_some_and(|mark| mark.phase == "loading" && mark.at.2 > 0);
        ended = drill::or_end(&mut run, has_begun);
        let connections = proxy.connections();
        proxy.hold_after(rng.random_range(1..10_000));
        ended = ended.or_else(|| drill::or_end(&mut run, || proxy.connections() > connections));
        let before = mark(master);
        ended = ended.or_else(|| drill::or_end(&mut run, || mark(master) != before));
        released += proxy.release();
        times += 1;
    }
    targets.fast();
    let output = ended.unwrap_or_else(|| run.finish());
    assert_eq!(output.code, Some(0), "{output}");
    println!("{released} bytes came late, {times} times");
    assert!(released > 1_000 && times >= 4, "too few bytes came late: {released}, {times} times");
    drill.assert_loaded(&targets.masters);
}

fn few_in_flight(drill: &Drill) -> Loader {
    drill.loader().args(&["--batch-bytes", "4KiB", "--in-flight-bytes", "8KiB"])
}

#[test]
fn bytes_of_dead_connections_arrive_late() {
    for seed in [41, 42] {
        let drill = Drill::mixed(drill::seed(seed), ROUNDS);
        let targets = Targets::new();
        let loader = few_in_flight(&drill).masters(&targets.addrs());
        late_bytes(&drill, &loader, &targets, &mut StdRng::seed_from_u64(seed));
    }
}

/// So late that all is done and the markers are gone.
#[test]
fn bytes_of_a_dead_connection_arrive_after_the_end() {
    let drill = Drill::mixed(drill::seed(43), ROUNDS);
    let targets = Targets::new();
    targets.slow();
    let mut run = few_in_flight(&drill).masters(&targets.addrs()).spawn();
    for (lane, proxy) in targets.proxies.iter().enumerate() {
        drill.wait_for(&mut run, &targets.masters[lane], 0.1);
        proxy.hold_after(1_000 * (1 + lane as u64));
    }
    let output = run.finish();
    assert_eq!(output.code, Some(0), "{output}");
    drill.assert_loaded(&targets.masters);
    let released: Vec<usize> = targets.proxies.iter().map(Proxy::release).collect();
    assert!(released.iter().any(|bytes| *bytes > 1_000), "{released:?}");
    drill.assert_loaded(&targets.masters);
}

const USER: &str = "[auth]\nusername = \"loader\"\npassword_env = \"LOADER_PASSWORD\"\n";

/// A loader that may not run scripts, so that the guard has to do without.
fn without(commands: &[&str], drill: &Drill, targets: &Targets) -> Loader {
    for master in &targets.masters {
        let rules = [&["ACL", "SETUSER", "loader", "on", ">secret", "~*", "&*", "+@all"], commands].concat();
        master.cmd(&rules).expect("ACL SETUSER");
    }
    let sets = targets
        .addrs()
        .iter()
        .map(|addr| format!("[[replica_set]]\nmaster = \"{addr}\"\n"))
        .collect::<String>();
    few_in_flight(drill).topology(&format!("{USER}{sets}")).env("LOADER_PASSWORD", "secret")
}

#[test]
fn bytes_arrive_late_where_eval_is_not_permitted() {
    let drill = Drill::mixed(drill::seed(44), ROUNDS);
    let targets = Targets::new();
    let loader = without(&["-eval", "-evalsha"], &drill, &targets);
    late_bytes(&drill, &loader, &targets, &mut StdRng::seed_from_u64(44));
}

/// Functions count as scripts, so the source has none.
#[test]
fn killed_and_run_again_where_no_scripting_is_permitted() {
    let drill = Drill::of(&drill::mixed_without_functions(45, ROUNDS));
    let targets = Targets::new();
    targets.slow();
    let loader = without(&["-@scripting"], &drill, &targets);
    for fraction in [0.1, 0.3, 0.6] {
        let mut run = loader.spawn();
        drill.wait_for(&mut run, &targets.masters[1], fraction);
        run.kill9();
    }
    targets.fast();
    loader.run_ok();
    drill.assert_loaded(&targets.masters);
}

/// A small load whose connections to one master break after any byte of what they carry, from the look at the targets on:
/// the question that creates the first marker is lost, or its answer. (The end of a load is for the seam in `ties`.)
fn cut_anywhere(cut: impl Fn(&Proxy, u64), carried: impl Fn(&Proxy) -> u64) {
    const CUTS: u64 = 80;
    let (drill, targets) =
        (Drill::of(&of_lines("INCR a\n INCR a\n RPUSH l 1\n SELECT 2\n APPEND s x")), Targets::new());
    let proxy = &targets.proxies[0];
    let loader = drill.loader_into(&targets).arg("--retry-for-s").arg("20");
    // What servers tell of themselves is longer once they have been loaded.
    let mut whole = 0;
    for _ in 0..2 {
        drill.reset(&targets.masters);
        let from = carried(proxy);
        loader.run_ok();
        whole = carried(proxy) - from;
    }
    let mut ended = 0;
    for nth in 0..CUTS {
        drill.reset(&targets.masters);
        cut(proxy, 1 + nth * whole / CUTS);
        let output = loader.run();
        if output.code != Some(0) {
            // Before there is a marker the loader does not wait for anybody.
            assert_eq!(output.code, Some(5), "{output}");
            assert!(output.stderr.contains(" was written"), "{output}");
            ended += 1;
            loader.run_ok();
        }
        drill.assert_loaded(&targets.masters);
    }
    println!("{CUTS} cuts in {whole} bytes, {ended} of which ended the load");
    assert!(ended < CUTS, "nothing is tried again");
}

#[test]
fn any_answer_of_a_small_load_is_lost() {
    cut_anywhere(Proxy::cut_replies_after, Proxy::bytes_down);
}

#[test]
fn any_question_of_a_small_load_is_lost() {
    cut_anywhere(Proxy::cut_after, Proxy::bytes_up);
}
