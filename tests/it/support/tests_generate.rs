//! Are the generated sources worth loading: valid, reproducible, mostly successful, and the same on every load?

use super::aof;
use super::compare::{Placement, Snapshot, assert_no_differences, diff};
use super::generate::{Command, Generator, GeneratorOptions, Payloads};
use super::server::Server;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

const COMMANDS: usize = 3000;

/// How often each command succeeded and was sent, and how often each error came.
#[derive(Default)]
struct Tally {
    commands: BTreeMap<String, (usize, usize)>,
    errors: BTreeMap<String, usize>,
}

impl Tally {
    fn success_percent(&self) -> usize {
        let (good, all) = self.commands.values().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        100 * good / all
    }

    /// Sends them one by one to a live server; blocks are dissolved to see each reply.
    fn add(&mut self, server: &Server, commands: &[Command]) {
        // Not through the redis crate: it gives up on an error reply that is not UTF-8, such as one with a key in it.
        let mut socket = TcpStream::connect(server.addr()).expect("the server accepts");
        let mut replies = BufReader::new(socket.try_clone().expect("a socket can be shared"));
        for command in
            commands.iter().filter(|command| !["MULTI", "EXEC"].contains(&name_of(command).as_str()))
        {
            let mut bytes = Vec::new();
            aof::push(&mut bytes, &command.iter().map(Vec::as_slice).collect::<Vec<_>>());
            socket.write_all(&bytes).expect("the server reads");
            let name = match name_of(command).as_str() {
                name @ ("XGROUP" | "FUNCTION") => {
                    format!("{name} {}", String::from_utf8_lossy(&command[1]).to_uppercase())
                }
                name => name.to_owned(),
            };
            let counts = self.commands.entry(name.clone()).or_default();
            counts.1 += 1;
            match read_reply(&mut replies) {
                // Only a live server refuses this; one that loads takes it.
                Some(error) if !error.contains("LIMIT cannot be used") => {
                    *self.errors.entry(format!("{name}: {error}")).or_default() += 1;
                }
                _ => counts.0 += 1,
            }
        }
    }
}

/// Reads one reply of any kind; its text when it is an error.
fn read_reply(from: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line).expect("the server answers");
    let text = String::from_utf8_lossy(&line[1..]).trim_end().to_owned();
    let count = || text.parse::<i64>().expect("a length");
    match line[0] {
        b'-' => return Some(text),
        b'$' if count() >= 0 => {
            let len = u64::try_from(count()).expect("not negative") + 2;
            std::io::copy(&mut from.take(len), &mut std::io::sink()).expect("the server answers");
        }
        b'*' => (0..count()).for_each(|_| drop(read_reply(from))),
        _ => {}
    }
    None
}

fn name_of(command: &Command) -> String {
    String::from_utf8_lossy(&command[0]).to_uppercase()
}

fn loaded(bytes: &[u8], seed: u64) -> Server {
    let dir = tempfile::tempdir().expect("a directory");
    let path = aof::write_file(dir.path(), "dump.aof", bytes);
    Server::loading(path).unwrap_or_else(|log| panic!("seed {seed} is refused:\n{log}"))
}

/// Loads each seed twice and sends it once. `GENERATOR_SEEDS` asks for more than the few of a usual run.
#[test]
fn sources_load_the_same_every_time_and_mostly_succeed() {
    let seeds: u64 = std::env::var("GENERATOR_SEEDS").map_or(3, |count| count.parse().expect("a number"));
    let payloads = Payloads::of(&Server::start(&[]));
    let mut tally = Tally::default();
    let mut keys = 0;
    for seed in 0..seeds {
        let options = GeneratorOptions { tied: seed % 2 == 1, ..GeneratorOptions::default() };
        let new = || Generator::new(seed, options.clone()).with_payloads(payloads.clone());
        let bytes = new().aof(COMMANDS);
        let (first, second) = (Snapshot::of(&loaded(&bytes, seed)), Snapshot::of(&loaded(&bytes, seed)));
        keys += first.keys.len();
        assert_no_differences(&diff(&first, &[second], Placement::Anywhere));
        let live = Server::start(&[]);
        live.cmd(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]).expect("DEBUG");
        tally.add(&live, &new().commands(COMMANDS));
    }
    for (name, (good, all)) in &tally.commands {
        println!("{name:20} {good:6} of {all:6}");
    }
    for (error, count) in &tally.errors {
        println!("{count:6} {error}");
    }
    println!("{} % succeed", tally.success_percent());
    assert!(tally.success_percent() > 60);
    // On average only: a FLUSHALL may come last.
    assert!(keys as u64 > 100 * seeds, "{keys} keys of {seeds} sources leave little to compare");
}

#[test]
fn a_seed_gives_the_same_source_and_a_smaller_count_its_beginning() {
    let make = |count| Generator::new(7, GeneratorOptions::default()).aof(count);
    let (whole, part) = (make(2000), make(300));
    assert_eq!(whole, make(2000));
    assert!(whole.starts_with(&part) && part.len() < whole.len());
    assert_ne!(whole, Generator::new(8, GeneratorOptions::default()).aof(2000));
}

#[test]
fn commands_with_several_keys_stay_on_one_shard_unless_tied() {
    let spread = |tied| {
        let options = GeneratorOptions { tied, ..GeneratorOptions::default() };
        let commands = Generator::new(3, options).commands(COMMANDS);
        let renames = commands.iter().filter(|command| name_of(command).starts_with("RENAME"));
        let shard = |key: &[u8]| crc32fast::hash(key) % 3;
        renames.filter(|command| shard(&command[1]) != shard(&command[2])).count()
    };
    assert_eq!(spread(false), 0);
    assert!(spread(true) > 10);
}

/// Cuts commands into one source per shard by their first key, as far as that is right: for sources without ties.
fn split(commands: &[Command], shards: usize) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new(); shards];
    let shard = |key: &Vec<u8>| crc32fast::hash(key) as usize % shards;
    let line = |command: &Command, keys: &[Vec<u8>]| [&command[..1], keys].concat();
    for command in commands {
        let step = match name_of(command).as_str() {
            "MSET" => 2,
            "DEL" | "UNLINK" | "TOUCH" => 1,
            "XGROUP" | "BITOP" | "PFDEBUG" | "LMPOP" | "ZMPOP" => {
                parts[shard(&command[2])].push(command.clone());
                continue;
            }
            "MULTI" | "EXEC" | "SELECT" | "PING" | "FLUSHALL" | "FLUSHDB" | "SWAPDB" | "FUNCTION" => {
                for part in &mut parts {
                    part.push(command.clone());
                }
                continue;
            }
            _ => command.len() - 1,
        };
        for keys in command[1..].chunks(step) {
            parts[shard(&keys[0])].push(line(command, keys));
        }
    }
    parts.iter().map(|part| framed(part)).collect()
}

fn framed(commands: &[Command]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for command in commands {
        aof::push(&mut bytes, &command.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }
    bytes
}

/// What the tool promises can be had: else a failing load would say nothing about the tool.
#[test]
fn the_parts_of_a_source_without_ties_together_equal_the_whole() {
    let payloads = Payloads::of(&Server::start(&[]));
    for seed in 100..103 {
        let options = GeneratorOptions { tied: false, ..GeneratorOptions::default() };
        let commands = Generator::new(seed, options).with_payloads(payloads.clone()).commands(COMMANDS);
        let whole = loaded(&framed(&commands), seed);
        let parts: Vec<Server> = split(&commands, 3).iter().map(|part| loaded(part, seed)).collect();
        super::compare::assert_same(&whole, &parts);
    }
}

/// These cannot be compared exactly, but must load.
#[test]
fn sources_with_near_and_relative_deadlines_load() {
    let options =
        GeneratorOptions { near_deadlines: true, relative_deadlines: true, ..GeneratorOptions::default() };
    let bytes = Generator::new(5, options).with_payloads(Payloads::of(&Server::start(&[]))).aof(COMMANDS);
    assert!(!Snapshot::of(&loaded(&bytes, 5)).keys.is_empty());
}
