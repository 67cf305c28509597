//! Source after source, until the time or the count is over, or something differs.

use super::coverage::{Coverage, Wanted, commands_of};
use super::judge::{Fleet, Layout, Reference, Verdict};
use super::shrink::shrunk;
use super::source::{Settings, Source};
use crate::support::generate::Payloads;
use crate::support::server::Server;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Arguments that must not change the outcome; one of them for each load.
const VARIANTS: [&str; 6] = [
    "",
    "--batch-commands 1",
    "--batch-commands 3 --batch-bytes 1KiB",
    "--batch-commands 17 --threads 1",
    "--batch-bytes 4KiB --in-flight-bytes 4KiB",
    "--threads 3",
];
/// Of the sources that can be played, so many are.
const PLAYED_ONE_IN: u64 = 3;
/// How often a long run says how far it is.
const PROGRESS_PAUSE: Duration = Duration::from_secs(60);

/// How long, and of what.
#[derive(Clone, Debug)]
pub struct Plan {
    /// From which all sources follow.
    pub seed: u64,
    /// No source begins after this.
    pub time: Duration,
    /// At least so many sources, and more while there is time.
    pub sources_min: u64,
    /// No more than so many.
    pub sources_max: u64,
    /// Sources at a time.
    pub workers: usize,
    /// What may occur.
    pub settings: Settings,
}

/// What was done.
#[derive(Debug, Default)]
struct Totals {
    sources: AtomicU64,
    commands: AtomicU64,
    loads: AtomicU64,
    keys: AtomicU64,
    stop: AtomicBool,
}

/// One that the tool loads otherwise than a server.
#[derive(Debug)]
struct Failure {
    source: Source,
    layout: Layout,
    verdict: Verdict,
}

impl Settings {
    /// All that the tests' server knows, unless the environment leaves something out.
    pub fn of(server: &Server) -> Self {
        Self {
            known: commands_of(server).into_keys().collect(),
            payloads: Payloads::of(server),
            ties: super::switch("TIES"),
            fields: super::switch("FIELDS"),
            scripts: super::switch("SCRIPTS"),
        }
    }
}

/// Runs it; panics with the first difference, shrunk. What was covered is added to `coverage`.
pub fn run(plan: &Plan, coverage: &mut Coverage) {
    println!(
        "differential: seed {} (DIFFERENTIAL_SEED={} runs the same sources again)",
        plan.seed, plan.seed
    );
    let totals = Totals::default();
    let begun = Instant::now();
    let covered = Mutex::new(std::mem::take(coverage));
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..plan.workers {
            scope.spawn(|| work(plan, begun, &totals, &covered, &failures));
        }
    });
    *coverage = covered.into_inner().expect("no worker has panicked");
    let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
    println!(
        "differential: {} sources, {} commands, {} loads, {} keys compared in {} s",
        count(&totals.sources),
        count(&totals.commands),
        count(&totals.loads),
        count(&totals.keys),
        begun.elapsed().as_secs()
    );
    if let Some(failure) = failures.into_inner().expect("no worker has panicked").pop() {
        report(failure);
    }
}

fn work(
    plan: &Plan,
    begun: Instant,
    totals: &Totals,
    covered: &Mutex<Coverage>,
    failures: &Mutex<Vec<Failure>>,
) {
    let mut fleet = Fleet::new();
    let live = Server::start(&[]);
    let mut said = Instant::now();
    while !totals.stop.load(Ordering::Relaxed) {
        let nth = totals.sources.fetch_add(1, Ordering::Relaxed);
        if nth >= plan.sources_max || (nth >= plan.sources_min && begun.elapsed() >= plan.time) {
            totals.sources.fetch_sub(1, Ordering::Relaxed);
            return;
        }
        let seed = plan.seed.wrapping_mul(1_000_000).wrapping_add(nth);
        let _announced = Announced(seed);
        let source = Source::random(seed, &plan.settings);
        if let Some(failure) = try_all(&mut fleet, source.clone(), totals) {
            totals.stop.store(true, Ordering::Relaxed);
            failures.lock().expect("no worker has panicked").push(failure);
            return;
        }
        if source.playable && source.base.is_none() && nth.is_multiple_of(PLAYED_ONE_IN) {
            let mut mine = Coverage::default();
            play(&mut mine, &live, &source);
            covered.lock().expect("no worker has panicked").merge(mine);
        }
        if said.elapsed() > PROGRESS_PAUSE {
            said = Instant::now();
            println!("differential: {nth} sources in {} s", begun.elapsed().as_secs());
        }
    }
}

/// Plays a source on an empty server.
pub fn play(coverage: &mut Coverage, live: &Server, source: &Source) {
    crate::scene::empty(std::slice::from_ref(live));
    live.cmd(&["SCRIPT", "FLUSH"]).expect("SCRIPT FLUSH");
    coverage.play(live, source);
}

fn try_all(fleet: &mut Fleet, source: Source, totals: &Totals) -> Option<Failure> {
    let reference = Reference::of(&source);
    totals.commands.fetch_add(source.records.len() as u64, Ordering::Relaxed);
    for layout in layouts(&source) {
        match fleet.judge(&reference, &layout) {
            Verdict::Same(keys) => {
                totals.loads.fetch_add(1, Ordering::Relaxed);
                totals.keys.fetch_add(keys as u64, Ordering::Relaxed);
            }
            verdict => return Some(Failure { source, layout, verdict }),
        }
    }
    None
}

/// One, two, three and five masters, and directories, as far as the source's ties allow.
fn layouts(source: &Source) -> Vec<Layout> {
    let mut rng = StdRng::seed_from_u64(source.seed ^ 0x1a10);
    let numbers: &[usize] = match source.untied_for {
        Some(shards) => &[1, shards],
        None => &[1, 2, 3, 5],
    };
    let mut layout = |shards: usize, directories: bool| {
        let variant = VARIANTS.choose(&mut rng).expect("there are some");
        let mut args: Vec<String> = variant.split_whitespace().map(str::to_owned).collect();
        if super::switch("SCRIPTS") {
            args.push("--accept-scripts".to_owned());
        }
        Layout { shards, directories, args }
    };
    let mut all: Vec<Layout> = numbers.iter().map(|shards| layout(*shards, false)).collect();
    let nth = usize::try_from(source.seed).expect("64 bits") % numbers.len();
    all.push(layout(numbers[nth], true));
    all
}

/// Shrinks it, shows it, and fails the test.
fn report(failure: Failure) {
    let Failure { source, layout, verdict } = failure;
    println!("seed {} with {layout:?}: {}", source.seed, verdict.text());
    let path = keep(&source, "whole");
    let mut fleet = Fleet::new();
    let mut again = |candidate: &Source| {
        let found = fleet.judge(&Reference::of(candidate), &layout);
        found.is_like(&verdict)
    };
    if !again(&source) {
        panic!("seed {}: not so when loaded again; it is kept as {}", source.seed, path.display());
    }
    let small = shrunk(&source, again);
    let path = keep(&small, "shrunk");
    let outcome = Fleet::new().judge(&Reference::of(&small), &layout);
    panic!(
        "seed {} with {layout:?}: {}\nthe source, shrunk to {} of {} commands ({}):\n{}",
        source.seed,
        outcome.text(),
        small.records.len(),
        source.records.len(),
        path.display(),
        small.text()
    );
}

/// Writes a source where it outlasts the test.
fn keep(source: &Source, what: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join("differential")
        .join(format!("{}-{what}", source.seed));
    // Another run may have left one.
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("a directory can be made");
    source.write(&dir)
}

/// Names the source that was at work if the worker panics.
struct Announced(u64);

impl Drop for Announced {
    fn drop(&mut self) {
        if thread::panicking() {
            println!("differential: it was the source of seed {}", self.0);
        }
    }
}

/// What a test of a given environment looks for.
pub fn wanted(settings: &Settings) -> Wanted {
    Wanted { fields: settings.fields, scripts: settings.scripts }
}

/// A number between 0 and 999,999 for runs that name none: new each time.
pub fn fresh_seed() -> u64 {
    rand::rng().random_range(0..1_000_000)
}
