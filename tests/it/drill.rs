//! A load to disturb: a source on which every loss, double and swap shows, targets behind proxies, a look at the
//! markers, and the verdict.

mod sets;

pub use sets::Sets;

use crate::scene::{self, Scene};
use crate::support::aof;
use crate::support::compare::{Placement, Snapshot, assert_no_differences, diff};
use crate::support::generate::{Generator, GeneratorOptions};
use crate::support::loader::{Loader, MARKER, Output, Running};
use crate::support::proxy::Proxy;
use crate::support::server::Server;
use crate::support::wire;
use redis::{Connection, Value};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Small batches, so that there are many places to be disturbed at.
pub const BATCH_COMMANDS: usize = 20;
/// The database of the counters: the generator's FLUSHDB and SWAPDB do not reach it and so hide nothing.
const COUNTERS_DB: &str = "SELECT 9";
const COUNTERS: usize = 60;
const COUNTERS_PER_ROUND: usize = 60;
const GENERATED_PER_ROUND: usize = 30;
const SHARDS: usize = 3;
const POLL_PAUSE: Duration = Duration::from_micros(300);
const EVENT_TIMEOUT: Duration = Duration::from_secs(60);

/// A source of `rounds` rounds: counters, lists and strings that only grow, and whatever the generator makes. The seed
/// is printed.
///
/// Every element is its number in the source, so that one that is missing, double or in the wrong place shows. Without
/// FLUSHALL, which would hide all that went wrong before it.
pub fn mixed(seed: u64, rounds: usize) -> Vec<u8> {
    mixed_but(seed, rounds, Near::Deadlines, &["FLUSHALL"])
}

/// The same without deadlines that pass while a test runs: what is loaded stays as it is.
pub fn mixed_steady(seed: u64, rounds: usize) -> Vec<u8> {
    mixed_but(seed, rounds, Near::Nothing, &["FLUSHALL"])
}

/// The same for targets whose user may not run scripts, which functions count as.
pub fn mixed_without_functions(seed: u64, rounds: usize) -> Vec<u8> {
    mixed_but(seed, rounds, Near::Deadlines, &["FLUSHALL", "FUNCTION"])
}

/// The same for servers that are restarted or replaced by a replica. Without BITFIELD: one that fails grows the string
/// all the same, and 7.0.15 tells neither its append-only file nor its replicas.
pub fn mixed_durable(seed: u64, rounds: usize) -> Vec<u8> {
    mixed_but(seed, rounds, Near::Deadlines, &["FLUSHALL", "BITFIELD"])
}

/// What happens soon.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Near {
    Deadlines,
    Nothing,
}

fn mixed_but(seed: u64, rounds: usize, near: Near, left_out: &[&str]) -> Vec<u8> {
    println!("seed {seed}");
    let near_deadlines = near == Near::Deadlines;
    let options = GeneratorOptions { big_values: false, near_deadlines, ..GeneratorOptions::default() };
    let mut generator = Generator::new(seed, options);
    let mut out = Vec::new();
    for round in 0..rounds {
        aof::push_words(&mut out, COUNTERS_DB);
        for nth in round * COUNTERS_PER_ROUND..(round + 1) * COUNTERS_PER_ROUND {
            push_counter(&mut out, nth);
        }
        aof::push_words(&mut out, "SELECT 0");
        for command in generator.commands(GENERATED_PER_ROUND) {
            if !left_out.iter().any(|name| command[0].eq_ignore_ascii_case(name.as_bytes())) {
                aof::push(&mut out, &command.iter().map(Vec::as_slice).collect::<Vec<_>>());
            }
        }
    }
    out
}

fn push_counter(out: &mut Vec<u8>, nth: usize) {
    // A multiplier without common divisor: the keys take turns, far apart.
    let key = nth * 7 % COUNTERS;
    let line = match nth % 3 {
        0 => format!("INCR n:{key}"),
        1 => format!("RPUSH l:{key} {nth}"),
        _ => format!("APPEND a:{key} {nth},"),
    };
    aof::push_words(out, &line);
}

/// Plain keys, half of them with a deadline: `past` ones in the past, so that they are gone in the end. Each is touched
/// again afterwards, so that none of the deadlines may be set as it is.
pub fn sessions(count: usize, past: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for nth in 0..count {
        aof::push_words(&mut out, &format!("SET s:{nth} value{nth}"));
        if nth % 2 == 0 {
            let at = if nth < past { 1_500_000_000_000 + nth } else { 4_000_000_000_000 + nth };
            aof::push_words(&mut out, &format!("PEXPIREAT s:{nth} {at}"));
        }
    }
    for nth in 0..count {
        aof::push_words(&mut out, &format!("APPEND s:{nth} more"));
    }
    out
}

/// A source, what it has to come to, and a directory to load it in.
#[derive(Debug)]
pub struct Drill {
    scene: Scene,
    source: PathBuf,
    reference: Snapshot,
    len: u64,
}

impl Drill {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let scene = Scene::new();
        let source = scene.file("dump.aof", bytes);
        let reference = Snapshot::of(&scene::reference(&source));
        Self { scene, source, reference, len: bytes.len() as u64 }
    }

    /// Of a mixed source.
    pub fn mixed(seed: u64, rounds: usize) -> Self {
        Self::of(&mixed(seed, rounds))
    }

    /// Where source, topology and checkpoint are.
    pub fn dir(&self) -> &Path {
        self.scene.dir()
    }

    /// The source.
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// The checkpoint, where it is unless told otherwise.
    pub fn checkpoint(&self) -> PathBuf {
        self.dir().join("dump.aof.checkpoint")
    }

    /// The tool with this source, small batches and a log; the targets are still to be named.
    pub fn loader(&self) -> Loader {
        let batch = BATCH_COMMANDS.to_string();
        Loader::new(self.dir()).arg(&self.source).args(&["-v", "--batch-commands", &batch])
    }

    /// The same into these targets.
    pub fn loader_into(&self, targets: &Targets) -> Loader {
        self.loader().masters(&targets.addrs())
    }

    /// The tool with few bytes in flight, into these targets.
    pub fn load(&self, targets: &Targets) -> Loader {
        self.loader_into(targets).args(&["--batch-bytes", "4KiB", "--in-flight-bytes", "4KiB"])
    }

    /// Loads until the marker of some lane says that `fraction` of it is applied, and asks the loader to stop there.
    pub fn interrupt_at(&self, loader: &Loader, targets: &Targets, fraction: f64) -> Output {
        targets.slow();
        let mut run = loader.spawn();
        self.wait_for(&mut run, &targets.masters[0], fraction);
        run.sigterm();
        let output = run.finish();
        targets.fast();
        assert_eq!(output.code, Some(9), "SIGTERM in the middle of a load: {output}");
        output
    }

    /// Interrupts a run, and loads the rest.
    pub fn interrupt_and_finish(&self, run: Running, targets: &Targets) {
        run.sigterm();
        let output = run.finish();
        assert_eq!(output.code, Some(9), "{output}");
        targets.fast();
        self.loader_into(targets).run_ok();
        self.assert_loaded(&targets.masters);
    }

    /// Waits until `fraction` of a lane is applied, as far as its marker tells.
    pub fn wait_for(&self, run: &mut Running, server: &Server, fraction: f64) {
        let mut sight = Sight::of(server);
        run.wait_until("the marker to get there", || self.fraction(sight.mark().as_ref()) >= fraction);
    }

    /// How much of a lane is applied: an estimate, since a marker counts the batches of its window.
    pub fn fraction(&self, mark: Option<&Mark>) -> f64 {
        const BYTES_PER_COMMAND: u64 = 46;
        let bytes_per_batch = BYTES_PER_COMMAND * (BATCH_COMMANDS * SHARDS) as u64;
        let done = mark.map_or(0, |mark| mark.at.1 + mark.at.2 * bytes_per_batch);
        #[allow(clippy::cast_precision_loss, reason = "an estimate")]
        let fraction = done as f64 / self.len as f64;
        fraction
    }

    /// The targets together hold exactly what the reference holds, and nothing of the loader's own.
    pub fn assert_loaded<'s>(&self, targets: impl IntoIterator<Item = &'s Server>) {
        assert_no_differences(&self.differences(targets));
    }

    /// What is not as it should be.
    pub fn differences<'s>(&self, targets: impl IntoIterator<Item = &'s Server>) -> Vec<String> {
        let held: Vec<Snapshot> = targets.into_iter().map(Snapshot::of).collect();
        diff(&self.reference, &held, Placement::Crc32)
    }

    /// Targets and directory as before the first run.
    pub fn reset(&self, masters: &[Server]) {
        scene::empty(masters);
        // Only fails when there is none.
        let _ = std::fs::remove_file(self.checkpoint());
    }
}

/// Masters, each behind a proxy.
#[derive(Debug)]
pub struct Targets {
    pub masters: Vec<Server>,
    pub proxies: Vec<Proxy>,
}

impl Targets {
    /// Three empty ones.
    pub fn new() -> Self {
        Self::behind(scene::servers(SHARDS))
    }

    /// Proxies before these.
    pub fn behind(masters: Vec<Server>) -> Self {
        let proxies = masters.iter().map(|server| Proxy::start(server.addr())).collect();
        Self { masters, proxies }
    }

    /// What the topology names.
    pub fn addrs(&self) -> Vec<String> {
        self.proxies.iter().map(Proxy::addr).collect()
    }

    /// A long wire, which makes a load with few bytes in flight last for some time.
    pub fn slow(&self) {
        self.delay(2);
    }

    /// Every byte arrives so much later.
    pub fn delay(&self, ms: u64) {
        self.proxies.iter().for_each(|proxy| proxy.delay(Duration::from_millis(ms)));
    }

    /// No wire at all.
    pub fn fast(&self) {
        self.delay(0);
    }

    /// Every marker.
    pub fn marks(&self) -> Vec<Option<Mark>> {
        marks(&self.masters)
    }
}

/// A marker, read as documented.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// prepared, loading, settling, settled or `diverged@position`.
    pub phase: String,
    /// Segment and offset of the window, and batches of it that are applied.
    pub at: (u64, u64, u64),
    /// The whole text.
    pub text: String,
}

impl Mark {
    fn parse(text: &str) -> Self {
        let field = |name: &str| {
            let start = format!("{name}=");
            text.split(' ')
                .find_map(|word| word.strip_prefix(&start))
                .unwrap_or_else(|| panic!("no {name} in {text}"))
        };
        let number = |word: &str| word.parse().unwrap_or_else(|_| panic!("{word} is no number in {text}"));
        let (segment, offset) = field("window").split_once(':').expect("a position");
        let at = (number(segment), number(offset), number(field("batch")));
        assert!(text.starts_with("redcluster-load/1 "), "{text}");
        Self { phase: field("phase").to_owned(), at, text: text.to_owned() }
    }

    /// Strictly between the start and the end of its lane: something is applied, and something is not.
    pub fn is_between(&self, end: &Self) -> bool {
        self.phase == "loading" && self.at > (0, 0, 0) && self.at < end.at
    }
}

/// Looks at one server's marker again and again, over one connection.
pub struct Sight(Connection);

impl Sight {
    pub fn of(server: &Server) -> Self {
        Self(server.conn())
    }

    pub fn mark(&mut self) -> Option<Mark> {
        match wire::ask(&mut self.0, &[b"GET", MARKER.as_bytes()]) {
            Value::Nil => None,
            text => Some(Mark::parse(&wire::text(&text))),
        }
    }

    /// Whether nobody else is connected.
    pub fn is_alone(&mut self) -> bool {
        wire::text(&wire::ask(&mut self.0, &[b"CLIENT", b"LIST"])).lines().count() == 1
    }
}

/// One server's marker.
pub fn mark(server: &Server) -> Option<Mark> {
    Sight::of(server).mark()
}

/// The phase of one server's marker.
pub fn phase(server: &Server) -> Option<String> {
    mark(server).map(|mark| mark.phase)
}

/// Every server's marker.
pub fn marks(servers: &[Server]) -> Vec<Option<Mark>> {
    servers.iter().map(mark).collect()
}

/// Waits for something that has to happen.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + EVENT_TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come");
        thread::sleep(POLL_PAUSE);
    }
}

/// Waits for something that may happen while the run lasts; its output if it ends before.
pub fn or_end(run: &mut Running, mut condition: impl FnMut() -> bool) -> Option<Output> {
    let deadline = Instant::now() + EVENT_TIMEOUT;
    while !condition() {
        if let Some(output) = run.try_wait() {
            return Some(output);
        }
        assert!(Instant::now() < deadline, "nothing happens: {}", run.stderr_so_far());
        thread::sleep(POLL_PAUSE);
    }
    None
}

/// Waits until the run's log has these words.
pub fn wait_for_log(run: &mut Running, words: &str) {
    wait_for(run, words, |log| log.contains(words));
}

/// Waits until the run's log is as `condition` says.
pub fn wait_for(run: &mut Running, what: &str, condition: impl Fn(&str) -> bool) {
    let deadline = Instant::now() + EVENT_TIMEOUT;
    while !condition(&run.stderr_so_far()) {
        if let Some(output) = run.try_wait() {
            panic!("ended before {what:?}: {output}");
        }
        assert!(Instant::now() < deadline, "no {what:?} in the log: {}", run.stderr_so_far());
        thread::sleep(POLL_PAUSE);
    }
}

/// Stops a run where it is, until it is let go on: it cannot even be interrupted.
pub fn freeze(run: &Running) {
    signal(run, Signal::STOP);
}

/// The opposite of [`freeze`].
pub fn thaw(run: &Running) {
    signal(run, Signal::CONT);
}

fn signal(run: &Running, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(run.pid()).expect("a process id fits")).expect("it is not 0");
    kill_process(pid, signal).expect("our child can be signalled");
}

/// A number of INFO, such as `errorstat_OOM:count=3`; 0 when there is none.
pub fn stat(server: &Server, name: &str, field: &str) -> u64 {
    let Some(text) = server.info(name) else { return 0 };
    let start = format!("{field}=");
    let word = text.split(',').find_map(|word| word.strip_prefix(&start).map(str::to_owned));
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// Sets an option of a running server.
pub fn set(server: &Server, name: &str, value: &str) {
    server.cmd(&["CONFIG", "SET", name, value]).unwrap_or_else(|error| panic!("CONFIG SET {name}: {error}"));
}

/// The seed of a test: from the environment, to repeat a failure, else the usual one.
pub fn seed(usual: u64) -> u64 {
    std::env::var("DRILL_SEED").map_or(usual, |text| text.parse().expect("DRILL_SEED is a number"))
}
