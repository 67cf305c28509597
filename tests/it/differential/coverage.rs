//! Which commands ran and changed something, as seen by a real server that is sent them one by one.
//!
//! Where the keys of a command are, and which commands write, the server says itself (COMMAND, COMMAND GETKEYS), so the
//! tool's own table has no part in it.

use super::source::Source;
use crate::support::generate::{Command, script_sums};
use crate::support::raw::{Raw, Reply};
use crate::support::server::Server;
use crate::support::snapshot::{Entry, KeyReader, Name, Snapshot};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Lanes by which keys are told to be tied: as many as the most shards of any layout.
const LANES: u32 = 5;
/// Questions sent at a time.
const ASKED_MAX: usize = 100;
/// Types of operands shown of a command, the most frequent first.
const TYPES_SHOWN: usize = 6;

/// Commands that cannot do anything in the AOFs made here, and why.
const EXCEPTIONS: [(&str, &str); 5] = [
    ("MIGRATE", "sends keys to another server; servers write DEL in its place"),
    ("SFLUSH", "of cluster mode, which loads no such file into replica sets"),
    ("VADD", "a vector set's graph is random, so two loads of one file differ"),
    ("VREM", "as VADD"),
    ("VSETATTR", "as VADD"),
];
/// Commands that servers do not mark as writing, but which change something in an AOF.
const ALSO: [&str; 3] = ["PFCOUNT", "SCRIPT LOAD", "SCRIPT FLUSH"];
/// The same, when scripts are made.
const SCRIPTS: [&str; 3] = ["EVAL", "EVALSHA", "FCALL"];
/// Deadlines of fields and what goes with them.
const FIELDS: [&str; 8] =
    ["HEXPIRE", "HPEXPIRE", "HEXPIREAT", "HPEXPIREAT", "HPERSIST", "HGETEX", "HSETEX", "HGETDEL"];
/// Of these each lane gets a part.
const SPLIT: [&str; 4] = ["DEL", "UNLINK", "TOUCH", "MSET"];
/// These name several keys, so they must have tied some that lie on different lanes.
pub const TYING: &str = "BITOP BLMOVE BLMPOP BLPOP BRPOP BRPOPLPUSH BZMPOP BZPOPMAX BZPOPMIN COPY GEORADIUS GEORADIUSBYMEMBER
    GEOSEARCHSTORE LMOVE LMPOP MSETNX PFMERGE RENAME RENAMENX RPOPLPUSH SDIFFSTORE SINTERSTORE SMOVE SORT SUNIONSTORE XREADGROUP
    ZDIFFSTORE ZINTERSTORE ZMPOP ZRANGESTORE ZUNIONSTORE";

/// How often one command was seen.
#[derive(Clone, Debug, Default)]
struct Row {
    sent: usize,
    /// Changed something: with keys on one lane, in parts, with keys on several lanes, without keys.
    keyed: usize,
    split: usize,
    tied: usize,
    broadcast: usize,
    /// The types that the operands had before, and how often.
    types: BTreeMap<String, usize>,
}

/// What has been seen so far.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    rows: BTreeMap<String, Row>,
    sources: usize,
}

/// What a command may change.
#[derive(PartialEq)]
enum State {
    Keys(BTreeMap<Name, Entry>),
    All(Box<Snapshot>),
    Scripts(Reply),
}

impl Coverage {
    /// Sends a source's commands to a server, one by one and with nothing else in between, and looks at what each names
    /// before and after. Blocks are dissolved, each command in one of its own, so that none waits.
    pub fn play(&mut self, server: &Server, source: &Source) {
        self.sources += 1;
        let mut player = Player { raw: Raw::of(server), keys: KeyReader::of(server), server, database: 0 };
        let commands: Vec<&Command> = source.records.iter().map(|record| &record.command).collect();
        let named = player.named(&commands);
        for (command, keys) in commands.into_iter().zip(named) {
            let name = full_name(command);
            match name.as_str() {
                "MULTI" | "EXEC" | "DISCARD" => {}
                "SELECT" => player.select(command),
                _ => self.add(&mut player, command, &name, &keys),
            }
        }
    }

    fn add(&mut self, player: &mut Player<'_>, command: &Command, name: &str, keys: &[Vec<u8>]) {
        let row = self.rows.entry(name.to_owned()).or_default();
        row.sent += 1;
        let before = player.state(name, keys);
        let replies = player.raw.ask(&[&[b"MULTI".to_vec()][..], command, &[b"EXEC".to_vec()]]);
        if replies.iter().any(Reply::failed) || before == player.state(name, keys) {
            return;
        }
        let lanes: BTreeSet<u32> = keys.iter().map(|key| crc32fast::hash(key) % LANES).collect();
        match lanes.len() {
            0 => row.broadcast += 1,
            1 => row.keyed += 1,
            _ if SPLIT.contains(&name) => row.split += 1,
            _ => row.tied += 1,
        }
        if let State::Keys(entries) = before {
            let kinds: BTreeSet<&str> =
                keys.iter().map(|key| kind_of(&entries, player.database, key)).collect();
            *row.types.entry(kinds.into_iter().collect::<Vec<_>>().join("+")).or_default() += 1;
        }
    }

    /// Adds what another has seen.
    pub fn merge(&mut self, other: Self) {
        self.sources += other.sources;
        for (name, theirs) in other.rows {
            let row = self.rows.entry(name).or_default();
            row.sent += theirs.sent;
            row.keyed += theirs.keyed;
            row.split += theirs.split;
            row.tied += theirs.tied;
            row.broadcast += theirs.broadcast;
            for (kinds, count) in theirs.types {
                *row.types.entry(kinds).or_default() += count;
            }
        }
    }

    /// The table, a line for each command that the server marks as writing, and some others.
    pub fn table(&self, server: &Server) -> String {
        let mut text = format!(
            "{:22} {:>7} {:>7} {:>7} {:>7} {:>9}  operands before, most frequent first ({} sources played)\n",
            "command", "sent", "keyed", "split", "tied", "broadcast", self.sources
        );
        let expected = expected(server);
        for name in expected.iter().chain(self.rows.keys().filter(|name| !expected.contains(*name))) {
            let row = self.rows.get(name).cloned().unwrap_or_default();
            if !expected.contains(name) && row.keyed + row.split + row.tied + row.broadcast == 0 {
                continue;
            }
            let mut types: Vec<(&String, &usize)> = row.types.iter().collect();
            types.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            let mut shown: Vec<String> =
                types.iter().take(TYPES_SHOWN).map(|(kinds, count)| format!("{kinds} {count}")).collect();
            shown.extend(
                EXCEPTIONS.iter().find(|(one, _)| one == name).map(|(_, why)| format!("exception: {why}")),
            );
            let _ = writeln!(
                text,
                "{name:22} {:7} {:7} {:7} {:7} {:9}  {}",
                row.sent,
                row.keyed,
                row.split,
                row.tied,
                row.broadcast,
                shown.join(", ")
            );
        }
        text
    }

    /// What should have been seen and was not, in words.
    pub fn missing(&self, server: &Server, wanted: &Wanted) -> Vec<String> {
        let mut missing = Vec::new();
        for name in expected(server) {
            let left_out = EXCEPTIONS.iter().any(|(one, _)| *one == name)
                || (!wanted.fields && FIELDS.contains(&name.as_str()))
                || (!wanted.scripts && SCRIPTS.contains(&name.as_str()));
            if left_out {
                continue;
            }
            let row = self.rows.get(&name).cloned().unwrap_or_default();
            if row.keyed + row.split + row.tied + row.broadcast == 0 {
                missing.push(format!("{name} changed nothing in {} tries", row.sent));
            } else if row.split == 0 && SPLIT.contains(&name.as_str()) {
                missing.push(format!("{name} was never split"));
            } else if row.tied == 0 && TYING.split_whitespace().chain(SCRIPTS).any(|one| one == name) {
                missing.push(format!("{name} never tied keys of several lanes"));
            }
        }
        missing
    }
}

/// Which switchable parts were made.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Deadlines of fields.
    pub fields: bool,
    /// Scripts and functions.
    pub scripts: bool,
}

/// Names of the server's commands, a container's with its subcommand, and whether they write.
pub fn commands_of(server: &Server) -> BTreeMap<String, bool> {
    let reply = Raw::of(server).words("COMMAND");
    let mut found = BTreeMap::new();
    for row in reply.items() {
        let subcommands = row.items().get(9).map_or(&[][..], Reply::items);
        for one in std::iter::once(row).chain(subcommands) {
            let parts = one.items();
            let name = String::from_utf8_lossy(parts[0].bytes()).to_uppercase().replace('|', " ");
            found.insert(name, parts[2].items().iter().any(|flag| flag.bytes() == b"write"));
        }
    }
    found
}

fn expected(server: &Server) -> BTreeSet<String> {
    let known = commands_of(server);
    let also =
        ALSO.iter().chain(&SCRIPTS).map(|name| (*name).to_owned()).filter(|name| known.contains_key(name));
    let writes = known.iter().filter(|(_, writes)| **writes).map(|(name, _)| name.clone());
    writes.chain(also).collect()
}

fn kind_of<'a>(entries: &'a BTreeMap<Name, Entry>, database: u32, key: &[u8]) -> &'a str {
    entries.get(&(database, key.to_vec())).map_or("absent", |entry| &entry.kind)
}

fn full_name(command: &Command) -> String {
    let upper = |word: &Vec<u8>| String::from_utf8_lossy(word).to_uppercase();
    let name = upper(&command[0]);
    match name.as_str() {
        "XGROUP" | "FUNCTION" | "SCRIPT" => {
            format!("{name} {}", command.get(1).map(upper).unwrap_or_default())
        }
        _ => name,
    }
}

struct Player<'a> {
    raw: Raw,
    keys: KeyReader,
    server: &'a Server,
    database: u32,
}

impl Player<'_> {
    /// The keys that each command names, as the server sees it; none if it cannot tell.
    fn named(&mut self, commands: &[&Command]) -> Vec<Vec<Vec<u8>>> {
        let mut named = Vec::new();
        for some in commands.chunks(ASKED_MAX) {
            let ask =
                |command: &&Command| [&[b"COMMAND".to_vec(), b"GETKEYS".to_vec()], &command[..]].concat();
            let questions: Vec<Vec<Vec<u8>>> = some.iter().map(ask).collect();
            let borrowed: Vec<&[Vec<u8>]> = questions.iter().map(Vec::as_slice).collect();
            let replies = self.raw.ask(&borrowed);
            for (reply, command) in replies.iter().zip(some) {
                // A PFMERGE without sources counts as one without keys there.
                let merges = reply.failed() && command[0].eq_ignore_ascii_case(b"PFMERGE");
                let told = reply.items().iter().map(|key| key.bytes().to_vec());
                named.push(if merges { command[1..].to_vec() } else { told.collect() });
            }
        }
        named
    }

    fn select(&mut self, command: &Command) {
        if !self.raw.ask(&[command]).remove(0).failed() {
            self.database = String::from_utf8_lossy(&command[1]).parse().expect("a server has taken it");
        }
    }

    fn state(&mut self, name: &str, keys: &[Vec<u8>]) -> State {
        if name.starts_with("SCRIPT") {
            return State::Scripts(self.raw.ask(&[&scripts()[..]]).remove(0));
        }
        if keys.is_empty() {
            let mut all = Snapshot::of(self.server);
            all.taken_ms = 0;
            return State::All(Box::new(all));
        }
        let mut entries = self.keys.read(self.database, keys);
        // MOVE and COPY … DB change the key in another database.
        for other in 0..if matches!(name, "MOVE" | "COPY") { 4 } else { 0 } {
            entries.extend(self.keys.read(other, keys));
        }
        State::Keys(entries)
    }
}

/// The question for all scripts that are made here.
fn scripts() -> Vec<Vec<u8>> {
    [b"SCRIPT".to_vec(), b"EXISTS".to_vec()].into_iter().chain(script_sums()).collect()
}
