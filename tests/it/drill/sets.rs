//! Replica sets, one of which loses its master.

use super::{Drill, Mark, Targets, eventually, mark};
use crate::support::loader::{Loader, Running};
use crate::support::proxy::Proxy;
use crate::support::server::Server;

/// Three masters; the first one has a replica, linked through a proxy that can hold back what the master says.
pub struct Sets {
    pub drill: Drill,
    pub targets: Targets,
    pub replica: Server,
    link: Proxy,
}

impl Sets {
    /// To load a source of these bytes into.
    pub fn of(bytes: &[u8]) -> Self {
        let start = |_| Server::start(&[("repl-diskless-sync-delay", "0")]);
        let targets = Targets::behind((0..super::SHARDS).map(start).collect());
        let link = Proxy::start(targets.masters[0].addr());
        Self { drill: Drill::of(bytes), targets, replica: Server::start(&[]), link }
    }

    /// The replica begins to follow its master.
    pub fn follow(&self) {
        self.replica.cmd(&["REPLICAOF", "127.0.0.1", &self.link.port().to_string()]).expect("REPLICAOF");
        eventually("the replica", || self.replica.info("master_link_status").as_deref() == Some("up"));
    }

    /// The tool with this source and these sets.
    pub fn loader(&self) -> Loader {
        let [first, rest @ ..] = &self.targets.addrs()[..] else { panic!("there are three") };
        let mut text =
            format!("[[replica_set]]\nmaster = \"{first}\"\nreplicas = [\"{}\"]\n", self.replica.addr());
        for addr in rest {
            text += &format!("[[replica_set]]\nmaster = \"{addr}\"\n");
        }
        // The master dies within reach of the loader, so its proxy refuses at once.
        self.drill.loader().args(&["--timeout-ms", "5000"]).topology(&text)
    }

    /// The replica hears so many bytes more, and nothing after them.
    pub fn cut_replica_off_after(&self, bytes: u64) {
        self.link.refuse(true);
        self.link.cut_replies_after(bytes);
    }

    /// The replica hears nothing more.
    pub fn cut_replica_off(&self) {
        self.link.refuse(true);
        self.link.cut();
    }

    /// The master is gone and the replica is master; returns what its marker said before.
    pub fn fail_over(&mut self) -> Option<Mark> {
        let from = mark(&self.replica);
        self.targets.masters[0].kill9();
        self.replica.cmd(&["REPLICAOF", "NO", "ONE"]).expect("REPLICAOF NO ONE");
        from
    }

    /// After a failover all is there, and nothing else.
    pub fn assert_loaded(&self) {
        self.drill.assert_loaded([&self.replica, &self.targets.masters[1], &self.targets.masters[2]]);
    }

    /// A run under way, in which the master was lost, ends well.
    pub fn finish(&self, run: Running) {
        self.targets.fast();
        let output = run.finish();
        assert_eq!(output.code, Some(0), "{output}");
        // The master that was lost is the only one that there is to wait for.
        assert!(output.stdout.contains("since a failover one is away: of"), "{output}");
        self.assert_loaded();
    }
}
