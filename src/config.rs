//! The checked plan. [`Job`] is made once from the user's words; nothing after it reads them again.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::cli::{self, Bytes, Color};
use crate::error::{Error, Kind, Result};
use crate::topology::file::{self, Environment, SHARDS_MAX};
use crate::topology::{Members, ReplicaSet, Target, Topology};

/// Markers are small keys; a longer name would be in every batch.
pub const MARKER_KEY_BYTES_MAX: usize = 512;
/// More threads than any machine this runs on has cores.
pub const THREADS_MAX: usize = 1024;

const BATCH_COMMANDS_MAX: u64 = 100_000;
const BATCH_BYTES_MIN: u64 = 1 << 10;
const BATCH_BYTES_MAX: u64 = 512 << 20;
const IN_FLIGHT_BYTES_MAX: u64 = 1 << 30;
const PLACEMENT_BYTES_MIN: u64 = 1 << 20;
/// As many names as have numbers (u32), and some to spare.
const PLACEMENT_BYTES_MAX: u64 = 1 << 38;
const WAIT_MS_MAX: u64 = 24 * 3600 * 1000;
const RETRY_FOR_S_MAX: u64 = 30 * 24 * 3600;
const PROGRESS_INTERVAL_S_MAX: u64 = 3600;

/// Everything that a run needs to know, checked.
#[derive(Debug, Clone)]
pub struct Job {
    /// The AOF file, multi-part directory or manifest; not yet looked at.
    pub source: PathBuf,
    /// The shards.
    pub topology: Topology,
    /// Where commands run that name keys of directories and of other shards.
    pub scratch: Scratch,
    /// What to do.
    pub mode: Mode,
    /// Whether to go on where an earlier run stopped.
    pub restart: Restart,
    /// Empty the target servers before the load starts.
    pub flush_targets: bool,
    /// Leave out and report what cannot be carried out, instead of refusing the source.
    pub skip_unsupported: bool,
    /// Run scripts, whose keys and deadlines cannot all be seen, instead of refusing the source.
    pub accept_scripts: bool,
    /// Refuse a source whose end is cut off.
    pub strict_tail: bool,
    /// Leave the markers in the targets when the load is done.
    pub keep_markers: bool,
    /// The checkpoint file.
    pub checkpoint: PathBuf,
    /// The key that holds a target's position, 1 to [`MARKER_KEY_BYTES_MAX`] bytes.
    pub marker_key: Vec<u8>,
    /// Sizes and waits.
    pub limits: Limits,
    /// Threads that frame and route the source, at least 1.
    pub threads: usize,
    /// How to talk to the user.
    pub output: Output,
}

/// A server for commands that directories cannot run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scratch {
    /// A private one, of what is found on the PATH.
    OnPath,
    /// A private one, of this program.
    Program(PathBuf),
    /// One that runs already.
    Server(Members),
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Survey, then load.
    Load,
    /// Survey only.
    DryRun {
        /// Look at the targets as well.
        check_topology: bool,
    },
    /// Put right what an unfinished load left in the targets.
    Abandon,
}

/// Whether to go on where an earlier run stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Resume if there is something to resume.
    No,
    /// Begin at the start of the source again.
    Yes,
}

/// Sizes and waits, all within their ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Commands in one batch.
    pub batch_commands_max: usize,
    /// Bytes in one batch of more than one command.
    pub batch_bytes_max: usize,
    /// Bytes sent to one shard and not yet answered; at least `batch_bytes_max`.
    pub in_flight_bytes_max: usize,
    /// Memory for placing names that commands tie together, in bytes.
    pub placement_bytes_max: u64,
    /// How long a target may stay silent.
    pub timeout_ms: u64,
    /// How long to try a target that is away; 0 tries once.
    pub retry_for_ms: u64,
    /// How long to wait for declared replicas; never 0, which WAIT takes for "for ever".
    pub replica_wait_ms: u64,
    /// Time between plain progress lines.
    pub progress_interval_ms: u64,
}

/// How to talk to the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// The result as JSON on stdout.
    pub json: bool,
    /// No progress.
    pub quiet: bool,
    /// How much to log: 0 warnings, 1 information, 2 and more everything.
    pub verbosity: u8,
    /// NO_COLOR is already in it: `Auto` only asks whether there is a terminal.
    pub color: Color,
}

impl Job {
    /// Checks the words, reads the topology file and the passwords that it names. Looks neither at
    /// the source nor at the targets.
    pub fn from_args(args: &cli::Args) -> Result<Job> {
        plan(args, &|name| std::env::var_os(name)).map_err(|error| name_variables(args, error))
    }
}

/// Says where options that an error names were set, if that is not the command line.
fn name_variables(args: &cli::Args, error: Error) -> Error {
    let message = error.message().to_owned();
    let words = message.split(' ').map(|word| word.trim_end_matches(':'));
    let set = args.variables.iter().filter(|(option, _)| words.clone().any(|word| word == option));
    set.fold(error, |error, (option, variable)| error.place("variable", format!("{variable} sets {option}")))
}

fn plan(args: &cli::Args, environment: Environment<'_>) -> Result<Job> {
    refuse_contradictions(args)?;
    let source = args.source.clone().ok_or_else(|| {
        Error::new(Kind::Usage, "no source is named")
            .remedy("name an AOF file, a multi-part directory or its manifest, or an RDB file")
    })?;
    let limits = limits(&args.limits)?;
    let threads = threads(args.limits.threads)?;
    let marker_key = marker_key(&args.marker_key)?;
    let checkpoint = checkpoint(args, &source)?;
    let topology = topology(args, environment)?;
    let scratch = scratch(args.scratch.as_deref(), environment)?;
    let mode = match (args.dry_run, args.abandon) {
        (true, _) => Mode::DryRun { check_topology: args.check_topology },
        (false, true) => Mode::Abandon,
        (false, false) => Mode::Load,
    };
    let no_color = environment("NO_COLOR").is_some_and(|value| !value.is_empty());
    let color = if no_color && args.color == Color::Auto { Color::Never } else { args.color };
    Ok(Job {
        source,
        topology,
        scratch,
        mode,
        restart: if args.restart { Restart::Yes } else { Restart::No },
        flush_targets: args.flush_targets,
        skip_unsupported: args.skip_unsupported,
        accept_scripts: args.accept_scripts,
        strict_tail: args.strict_tail,
        keep_markers: args.keep_markers,
        checkpoint,
        marker_key,
        limits,
        threads,
        output: Output { json: args.json, quiet: args.quiet, verbosity: args.verbose, color },
    })
}

/// `--dry-run` goes with everything that a load takes, so that it can be added to the real command.
fn refuse_contradictions(args: &cli::Args) -> Result<()> {
    let abandon = "--abandon only tidies what is in the targets; give one of the two";
    let shards = "the shards are either in the file or directories under --output; give one of the two";
    let both = [
        (args.abandon, "--abandon", args.dry_run, "--dry-run", abandon),
        (args.abandon, "--abandon", args.restart, "--restart", abandon),
        (args.abandon, "--abandon", args.flush_targets, "--flush-targets", abandon),
        (args.abandon, "--abandon", args.keep_markers, "--keep-markers", abandon),
        (args.topology.is_some(), "--topology", args.shards.is_some(), "--shards", shards),
        (args.topology.is_some(), "--topology", args.output.is_some(), "--output", shards),
        (args.quiet, "--quiet", args.verbose > 0, "--verbose", "give one of the two"),
    ];
    for (first, first_name, second, second_name, remedy) in both {
        if first && second {
            let message = format!("{first_name} cannot be used with {second_name}");
            return Err(Error::new(Kind::Usage, message).remedy(remedy));
        }
    }
    let needs = [
        (args.check_topology, "--check-topology", args.dry_run, "--dry-run"),
        (args.shards.is_some(), "--shards", args.output.is_some(), "--output"),
        (args.output.is_some(), "--output", args.shards.is_some(), "--shards"),
    ];
    for (given, name, met, needed) in needs {
        if given && !met {
            let message = format!("{name} needs {needed}");
            return Err(Error::new(Kind::Usage, message).remedy(format!("add {needed}, or leave {name} out")));
        }
    }
    Ok(())
}

fn topology(args: &cli::Args, environment: Environment<'_>) -> Result<Topology> {
    let topology = match (&args.topology, args.shards, &args.output) {
        (Some(path), _, _) => file::read(path, environment)?,
        (None, Some(shards), Some(output)) => {
            let shards = within("--shards", as_u64(shards), 1, as_u64(SHARDS_MAX), |n| n.to_string())?;
            let set = |number| ReplicaSet {
                target: Target::Aof { directory: output.join(format!("shard-{number}")) },
                line: 0,
            };
            Topology { sets: (0..shards).map(set).collect() }
        }
        (None, _, _) => {
            return Err(Error::new(Kind::Usage, "no targets are named")
                .remedy("give --topology FILE, or --shards N and --output DIR"));
        }
    };
    let has_server = topology.sets.iter().any(|set| matches!(set.target, Target::Server(_)));
    if args.flush_targets && !has_server {
        return Err(Error::new(Kind::Usage, "--flush-targets is given, but no target is a server")
            .remedy("leave it out; empty output directories yourself"));
    }
    Ok(topology)
}

/// A path to a program, which has a slash in it, or an address.
fn scratch(given: Option<&str>, environment: Environment<'_>) -> Result<Scratch> {
    let Some(text) = given else { return Ok(Scratch::OnPath) };
    if text.contains('/') && !text.starts_with("unix:") {
        if Path::new(text).is_file() {
            return Ok(Scratch::Program(PathBuf::from(text)));
        }
        return Err(Error::new(Kind::Usage, "there is no program at the path that --scratch names")
            .file(text)
            .remedy(
                "give the path of a redis-server or valkey-server; or an address: HOST:PORT or unix:PATH",
            ));
    }
    Ok(Scratch::Server(Members {
        master: text
            .parse()
            .map_err(|error: Error| error.place("option", "--scratch, or REDCLUSTER_LOAD_SCRATCH"))?,
        replicas: Vec::new(),
        credentials: file::credentials(environment)?,
    }))
}

/// `SOURCE.checkpoint`, beside the source. A source like `.` has no name to add to, so its real one is
/// looked up.
fn checkpoint(args: &cli::Args, source: &Path) -> Result<PathBuf> {
    if let Some(path) = &args.checkpoint {
        for (other, what) in [(Some(source), "the source"), (args.topology.as_deref(), "the topology file")] {
            if other.is_some_and(|other| same_file(path, other)) {
                return Err(would_overwrite(what, path));
            }
        }
        // It is replaced as a whole, and that is not to be a link to it.
        let linked = if path.is_symlink() { path.canonicalize().ok() } else { None };
        return Ok(linked.unwrap_or_else(|| path.clone()));
    }
    // `components` takes off trailing slashes and `/.`.
    let named = match source.file_name() {
        Some(_) => Some(source.components().as_path().to_owned()),
        None => source.canonicalize().ok().filter(|path| path.file_name().is_some()),
    };
    let Some(named) = named else {
        return Err(Error::new(Kind::Usage, "the source has no name to call the checkpoint after")
            .file(source)
            .remedy("give --checkpoint PATH"));
    };
    let mut name = named.into_os_string();
    name.push(".checkpoint");
    Ok(PathBuf::from(name))
}

/// The error for a checkpoint that is to be where something else is.
pub fn would_overwrite(what: &str, path: &Path) -> Error {
    Error::new(Kind::Usage, format!("the checkpoint would overwrite {what}"))
        .file(path)
        .remedy("give --checkpoint another path, or leave it out")
}

/// Whether two paths name the same file.
pub fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        // One of them is not there, so only the spelling can be compared.
        _ => matches!((std::path::absolute(a), std::path::absolute(b)), (Ok(a), Ok(b)) if a == b),
    }
}

fn marker_key(name: &OsStr) -> Result<Vec<u8>> {
    let bytes = name.as_bytes();
    let shown = |n: u64| format!("{n} bytes");
    let _: usize =
        within("the length of --marker-key", as_u64(bytes.len()), 1, as_u64(MARKER_KEY_BYTES_MAX), shown)?;
    Ok(bytes.to_vec())
}

fn threads(given: Option<usize>) -> Result<usize> {
    match given {
        Some(threads) => within("--threads", as_u64(threads), 1, as_u64(THREADS_MAX), |n| n.to_string()),
        None => Ok(std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX)),
    }
}

fn limits(args: &cli::LimitArgs) -> Result<Limits> {
    let count = |n: u64| n.to_string();
    let size = |n: u64| Bytes(n).to_string();
    let ms = |n: u64| format!("{n} ms");
    let s = |n: u64| format!("{n} s");
    let batch_bytes = args.batch_bytes.0;
    let limits = Limits {
        batch_commands_max: within(
            "--batch-commands",
            as_u64(args.batch_commands),
            1,
            BATCH_COMMANDS_MAX,
            count,
        )?,
        batch_bytes_max: within("--batch-bytes", batch_bytes, BATCH_BYTES_MIN, BATCH_BYTES_MAX, size)?,
        in_flight_bytes_max: within(
            "--in-flight-bytes",
            args.in_flight_bytes.0,
            BATCH_BYTES_MIN,
            IN_FLIGHT_BYTES_MAX,
            size,
        )?,
        placement_bytes_max: within(
            "--placement-bytes",
            args.placement_bytes.0,
            PLACEMENT_BYTES_MIN,
            PLACEMENT_BYTES_MAX,
            size,
        )?,
        timeout_ms: within("--timeout-ms", args.timeout_ms, 1, WAIT_MS_MAX, ms)?,
        retry_for_ms: within::<u64>("--retry-for-s", args.retry_for_s, 0, RETRY_FOR_S_MAX, s)? * 1000,
        replica_wait_ms: within("--replica-wait-ms", args.replica_wait_ms, 1, WAIT_MS_MAX, ms)?,
        progress_interval_ms: within::<u64>(
            "--progress-interval-s",
            args.progress_interval_s,
            1,
            PROGRESS_INTERVAL_S_MAX,
            s,
        )? * 1000,
    };
    if limits.in_flight_bytes_max < limits.batch_bytes_max {
        let message = format!(
            "--in-flight-bytes ({}) is smaller than --batch-bytes ({})",
            args.in_flight_bytes, args.batch_bytes
        );
        return Err(Error::new(Kind::Usage, message).remedy(
            "a shard must be able to have one batch in flight: raise the first or lower the second",
        ));
    }
    Ok(limits)
}

/// `value` if it is in `min..=max`; `shown` writes a number with its unit.
fn within<T: TryFrom<u64>>(
    name: &str,
    value: u64,
    min: u64,
    max: u64,
    shown: impl Fn(u64) -> String,
) -> Result<T> {
    let checked = if (min..=max).contains(&value) { T::try_from(value).ok() } else { None };
    checked.ok_or_else(|| {
        Error::new(Kind::Usage, format!("{name} is out of range: {}", shown(value))).remedy(format!(
            "choose {} to {}",
            shown(min),
            shown(max)
        ))
    })
}

fn as_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
