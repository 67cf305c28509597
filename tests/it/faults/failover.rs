//! A master dies and a replica takes its place, which may lag behind.
//!
//! The bug: what the replica had not received is missing for good, or what it had is applied twice.
//! Its mechanism: the loader goes on where the dead master was.
//! The guard: the marker is replicated with its batch, so the new master's marker says what the new master holds, and the
//! lane goes back to it, however far that is.

use crate::drill::{self, Drill, Mark, Targets, mark, mixed_durable};
use crate::support::loader::{Loader, Running};
use crate::support::proxy::Proxy;
use crate::support::server::Server;

/// Two windows, so that a lane may have to go back to the one before.
const ROUNDS: usize = 1_500;

/// Three masters; the first one has a replica, linked through a proxy.
struct Sets {
    drill: Drill,
    targets: Targets,
    replica: Server,
    link: Proxy,
}

impl Sets {
    fn new(seed: u64) -> Self {
        let drill = Drill::of(&mixed_durable(seed, ROUNDS));
        let start = |_| Server::start(&[("repl-diskless-sync-delay", "0")]);
        let targets = Targets::behind((0..3).map(start).collect());
        let link = Proxy::start(targets.masters[0].addr());
        Self { drill, targets, replica: Server::start(&[]), link }
    }

    fn follow(&self) {
        self.replica.cmd(&["REPLICAOF", "127.0.0.1", &self.link.port().to_string()]).expect("REPLICAOF");
        drill::eventually("the replica", || self.replica.info("master_link_status").as_deref() == Some("up"));
    }

    fn loader(&self) -> Loader {
        let [first, rest @ ..] = &self.targets.addrs()[..] else { panic!("there are three") };
        let mut text =
            format!("[[replica_set]]\nmaster = \"{first}\"\nreplicas = [\"{}\"]\n", self.replica.addr());
        for addr in rest {
            text += &format!("[[replica_set]]\nmaster = \"{addr}\"\n");
        }
        // The master dies within reach of the loader, so its proxy refuses at once.
        let limits = ["--batch-bytes", "4KiB", "--in-flight-bytes", "32KiB", "--timeout-ms", "5000"];
        self.drill.loader().args(&limits).topology(&text)
    }

    fn wait_for(&self, run: &mut Running, fraction: f64) {
        self.drill.wait_for(run, &self.targets.masters[0], fraction);
    }

    /// The replica, which has begun to follow the load, hears nothing more.
    fn cut_replica_off(&self) {
        drill::eventually("the replica's first marker", || mark(&self.replica).is_some());
        self.link.refuse(true);
        self.link.cut();
    }

    /// The master is gone and the replica is master; returns what its marker said before.
    fn fail_over(&mut self) -> Option<Mark> {
        let from = mark(&self.replica);
        self.targets.masters[0].kill9();
        self.replica.cmd(&["REPLICAOF", "NO", "ONE"]).expect("REPLICAOF NO ONE");
        from
    }

    fn assert_loaded(&self) {
        self.drill.assert_loaded([&self.replica, &self.targets.masters[1], &self.targets.masters[2]]);
    }

    fn finish(&self, run: Running) {
        self.targets.fast();
        let output = run.finish();
        assert_eq!(output.code, Some(0), "{output}");
        self.assert_loaded();
    }
}

#[test]
fn a_replica_in_step_is_promoted() {
    let mut sets = Sets::new(drill::seed(81));
    sets.follow();
    sets.targets.slow();
    let mut run = sets.loader().spawn();
    sets.wait_for(&mut run, 0.3);
    drill::eventually("the replica's first batch", || {
        mark(&sets.replica).is_some_and(|mark| mark.phase == "loading")
    });
    let from = sets.fail_over();
    assert!(from.as_ref().is_some_and(|mark| mark.phase == "loading"), "{from:?}");
    sets.finish(run);
}

#[test]
fn a_replica_that_lags_is_promoted() {
    for (seed, cut_at, die_at) in [(82, 0.1, 0.15), (83, 0.05, 0.4), (84, 0.2, 0.85)] {
        let mut sets = Sets::new(drill::seed(seed));
        sets.follow();
        sets.targets.slow();
        let mut run = sets.loader().spawn();
        sets.wait_for(&mut run, cut_at);
        sets.cut_replica_off();
        sets.wait_for(&mut run, die_at);
        let reached = mark(&sets.targets.masters[0]).expect("a marker");
        let from = sets.fail_over().expect("the replica has a marker");
        assert!(from.at < reached.at, "it does not lag: {from:?}, {reached:?}");
        sets.finish(run);
    }
}

/// As far behind as can be: nothing of the load had reached it.
#[test]
fn a_replica_without_anything_is_promoted() {
    let mut sets = Sets::new(drill::seed(85));
    sets.targets.slow();
    let mut run = sets.loader().spawn();
    sets.wait_for(&mut run, 0.3);
    assert_eq!(sets.fail_over(), None);
    sets.finish(run);
}

/// The loader dies as well, and the next run finds a checkpoint that is ahead of the new master.
#[test]
fn the_loader_is_killed_around_a_failover() {
    let mut sets = Sets::new(drill::seed(86));
    sets.follow();
    sets.targets.slow();
    let mut run = sets.loader().spawn();
    sets.wait_for(&mut run, 0.1);
    sets.cut_replica_off();
    sets.wait_for(&mut run, 0.3);
    run.kill9();
    let from = sets.fail_over();
    let mut run = sets.loader().spawn();
    run.wait_until("progress", || {
        mark(&sets.replica).is_some_and(|mark| Some(mark.at) > from.as_ref().map(|from| from.at))
    });
    run.kill9();
    sets.targets.fast();
    sets.loader().run_ok();
    sets.assert_loaded();
}
