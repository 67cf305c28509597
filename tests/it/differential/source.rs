//! A random source as a list of records, so that some can be left out again.

use crate::support::generate::{Command, Generator, GeneratorOptions, Payloads};
use crate::support::server::Server;
use crate::support::{aof, rdb};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Commands of a source: few, so that a difference is not overwritten before the end, and many, for what needs time.
const COMMANDS: [usize; 6] = [60, 150, 300, 600, 1200, 2500];
/// How a line of redis-cli may show an argument; longer ones are cut.
const SHOWN_BYTES: usize = 200;

/// What is the same for all sources of a run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The commands that the servers know.
    pub known: BTreeSet<String>,
    /// Values for RESTORE.
    pub payloads: Payloads,
    /// Commands may tie keys of several shards, and sources are loaded into any number of shards.
    pub ties: bool,
    /// Deadlines of hash fields.
    pub fields: bool,
    /// Scripts and functions.
    pub scripts: bool,
}

/// One record and the command that it holds.
#[derive(Clone, Debug)]
pub struct Record {
    /// As it stands in the file, with what stands before it.
    pub bytes: Vec<u8>,
    /// Name and arguments.
    pub command: Command,
}

/// A source.
#[derive(Clone, Debug)]
pub struct Source {
    /// What it was made from.
    pub seed: u64,
    /// When; deadlines near the clock are counted from it.
    pub made_ms: i64,
    /// An RDB part before the commands.
    pub base: Option<Vec<u8>>,
    /// The commands.
    pub records: Vec<Record>,
    /// The number of shards for which no command ties keys; `None`: it may tie keys for any.
    pub untied_for: Option<usize>,
    /// Whether no deadline is past, so that a live server does the same with each command.
    pub playable: bool,
}

impl Source {
    /// The source of a seed.
    pub fn random(seed: u64, settings: &Settings) -> Self {
        let mut rng = StdRng::seed_from_u64(seed ^ 0x5eed);
        let untied_for = if settings.ties { None } else { [2, 3, 5].choose(&mut rng).copied() };
        let playable = rng.random_ratio(1, 3);
        let options = options(&mut rng, settings, untied_for, playable);
        let mut generator = Generator::new(seed, options)
            .with_payloads(settings.payloads.clone())
            .with_known(settings.known.clone());
        let made_ms = generator.made_ms();
        let base = rng.random_ratio(1, 6).then(|| saved(&generator.aof(300)));
        let count = *COMMANDS.choose(&mut rng).expect("there are some");
        let mut commands = generator.commands(count);
        if rng.random_ratio(1, 5) {
            // Never ended, so never carried out.
            commands.extend(["MULTI", "SET torn 1", "DEL user:1", "FLUSHALL"].map(words));
        }
        let records = commands
            .into_iter()
            .map(|command| Record { bytes: generator.framed(&command), command })
            .collect();
        Self { seed, made_ms, base, records, untied_for, playable }
    }

    /// The same with only some of the records.
    pub fn with(&self, records: Vec<Record>) -> Self {
        Self { records, ..self.clone() }
    }

    /// The file's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.base.clone().unwrap_or_default();
        self.records.iter().for_each(|record| bytes.extend(&record.bytes));
        bytes
    }

    /// Writes it into a directory: a file, or now and then the parts of a multi-part directory.
    pub fn write(&self, dir: &Path) -> PathBuf {
        let parts = self.seed % 8 == 3 && self.base.is_none() && self.records.len() > 9;
        if !parts {
            return aof::write_file(dir, "dump.aof", &self.bytes());
        }
        let bytes =
            |records: &[Record]| records.iter().flat_map(|one| one.bytes.clone()).collect::<Vec<u8>>();
        let cut = self.cut();
        let (first, second) = (bytes(&self.records[..cut]), bytes(&self.records[cut..]));
        aof::MultiPart::of(&[&first, b"", &second]).write(dir)
    }

    /// About the middle, where no transaction is open: one that is open at the end of a file which is not the last
    /// makes servers refuse it.
    fn cut(&self) -> usize {
        let mut open = false;
        let mut last = 0;
        for (at, record) in self.records.iter().enumerate() {
            if !open && at <= self.records.len() / 2 {
                last = at;
            }
            let name = &record.command[0];
            open = name.eq_ignore_ascii_case(b"MULTI") || (open && !name.eq_ignore_ascii_case(b"EXEC"));
        }
        last
    }

    /// As one would type it in redis-cli.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if let Some(base) = &self.base {
            text += &format!("# after an RDB part of {} bytes\n", base.len());
        }
        for record in &self.records {
            let words: Vec<String> = record.command.iter().map(|word| quoted(word)).collect();
            text += &words.join(" ");
            text.push('\n');
        }
        text
    }
}

fn options(
    rng: &mut StdRng,
    settings: &Settings,
    untied_for: Option<usize>,
    playable: bool,
) -> GeneratorOptions {
    GeneratorOptions {
        shards: untied_for.unwrap_or(5),
        tied: untied_for.is_none(),
        stories: untied_for.is_none() && rng.random_bool(0.6),
        databases: [1, 2, 4][rng.random_range(0..3)],
        keys_per_shard: [1, 2, 3][rng.random_range(0..3)],
        broadcast: rng.random_bool(0.5),
        big_values: rng.random_ratio(1, 10),
        near_deadlines: !playable && rng.random_ratio(1, 3),
        past_deadlines: !playable,
        relative_deadlines: rng.random_bool(0.5),
        rare: true,
        // The order of relative and absolute deadlines of fields is the server's own, in either case.
        fields: settings.fields && settings.known.contains("HPEXPIREAT"),
        scripts: settings.scripts && rng.random_bool(0.3),
        ..GeneratorOptions::default()
    }
}

/// An RDB file of what a server has loaded.
fn saved(commands: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a directory");
    let file = aof::write_file(dir.path(), "base.aof", commands);
    let server = Server::loading(file).unwrap_or_else(|log| panic!("the base is refused:\n{log}"));
    rdb::saved(&server)
}

fn words(line: &str) -> Command {
    line.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

/// An argument as redis-cli takes it.
fn quoted(word: &[u8]) -> String {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\' | b'#');
    if !word.is_empty() && word.len() <= SHOWN_BYTES && word.iter().all(plain) {
        return String::from_utf8_lossy(word).into_owned();
    }
    let head = &word[..word.len().min(SHOWN_BYTES)];
    let rest = if head.len() < word.len() { format!("<{} bytes>", word.len()) } else { String::new() };
    format!("\"{}\"{rest}", head.escape_ascii())
}
