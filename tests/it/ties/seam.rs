//! A load that is cut off before every call of its sinks, or loses the answer to it.
//!
//! The bug: a key that is missing, double or on the wrong shard after a fault in the one place that nobody thought of.
//! Its mechanism: each step of applying, bringing, removing and putting right leaves the targets in a state of its own,
//! and a later run, or the same one, has to go on from every one of them.
//! The guard: the marker changes with what it speaks of, and what comes without is harmless to repeat. The sinks are the
//! real ones over real servers, so every state is one that a fault can leave.

use super::{SHARDS, shipping};
use crate::drill::Drill;
use crate::scene::{servers, started};
use crate::support::server::Server;
use redcluster_load::batch::Batch;
use redcluster_load::config::Job;
use redcluster_load::error::{Error, Kind};
use redcluster_load::job;
use redcluster_load::marker::Marker;
use redcluster_load::partition::LanePart;
use redcluster_load::sink::exchange::Flush;
use redcluster_load::sink::{Applied, Attached, Fault, OwnCommand, Secured, Shifted, Sink, Stop};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Set for a process that is one run of a load: what [`one_run`] does.
const RUN: &str = "SEAM_RUN";

/// What happens at a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// This and all later ones of any lane come to nothing, as if the loader were dead.
    Dead,
    /// It is carried out, and its answer is lost.
    Unheard,
}

/// Counts the calls of all sinks of a load, by what they are.
struct Seam {
    cut: Cut,
    /// The call at which it happens, if at any: the so many-th of its kind.
    at: (String, u64),
    calls: Mutex<BTreeMap<String, u64>>,
    is_dead: AtomicBool,
}

/// A sink that may fail.
struct Cuttable<'s> {
    sink: Box<dyn Sink + 's>,
    seam: Arc<Seam>,
}

impl Cuttable<'_> {
    fn call<T>(
        &mut self,
        what: &str,
        call: impl FnOnce(&mut dyn Sink) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let Seam { cut, at, calls, is_dead } = &*self.seam;
        let nth = {
            let mut calls = calls.lock().expect("no panic");
            let count = calls.entry(what.to_owned()).or_default();
            *count += 1;
            *count
        };
        let is_it = at.0 == what && at.1 == nth;
        if is_it && *cut == Cut::Dead {
            is_dead.store(true, Ordering::SeqCst);
        }
        if is_dead.load(Ordering::SeqCst) {
            return Err(Fault::Fatal(Error::new(Kind::Stopped, "dead").remedy("none")));
        }
        let done = call(&mut *self.sink);
        // What failed anyway has to be told.
        if is_it { done.and(Err(Fault::Lost("the answer is lost".to_owned()))) } else { done }
    }
}

/// A call made on behalf of a marker, by the lane's phase.
fn during(call: &str, marker: &Marker) -> String {
    format!("{call} while {:?}", marker.phase)
}

impl Sink for Cuttable<'_> {
    fn attach(&mut self) -> Result<Attached, Fault> {
        self.call("attach", |sink| sink.attach())
    }

    fn create(&mut self, found: Option<&Marker>, new: &Marker, flush: Flush) -> Result<(), Fault> {
        self.call("create", |sink| sink.create(found, new, flush))
    }

    fn exchange(&mut self, old: &Marker, new: &Marker) -> Result<(), Fault> {
        self.call(&during("exchange", old), |sink| sink.exchange(old, new))
    }

    fn apply(&mut self, part: &Arc<LanePart>, batch: Batch, old: &Marker, new: &Marker) -> Result<(), Fault> {
        self.call("apply", |sink| sink.apply(part, batch, old, new))
    }

    fn applied(&mut self, wait: bool) -> Result<Vec<Applied>, Fault> {
        self.call("applied", |sink| sink.applied(wait))
    }

    fn in_flight_bytes(&self) -> usize {
        self.sink.in_flight_bytes()
    }

    fn rest(&mut self) -> Result<(), Fault> {
        self.call("rest", |sink| sink.rest())
    }

    fn run(&mut self, marker: &Marker, db: u32, commands: &[OwnCommand]) -> Result<(), Fault> {
        self.call(&during("run", marker), |sink| sink.run(marker, db, commands))
    }

    fn secure(&mut self, marker: &Marker) -> Result<Secured, Fault> {
        self.call(&during("secure", marker), |sink| sink.secure(marker))
    }

    fn settle(
        &mut self,
        marker: &Marker,
        shifted: &Shifted<'_>,
        progress: &dyn Fn(u64, u64),
    ) -> Result<(), Fault> {
        self.call(&during("settle", marker), |sink| sink.settle(marker, shifted, progress))
    }

    fn finish(&mut self, marker: &Marker) -> Result<(), Fault> {
        self.call("finish", |sink| sink.finish(marker))
    }

    fn name(&self) -> String {
        self.sink.name()
    }
}

/// One run of a load, in a process of its own: a process that other tests start would hold on to its locks.
#[test]
fn one_run() {
    let Ok(text) = std::env::var(RUN) else { return };
    let run: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    let words = run["args"].as_array().expect("a list").iter().map(text);
    let args = redcluster_load::cli::parse(words).expect("sound arguments");
    let seam = Arc::new(Seam {
        cut: if run["unheard"] == true { Cut::Unheard } else { Cut::Dead },
        at: (text(&run["place"]), run["nth"].as_u64().expect("a number")),
        calls: Mutex::default(),
        is_dead: AtomicBool::default(),
    });
    let job = Job::from_args(&args).expect("a sound plan");
    let wrap: &job::Wrap<'_> = &|sink| Box::new(Cuttable { sink, seam: Arc::clone(&seam) });
    let error = job::run_through(&job, &Stop::default(), wrap).error.map(|error| error.to_string());
    let calls = seam.calls.lock().expect("no panic").clone();
    let outcome = serde_json::json!({ "error": error, "calls": calls });
    fs::write(text(&run["outcome"]), outcome.to_string()).expect("room");
}

/// What is loaded into what.
struct Trial {
    drill: Drill,
    args: Vec<String>,
    masters: Vec<Server>,
    /// Where the shards' directories are, if they are none of masters.
    out: Option<PathBuf>,
}

/// How a run ended.
struct Outcome {
    error: Option<String>,
    calls: BTreeMap<String, u64>,
}

impl Trial {
    fn of(args: &[String], drill: Drill, masters: Vec<Server>, out: Option<PathBuf>) -> Self {
        let source = drill.source().display().to_string();
        let own =
            ["redcluster-load", &source, "--quiet", "--json", "--batch-commands", "12", "--threads", "1"];
        let args = own.map(str::to_owned).into_iter().chain(args.iter().cloned()).collect();
        Self { drill, args, masters, out }
    }

    fn into_masters() -> Self {
        let (drill, masters) = (Drill::of(&shipping::tied(2)), servers(SHARDS));
        let topology = drill.dir().join("topology.toml");
        let sets = masters.iter().map(|master| format!("[[replica_set]]\nmaster = \"{}\"\n", master.addr()));
        fs::write(&topology, sets.collect::<String>()).expect("room");
        Self::of(&["--topology".to_owned(), topology.display().to_string()], drill, masters, None)
    }

    fn into_directories() -> Self {
        let drill = Drill::of(&shipping::tied(2));
        let out = drill.dir().join("out");
        let mut args = ["--shards", &SHARDS.to_string(), "--output", &out.display().to_string()]
            .map(str::to_owned)
            .to_vec();
        if let Ok(program) = std::env::var("REDIS_SERVER") {
            args.extend(["--scratch".to_owned(), program]);
        }
        Self::of(&args, drill, Vec::new(), Some(out))
    }

    fn run(&self, cut: Cut, (place, nth): (&str, u64)) -> Outcome {
        let outcome = self.drill.dir().join("outcome.json");
        let run = serde_json::json!({
            "args": self.args, "unheard": cut == Cut::Unheard, "place": place, "nth": nth, "outcome": outcome,
        });
        let test = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "ties::seam::one_run"])
            .env(RUN, run.to_string())
            .output()
            .expect("it can be run");
        assert!(test.status.success(), "{}", String::from_utf8_lossy(&test.stdout));
        let text = fs::read_to_string(&outcome).expect("an outcome");
        let outcome: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let calls = outcome["calls"].as_object().expect("calls").iter();
        Outcome {
            error: outcome["error"].as_str().map(str::to_owned),
            calls: calls.map(|(what, count)| (what.clone(), count.as_u64().expect("a number"))).collect(),
        }
    }

    /// A run that is left alone.
    fn finish(&self) -> BTreeMap<String, u64> {
        let Outcome { error, calls } = self.run(Cut::Dead, ("none", 0));
        assert_eq!(error, None);
        calls
    }

    /// All is there, and nothing else; and all is as before the first run.
    fn assert_loaded_and_reset(&self) {
        match &self.out {
            None => self.drill.assert_loaded(&self.masters),
            Some(out) => {
                let dirs = (0..SHARDS).map(|shard| out.join(format!("shard-{shard}"))).collect();
                self.drill.assert_loaded(&started(dirs));
                fs::remove_dir_all(out).expect("it is there");
            }
        }
        self.drill.reset(&self.masters);
    }

    /// Cuts a load off at every call that one makes which is left alone; each is finished by such a one. `kinds` are some
    /// of the calls that there are.
    fn cut_off_at_every_call(&self, cut: Cut, kinds: &[&str]) {
        let calls = self.finish();
        self.assert_loaded_and_reset();
        assert!(kinds.iter().all(|kind| calls.contains_key(*kind)), "{calls:?}");
        for (place, count) in &calls {
            for nth in 1..=*count {
                println!("{place}, number {nth}");
                let Outcome { error, calls } = self.run(cut, (place, nth));
                // How often it is asked what is applied is a matter of time.
                let was_cut = calls.get(place).is_some_and(|count| *count >= nth);
                // A load that has not begun is refused, if anything is amiss.
                let ends = was_cut && (cut == Cut::Dead || place == "create");
                assert_eq!(error.is_some(), ends, "{error:?}");
                if ends {
                    self.finish();
                }
                self.assert_loaded_and_reset();
            }
        }
        println!("{} calls: {calls:?}", calls.values().sum::<u64>());
    }
}

/// From the first batch to the last marker.
const INTO_MASTERS: [&str; 13] = [
    "create",
    "attach",
    "apply",
    "applied",
    "rest",
    "exchange while Loading",
    "run while Shipping",
    "exchange while Shipping",
    "secure while Shipped",
    "exchange while Shipped",
    "run while Settling",
    "settle while Settling",
    "finish",
];

#[test]
fn dead_before_every_call_into_masters() {
    Trial::into_masters().cut_off_at_every_call(Cut::Dead, &INTO_MASTERS);
}

#[test]
fn no_answer_to_any_call_into_masters() {
    Trial::into_masters().cut_off_at_every_call(Cut::Unheard, &INTO_MASTERS);
}

#[test]
fn dead_before_every_call_into_directories() {
    let kinds = ["run while Shipping", "settle while Shipping", "settle while Settling"];
    Trial::into_directories().cut_off_at_every_call(Cut::Dead, &kinds);
}
