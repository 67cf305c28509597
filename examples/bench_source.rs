//! Writes an append-only file for benchmarks to stdout; see benches/compare.sh.
//!
//! `bench_source KIND COMMANDS [KEYS [VALUE_BYTES [PERCENT]]]`, where KIND is
//! - `sets`: plain SETs; each key is set again once KEYS of them have been
//! - `mixed`: of 100 commands 40 SET, 14 HSET, 12 INCR, 10 RPUSH, 8 SADD, 8 ZADD, 5 DEL and 3 APPEND
//! - `sessions`: plain SETs of COMMANDS keys, every second one followed by a deadline in the year 2100
//! - `renames`: plain SETs, but PERCENT of the commands rename a temporary name onto the key, set under that name before
//!
//! The same arguments give the same bytes.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use redcluster_load::resp::encode;

const KEYS_DEFAULT: u64 = 1_000_000;
const VALUE_BYTES_DEFAULT: usize = 32;
/// 2100-01-01 in milliseconds of Unix time.
const DEADLINE_MS: u64 = 4_102_444_800_000;
/// Written in one go.
const CHUNK_BYTES: usize = 1 << 20;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
    let (Some(kind), Some(commands)) = (words.first().and_then(|word| Kind::of(word)), number(1)) else {
        eprintln!("usage: bench_source sets|mixed|sessions|renames COMMANDS [KEYS [VALUE_BYTES [PERCENT]]]");
        return ExitCode::from(2);
    };
    let keys = number(2).unwrap_or(KEYS_DEFAULT).max(1);
    let value_bytes = number(3).map_or(VALUE_BYTES_DEFAULT, |bytes| bytes as usize);
    let percent = number(4).unwrap_or(0);
    match write(kind, commands, (keys, percent), &vec![b'v'; value_bytes]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench_source: {error}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Sets,
    Mixed,
    Sessions,
    Renames,
}

impl Kind {
    fn of(word: &str) -> Option<Kind> {
        match word {
            "sets" => Some(Kind::Sets),
            "mixed" => Some(Kind::Mixed),
            "sessions" => Some(Kind::Sessions),
            "renames" => Some(Kind::Renames),
            _ => None,
        }
    }
}

fn write(kind: Kind, commands: u64, (keys, percent): (u64, u64), value: &[u8]) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(CHUNK_BYTES, io::stdout().lock());
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut text = Vec::with_capacity(value.len() + 128);
    for number in 0..commands {
        text.clear();
        match kind {
            Kind::Sets => {
                let key = format!("key:{:012}", number % keys);
                encode::command(&mut text, &[b"SET".as_slice(), key.as_bytes(), value]);
            }
            Kind::Mixed => mixed(&mut text, dice.roll(100), dice.roll(keys), dice.roll(1000), value),
            Kind::Sessions => session(&mut text, number, value),
            Kind::Renames => rename(&mut text, number, (keys, percent), value),
        }
        out.write_all(&text)?;
    }
    out.flush()
}

fn mixed(out: &mut Vec<u8>, kind: u64, key: u64, member: u64, value: &[u8]) {
    let member = member.to_string();
    let mut command = |prefix: &str, name: &[u8], rest: &[&[u8]]| {
        let key = format!("{prefix}:{key:09}");
        let mut arguments = vec![name, key.as_bytes()];
        arguments.extend_from_slice(rest);
        encode::command(out, &arguments);
    };
    match kind {
        0..40 => command("s", b"SET", &[value]),
        40..54 => command("h", b"HSET", &[member.as_bytes(), value]),
        54..66 => command("n", b"INCR", &[]),
        66..76 => command("l", b"RPUSH", &[value]),
        76..84 => command("m", b"SADD", &[member.as_bytes()]),
        84..92 => command("z", b"ZADD", &[member.as_bytes(), member.as_bytes()]),
        92..97 => command("s", b"DEL", &[]),
        _ => command("a", b"APPEND", &[member.as_bytes()]),
    }
}

fn session(out: &mut Vec<u8>, number: u64, value: &[u8]) {
    let key = format!("session:{number:09}");
    encode::command(out, &[b"SET".as_slice(), key.as_bytes(), value]);
    if number.is_multiple_of(2) {
        let deadline = (DEADLINE_MS + number).to_string();
        encode::command(out, &[b"PEXPIREAT".as_slice(), key.as_bytes(), deadline.as_bytes()]);
    }
}

/// Temporary names in use by `renames`, as many as a few workers would have.
const TEMPORARY_NAMES: u64 = 7;

/// Command number `number` of `renames`: where the share of RENAMEs grows past a whole one, the SET before it is of a
/// temporary name.
fn rename(out: &mut Vec<u8>, number: u64, (keys, percent): (u64, u64), value: &[u8]) {
    let renames = |number: u64| (number + 1) * percent / 100 > number * percent / 100;
    let key = |number: u64| format!("key:{:012}", number % keys);
    let temporary = |number: u64| format!("tmp:{}", number % TEMPORARY_NAMES);
    if renames(number) {
        let names = [temporary(number - 1), key(number)];
        encode::command(out, &[b"RENAME".as_slice(), names[0].as_bytes(), names[1].as_bytes()]);
    } else {
        let name = if renames(number + 1) { temporary(number) } else { key(number) };
        encode::command(out, &[b"SET".as_slice(), name.as_bytes(), value]);
    }
}

/// xorshift64*: fast, and the same on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % below
    }
}
