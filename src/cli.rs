//! The user's words: what can be written on the command line and in the environment, and its help.
//!
//! Nothing is decided here. [`crate::config::Job`] turns these words into the checked plan.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::{BoolishValueParser, Resettable};
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, ValueEnum};

const TARGETS: &str = "Targets";
const ACTIONS: &str = "What to do";
const SOURCE: &str = "Source";
const RESUMING: &str = "Stopping and resuming";
const LIMITS: &str = "Limits";
const OUTPUT: &str = "Output";

const USAGE: &str = "\
redcluster-load [OPTIONS] <SOURCE> --topology <FILE>
       redcluster-load [OPTIONS] <SOURCE> --shards <N> --output <DIR>";

const SHORT_END: &str = "Environment variables, exit codes and examples: --help";

const LONG_END: &str = "\
Examples:
  redcluster-load dump.aof --topology sets.toml --dry-run   say what would be done
  redcluster-load dump.aof --topology sets.toml             do it; the same again resumes
  redcluster-load dump.aof --shards 3 --output out/         into AOF directories, without a server

Topology file:
  [[replica_set]]
  master   = \"10.0.0.1:6379\"       # or \"[::1]:6379\", \"unix:/path\", { host = \"..\", port = 6379 }
  replicas = [\"10.0.0.2:6379\"]     # optional
  password_env = \"REDIS_PASSWORD\"  # or password_file, password; username; all of them also in [auth]
  [[replica_set]]
  aof = \"out/shard-1\"              # a directory instead of a server

  A key goes to set number crc32(key) % number of sets, counted from 0 in the order of the file.

Environment:
  An option that shows [env: ...] is also read from that variable; the command line has precedence, and
  an empty variable counts as unset. What a run does (--dry-run, --flush-targets, --restart, --abandon,
  --skip-unsupported, --accept-scripts and --check-topology) can only be said on the command line.
  REDCLUSTER_LOAD_USERNAME and REDCLUSTER_LOAD_PASSWORD apply where the topology file names none.
  Passwords are never read from the command line. NO_COLOR turns colors off unless --color is given.

Exit codes:
  0  done, or an earlier run has done it all
  1  local failure, such as a full disk
  2  the command line or the topology file is wrong
  3  the source is missing, unreadable, damaged, or changed while it was read
  4  the source holds commands, values or a format that cannot be carried out; nothing was written
  5  a target is unfit; nothing was written
  6  checkpoint, markers and command line do not belong together, or another loader is at work
  7  a target failed during the load; the same command resumes
  8  a target answered differently from a server that loads the source; only --restart continues
  9  interrupted by a signal; the same command resumes";

/// Load a Redis append-only file into replica sets, resharded by crc32 of the key, exactly once
///
/// Reads a Redis append-only file and writes it, resharded by crc32(key) % n, to the masters of n
/// replica sets or into n AOF directories. Together they then hold exactly what one redis-server
/// holds after it has loaded the same file. The whole source is checked before anything is written. A
/// run can be stopped, killed or cut off at any moment: the same command resumes, and nothing is
/// lost or applied twice.
#[derive(Debug, Clone, Parser)]
#[command(name = "redcluster-load", version, max_term_width = 110)]
#[command(override_usage = USAGE, after_help = SHORT_END, after_long_help = LONG_END)]
pub struct Args {
    /// AOF file, multi-part AOF directory or its manifest, or RDB file
    #[arg(required_unless_present_any = ["completions", "man"])]
    pub source: Option<PathBuf>,

    /// File that names the replica sets, in TOML
    #[arg(short, long, value_name = "FILE", help_heading = TARGETS, env = "REDCLUSTER_LOAD_TOPOLOGY")]
    pub topology: Option<PathBuf>,

    /// Write N AOF directories instead, with --output
    ///
    /// Needs no server and no topology file. Each shard becomes a multi-part AOF from which redis-server
    /// starts as it is.
    #[arg(long, value_name = "N", help_heading = TARGETS, env = "REDCLUSTER_LOAD_SHARDS")]
    pub shards: Option<usize>,

    /// Directory for --shards: DIR/shard-0, DIR/shard-1 ...
    #[arg(short, long, value_name = "DIR", help_heading = TARGETS, env = "REDCLUSTER_LOAD_OUTPUT")]
    pub output: Option<PathBuf>,

    /// Server that runs commands over several shards where shards are directories [default: a private one]
    ///
    /// Only needed if the source has such commands (RENAME, SUNIONSTORE and their like) and directories are among
    /// the shards, since a directory cannot run them. ADDRESS is that of an empty server, as a topology file would
    /// name it; what is put there is removed in the end. Without this a private server is started and ended again:
    /// the redis-server, else the valkey-server, that is found on the PATH, or the one whose path (with a slash in
    /// it) is given here.
    #[arg(long, value_name = "ADDRESS", help_heading = TARGETS, env = "REDCLUSTER_LOAD_SCRATCH")]
    pub scratch: Option<String>,

    /// Only survey the source and say what would be done
    ///
    /// Writes nothing, whatever else is given, and without --check-topology connects to nothing. Add it to
    /// the real command to see what that would do.
    #[arg(long, help_heading = ACTIONS)]
    pub dry_run: bool,

    /// With --dry-run: check the targets as well
    ///
    /// Connects to the targets and only reads from them.
    #[arg(long, help_heading = ACTIONS)]
    pub check_topology: bool,

    /// Load what can be loaded, leave out the rest and report it
    ///
    /// Without this a source with commands or values that cannot be carried out faithfully is refused
    /// before anything is written. What is left out is missing from the targets; it is counted and listed at
    /// the end.
    #[arg(long, help_heading = ACTIONS)]
    pub skip_unsupported: bool,

    /// Run scripts of the source on the shard of the keys that they declare
    ///
    /// EVAL, EVALSHA and FCALL, which old servers wrote. Keys that a script uses without declaring them, and
    /// deadlines that it sets, cannot be seen: on several shards such keys may be elsewhere, and a key may
    /// expire earlier than it would on a server that loads the source. Without this such sources are refused.
    #[arg(long, help_heading = ACTIONS)]
    pub accept_scripts: bool,

    /// Delete ALL keys of the target servers before the load starts
    ///
    /// In every database of every master. Only at the very start of a load: once it has begun, running
    /// the same command again resumes and deletes nothing. Without this a target that holds keys is
    /// refused.
    #[arg(long, help_heading = ACTIONS)]
    pub flush_targets: bool,

    /// Give up a load for good and tidy the targets
    ///
    /// Puts right the deadlines of the keys that were loaded, which are far in the future while a load
    /// is under way, and removes the markers. Loads nothing and deletes no other key.
    #[arg(long, help_heading = ACTIONS)]
    pub abandon: bool,

    /// Refuse a source whose end is cut off
    ///
    /// Without this an incomplete command or transaction at the very end is left out with a warning, as
    /// redis-server does.
    #[arg(long, help_heading = SOURCE, env = "REDCLUSTER_LOAD_STRICT_TAIL")]
    #[arg(value_parser = BoolishValueParser::new())]
    pub strict_tail: bool,

    /// Start over instead of resuming
    ///
    /// Disregards the checkpoint and the markers of an earlier run. Targets that hold keys are refused
    /// as ever, so either empty them or add --flush-targets.
    #[arg(long, help_heading = RESUMING)]
    pub restart: bool,

    /// Checkpoint file [default: SOURCE.checkpoint]
    ///
    /// A readable record of how far the load is. The markers in the targets are the truth: losing this
    /// file loses nothing.
    #[arg(long, value_name = "PATH", help_heading = RESUMING, env = "REDCLUSTER_LOAD_CHECKPOINT")]
    pub checkpoint: Option<PathBuf>,

    /// Key that holds a target's position during the load
    ///
    /// The source must not use it, and a rerun must name the same one.
    #[arg(long, value_name = "NAME", help_heading = RESUMING, env = "REDCLUSTER_LOAD_MARKER_KEY")]
    #[arg(default_value = MARKER_KEY_DEFAULT)]
    pub marker_key: OsString,

    /// Leave the markers in the targets when the load is done
    #[arg(long, help_heading = RESUMING, env = "REDCLUSTER_LOAD_KEEP_MARKERS")]
    #[arg(value_parser = BoolishValueParser::new())]
    pub keep_markers: bool,

    /// Options that were set by the environment, each with its variable.
    #[arg(skip)]
    pub variables: Vec<(String, String)>,

    /// Limits that are checked by [`crate::config`].
    #[command(flatten)]
    pub limits: LimitArgs,

    /// Print the result as JSON on stdout
    #[arg(long, help_heading = OUTPUT, env = "REDCLUSTER_LOAD_JSON")]
    #[arg(value_parser = BoolishValueParser::new())]
    pub json: bool,

    /// Show errors and the result only, no progress
    #[arg(short, long, help_heading = OUTPUT, env = "REDCLUSTER_LOAD_QUIET")]
    #[arg(value_parser = BoolishValueParser::new())]
    pub quiet: bool,

    /// Log what is done; twice for more
    #[arg(short, long, action = ArgAction::Count, help_heading = OUTPUT, env = "REDCLUSTER_LOAD_VERBOSE")]
    pub verbose: u8,

    /// When to use colors
    #[arg(long, value_name = "WHEN", help_heading = OUTPUT, env = "REDCLUSTER_LOAD_COLOR")]
    #[arg(value_enum, default_value_t = Color::Auto)]
    pub color: Color,

    /// Print the completions of a shell and exit
    #[arg(long, value_name = "SHELL", help_heading = OUTPUT)]
    pub completions: Option<clap_complete::Shell>,

    /// Print the man page and exit
    #[arg(long, help_heading = OUTPUT)]
    pub man: bool,
}

/// The limits as they were given, not yet checked.
#[derive(Debug, Clone, clap::Args)]
pub struct LimitArgs {
    /// Commands in one batch, 1 to 100000
    ///
    /// A batch is one transaction of a target, which does nothing else until it is through.
    #[arg(long, value_name = "N", help_heading = LIMITS, env = "REDCLUSTER_LOAD_BATCH_COMMANDS")]
    #[arg(default_value_t = 1000)]
    pub batch_commands: usize,

    /// Bytes in one batch, 1KiB to 512MiB
    ///
    /// One command that is larger makes a batch of its own. K, M, G and KiB, MiB, GiB are powers of 1024.
    #[arg(long, value_name = "BYTES", help_heading = LIMITS, env = "REDCLUSTER_LOAD_BATCH_BYTES")]
    #[arg(default_value_t = Bytes(1 << 20))]
    pub batch_bytes: Bytes,

    /// Bytes sent to one shard but not yet answered, up to 1GiB
    ///
    /// At least as much as --batch-bytes. More of it helps on a slow network.
    #[arg(long, value_name = "BYTES", help_heading = LIMITS, env = "REDCLUSTER_LOAD_IN_FLIGHT_BYTES")]
    #[arg(default_value_t = Bytes(16 << 20))]
    pub in_flight_bytes: Bytes,

    /// Memory for placing names that commands tie together across shards, 1MiB to 256GiB
    ///
    /// About 300 bytes for each name that RENAME, SUNIONSTORE and their like name. A source that needs more is
    /// refused before anything is written. A source without such commands needs none of it.
    #[arg(long, value_name = "BYTES", help_heading = LIMITS, env = "REDCLUSTER_LOAD_PLACEMENT_BYTES")]
    #[arg(default_value_t = Bytes(1 << 30))]
    pub placement_bytes: Bytes,

    /// How long a target may stay silent before its connection is given up
    ///
    /// From 1 to 86400000, a day.
    #[arg(long, value_name = "MS", help_heading = LIMITS, env = "REDCLUSTER_LOAD_TIMEOUT_MS")]
    #[arg(default_value_t = 30_000)]
    pub timeout_ms: u64,

    /// How long to try a target that is away before stopping
    ///
    /// The run then ends with exit code 7 and the same command resumes. From 0, which stops at the first
    /// failure, to 2592000, 30 days.
    #[arg(long, value_name = "SECONDS", help_heading = LIMITS, env = "REDCLUSTER_LOAD_RETRY_FOR_S")]
    #[arg(default_value_t = 300)]
    pub retry_for_s: u64,

    /// How long to wait for the declared replicas at the end
    ///
    /// From 1 to 86400000, a day.
    #[arg(long, value_name = "MS", help_heading = LIMITS, env = "REDCLUSTER_LOAD_REPLICA_WAIT_MS")]
    #[arg(default_value_t = 60_000)]
    pub replica_wait_ms: u64,

    /// Time between progress lines when there is no terminal
    ///
    /// From 1 to 3600.
    #[arg(long, value_name = "SECONDS", help_heading = LIMITS, env = "REDCLUSTER_LOAD_PROGRESS_INTERVAL_S")]
    #[arg(default_value_t = 5)]
    pub progress_interval_s: u64,

    /// Threads that read the source [default: number of cores]
    #[arg(long, value_name = "N", help_heading = LIMITS, env = "REDCLUSTER_LOAD_THREADS")]
    pub threads: Option<usize>,
}

/// The marker key of a load that names none.
pub const MARKER_KEY_DEFAULT: &str = "redcluster-load:marker";

/// When to use colors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always, even into a file
    Always,
    /// Never
    Never,
}

/// A number of bytes, written as `1048576`, `1024K` or `1MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

const UNITS: [(&str, u32); 3] = [("G", 30), ("M", 20), ("K", 10)];

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Bytes, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number: u64 =
            number.parse().map_err(|_| "expected a number of bytes, such as 1MiB".to_owned())?;
        let wanted = unit.trim_start().to_ascii_uppercase();
        if matches!(wanted.as_str(), "" | "B") {
            return Ok(Bytes(number));
        }
        let known = UNITS.iter().find(|(name, _)| wanted == *name || wanted == format!("{name}IB"));
        let Some((_, shift)) = known else {
            return Err(format!("`{unit}` is not a unit; K, M, G, KiB, MiB and GiB are, all powers of 1024"));
        };
        number.checked_mul(1 << shift).map(Bytes).ok_or_else(|| "the number is too large".to_owned())
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS.iter().find(|(_, shift)| self.0 != 0 && self.0.trailing_zeros() >= *shift);
        match exact {
            Some((name, shift)) => write!(f, "{}{name}iB", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Reads the command line (the program's name first) and the environment. The error is clap's, which
/// also carries `--help` and `--version`: print it and exit with its `exit_code`, 2 for a usage error.
pub fn parse<I, T>(words: I) -> Result<Args, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
    let matches =
        command().try_get_matches_from(&words).map_err(|error| name_variable(error, words.clone()))?;
    let mut args = Args::from_arg_matches(&matches).map_err(|error| error.format(&mut command()))?;
    let from_variable = |option: &&clap::Arg| {
        matches.value_source(option.get_id().as_str()) == Some(ValueSource::EnvVariable)
    };
    args.variables =
        command().get_arguments().filter(from_variable).filter_map(option_and_variable).collect();
    prefer_words(&mut args, |option| matches.value_source(option) == Some(ValueSource::CommandLine));
    Ok(args)
}

/// Writes the completion script of `shell`.
pub fn write_completions(shell: clap_complete::Shell, out: &mut dyn Write) -> io::Result<()> {
    // Through memory, because clap_complete panics where a write fails (`... | head` closes the pipe).
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(), "redcluster-load", &mut script);
    out.write_all(&script)
}

/// Writes the man page.
pub fn write_man(out: &mut dyn Write) -> io::Result<()> {
    clap_mangen::Man::new(command()).render(out)
}

fn command() -> clap::Command {
    Args::command().mut_args(name_environment)
}

/// Names an option's variable in the long help only, so that the short one stays short, and without
/// its value. Scripts unset a variable by leaving it empty, so an empty one is not read.
fn name_environment(mut option: clap::Arg) -> clap::Arg {
    let Some(variable) = option.get_env().map(OsStr::to_owned) else { return option };
    if std::env::var_os(&variable).is_none_or(|value| value.is_empty()) {
        option = option.env(Resettable::Reset);
    }
    let help = option.get_long_help().or(option.get_help()).map(ToString::to_string).unwrap_or_default();
    option.long_help(format!("{help}\n\n[env: {}]", variable.display())).hide_env(true)
}

/// How an option is written, and its variable.
fn option_and_variable(option: &clap::Arg) -> Option<(String, String)> {
    Some((format!("--{}", option.get_long()?), option.get_env()?.display().to_string()))
}

/// Makes an error about an option that a variable has set tell of the variable.
fn name_variable(mut error: clap::Error, words: Vec<OsString>) -> clap::Error {
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else { return error };
    let shown = shown.clone();
    let named = |option: &clap::Arg| {
        shown
            .split(' ')
            .next()
            .is_some_and(|word| option.get_long() == word.trim_end_matches('.').strip_prefix("--"))
    };
    let Some(variable) = command()
        .get_arguments()
        .find(|option| named(option))
        .and_then(option_and_variable)
        .map(|(_, name)| name)
    else {
        return error;
    };
    let without =
        command().mut_args(|option| if named(&option) { option.env(Resettable::Reset) } else { option });
    let still = without.try_get_matches_from(words).err();
    let same = |other: &clap::Error| matches!(other.get(ContextKind::InvalidArg), Some(ContextValue::String(other)) if *other == shown);
    if !still.as_ref().is_some_and(same) {
        error.insert(ContextKind::InvalidArg, ContextValue::String(format!("{variable} ({shown})")));
    }
    error
}

/// An option on the command line switches off its opposite from the environment. Two opposites that
/// both stand on the command line, or both in the environment, are kept for `Job` to refuse.
fn prefer_words(args: &mut Args, in_words: impl Fn(&str) -> bool) {
    let shards = in_words("shards") || in_words("output");
    if in_words("topology") && !shards {
        (args.shards, args.output) = (None, None);
    }
    if shards && !in_words("topology") {
        args.topology = None;
    }
    if in_words("quiet") && !in_words("verbose") {
        args.verbose = 0;
    }
    if in_words("verbose") && !in_words("quiet") {
        args.quiet = false;
    }
    if in_words("abandon") && !in_words("keep_markers") {
        args.keep_markers = false;
    }
}

#[cfg(test)]
mod tests;
