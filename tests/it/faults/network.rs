//! Connections that break, and bytes that arrive late.
//!
//! The bug: a batch is applied twice, or one after it without it.
//! Its mechanism: a connection is cut after any byte, so the loader does not know what went in; and what it had sent over
//! the old connection may still reach the server after it has gone on over a new one.
//! The guard: before each transaction the server compares the marker with what the batch expects, and touches the
//! watched marker if it is another, so that the EXEC changes nothing.

use super::ROUNDS;
use crate::drill::{self, Drill, Targets, mark};
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
            if connections > seen[lane] + 1 && mark(&targets.masters[lane]).is_some() && cuts[lane] < CUTS_PER_LANE {
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
fn late_bytes(drill: &Drill, targets: &Targets, loader: &Loader, rng: &mut StdRng) {
    const ROUNDS: usize = 6;
    let mut run = loader.spawn();
    drill.wait_for(&mut run, &targets.masters[0], 0.05);
    let mut released = 0;
    for round in 0..ROUNDS {
        let lane = round % 3;
        let (proxy, master) = (&targets.proxies[lane], &targets.masters[lane]);
        let connections = proxy.connections();
        proxy.hold_after(rng.random_range(1..20_000));
        run.wait_until("a new connection", || proxy.connections() > connections);
        let before = mark(master);
        run.wait_until("progress over it", || mark(master) != before);
        released += proxy.release();
    }
    // The last ones come after everything is done.
    targets.proxies[0].hold_after(rng.random_range(1..5_000));
    targets.fast();
    let output = run.finish();
    assert_eq!(output.code, Some(0), "{output}");
    drill.assert_loaded(&targets.masters);
    released += targets.proxies[0].release();
    println!("{released} bytes came late");
    assert!(released > 5_000);
    drill.assert_loaded(&targets.masters);
}

#[test]
fn bytes_of_dead_connections_arrive_late() {
    for seed in [41, 42] {
        let drill = Drill::mixed(drill::seed(seed), ROUNDS);
        let targets = Targets::new();
        targets.slow();
        let limits = ["--batch-bytes", "4KiB", "--in-flight-bytes", "16KiB"];
        let loader = drill.loader().args(&limits).masters(&targets.addrs());
        late_bytes(&drill, &targets, &loader, &mut StdRng::seed_from_u64(seed));
    }
}

const USER: &str = "[auth]\nusername = \"loader\"\npassword_env = \"LOADER_PASSWORD\"\n";

/// A loader that may not run scripts, so that the guard has to do without.
fn without_scripts(drill: &Drill, targets: &Targets) -> Loader {
    for master in &targets.masters {
        let rules = ["ACL", "SETUSER", "loader", "on", ">secret", "~*", "&*", "+@all", "-@scripting"];
        master.cmd(&rules).expect("ACL SETUSER");
    }
    let sets = targets.addrs().iter().map(|addr| format!("[[replica_set]]\nmaster = \"{addr}\"\n")).collect::<String>();
    let limits = ["--batch-bytes", "4KiB", "--in-flight-bytes", "16KiB"];
    drill.loader().args(&limits).topology(&format!("{USER}{sets}")).env("LOADER_PASSWORD", "secret")
}

#[test]
fn bytes_arrive_late_where_scripts_are_not_permitted() {
    // Functions belong to the scripts, so the source has none.
    let drill = Drill::of(&drill::mixed_without_functions(43, ROUNDS));
    let targets = Targets::new();
    targets.slow();
    let loader = without_scripts(&drill, &targets);
    late_bytes(&drill, &targets, &loader, &mut StdRng::seed_from_u64(43));
}

#[test]
fn a_loader_without_scripts_is_killed_and_run_again() {
    let drill = Drill::of(&drill::mixed_without_functions(44, ROUNDS));
    let targets = Targets::new();
    targets.slow();
    let loader = without_scripts(&drill, &targets);
    for fraction in [0.1, 0.3, 0.6] {
        let mut run = loader.spawn();
        drill.wait_for(&mut run, &targets.masters[1], fraction);
        run.kill9();
    }
    targets.fast();
    loader.run_ok();
    drill.assert_loaded(&targets.masters);
}
