//! Everything a server holds, in a form that does not depend on encodings or iteration order.

use super::server::Server;
use super::stream::Stream;
use super::wire::{ask, bytes, field, int, items, knows, pipeline, text};
use redis::{Connection, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

/// Keys read at a time; bounds what one round of replies holds.
const KEYS_PER_ROUND: usize = 100;
/// From the making of a source to the end of its last load.
const LOADING_MS_MAX: i64 = 3_600_000;
/// Relative deadlines are fewer units away than this.
const UNITS_MAX: i64 = 100;
/// What commands subtract from the clock before they note it (XCLAIM IDLE), and more.
const CLOCKS_DIFFER_MS: i64 = 5_000;
/// SCAN's COUNT.
const SCAN_COUNT: &[u8] = b"1000";

/// Function libraries: name to engine and code.
pub type Libraries = BTreeMap<Vec<u8>, (Vec<u8>, Vec<u8>)>;

/// A key's database and name.
pub type Name = (u32, Vec<u8>);

/// One server's keys in all databases and its function libraries.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Every key that was there while reading, also those past their deadline.
    pub keys: BTreeMap<Name, Entry>,
    /// `None` on servers before 7.0.
    pub functions: Option<Libraries>,
    /// The clock after the last read.
    pub taken_ms: i64,
}

/// One key's type, value and deadline.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// As TYPE names it.
    pub kind: String,
    /// Its value.
    pub content: Content,
    /// In ms since the epoch; `None` without a deadline.
    pub deadline_ms: Option<i64>,
}

/// A value, by type.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Any bytes; bitmaps and the like as well.
    String(Vec<u8>),
    /// In order.
    List(Vec<Vec<u8>>),
    /// Without order.
    Set(BTreeSet<Vec<u8>>),
    /// Member to the bits of its score.
    SortedSet(BTreeMap<Vec<u8>, u64>),
    /// Field to value and the field's own deadline.
    Hash(BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>),
    /// Boxed, being by far the largest.
    Stream(Box<Stream>),
    /// A module's type: DUMP without its version and checksum.
    Other(Vec<u8>),
    /// The reply to a read that failed.
    Unreadable(String),
}

impl Snapshot {
    /// Reads the whole server. Meant for servers that nobody else writes to meanwhile.
    pub fn of(server: &Server) -> Self {
        Self::read(&mut server.conn())
    }

    /// The same over a connection, for servers that were not started here.
    pub fn read(conn: &mut Connection) -> Self {
        let able = Able::of(conn);
        let info = text(&ask(conn, &[b"INFO", b"KEYSPACE"]));
        let mut keys = BTreeMap::new();
        for database in databases(&info) {
            ask(conn, &[b"SELECT", database.to_string().as_bytes()]);
            let names = scan(conn);
            for round in names.chunks(KEYS_PER_ROUND) {
                for (name, entry) in read_round(conn, round, able) {
                    keys.insert((database, name), entry);
                }
            }
        }
        let functions = knows(conn, "FUNCTION").then(|| libraries(conn));
        Self { keys, functions, taken_ms: now_ms() }
    }

    /// Leaves out the keys for which `skip` says so, such as the tool's own marker in the middle of a load.
    #[must_use]
    pub fn without(mut self, skip: impl Fn(u32, &[u8]) -> bool) -> Self {
        self.keys.retain(|(database, key), _| !skip(*database, key));
        self
    }

    /// Takes the clock out of what depends on the moment of loading: deadlines that are whole multiples of `unit_ms` from
    /// a moment after `made_ms`, and delivery times of streams' entries after it.
    #[must_use]
    pub fn without_clock(mut self, made_ms: i64, unit_ms: i64) -> Self {
        let steady = |deadline: &mut Option<i64>| {
            if let Some(after) = deadline.map(|at| at - made_ms).filter(|after| *after > unit_ms / 2)
                && after % unit_ms < LOADING_MS_MAX
                && after / unit_ms < UNITS_MAX
            {
                *deadline = Some(made_ms + after / unit_ms * unit_ms);
            }
        };
        for entry in self.keys.values_mut() {
            steady(&mut entry.deadline_ms);
            match &mut entry.content {
                Content::Hash(fields) => fields.values_mut().for_each(|(_, deadline)| steady(deadline)),
                Content::Stream(stream) => stream.forget_deliveries_after(made_ms - CLOCKS_DIFFER_MS),
                _ => {}
            }
        }
        self
    }

    /// What is alive at `now_ms`: expired keys, expired fields and hashes emptied by that are gone.
    pub fn alive(&self, now_ms: i64) -> BTreeMap<&Name, Entry> {
        let past = |deadline: Option<i64>| deadline.is_some_and(|at| at <= now_ms);
        let mut alive = BTreeMap::new();
        for (name, entry) in &self.keys {
            let mut entry = entry.clone();
            if let Content::Hash(fields) = &mut entry.content {
                fields.retain(|_, (_, deadline)| !past(*deadline));
                if fields.is_empty() {
                    continue;
                }
            }
            if !past(entry.deadline_ms) {
                alive.insert(name, entry);
            }
        }
        alive
    }
}

/// Which newer commands the server has.
#[derive(Clone, Copy)]
struct Able {
    pexpiretime: bool,
    hpexpiretime: bool,
}

impl Able {
    fn of(conn: &mut Connection) -> Self {
        Self { pexpiretime: knows(conn, "PEXPIRETIME"), hpexpiretime: knows(conn, "HPEXPIRETIME") }
    }
}

/// Reads single keys, again and again.
pub struct KeyReader {
    conn: Connection,
    able: Able,
}

impl KeyReader {
    /// One with a connection of its own.
    pub fn of(server: &Server) -> Self {
        let mut conn = server.conn();
        let able = Able::of(&mut conn);
        Self { conn, able }
    }

    /// Those of these keys that are there.
    pub fn read(&mut self, database: u32, names: &[Vec<u8>]) -> BTreeMap<Name, Entry> {
        ask(&mut self.conn, &[b"SELECT", database.to_string().as_bytes()]);
        let entries = read_round(&mut self.conn, names, self.able);
        entries.into_iter().map(|(name, entry)| ((database, name), entry)).collect()
    }
}

/// The time, in milliseconds of Unix time.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    i64::try_from(since.as_millis()).expect("the clock fits")
}

/// The databases that hold keys, from lines like `db3:keys=1,expires=0,avg_ttl=0`.
fn databases(info: &str) -> Vec<u32> {
    info.lines().filter_map(|line| line.strip_prefix("db")?.split_once(':')?.0.parse().ok()).collect()
}

fn scan(conn: &mut Connection) -> Vec<Vec<u8>> {
    let mut names = BTreeSet::new();
    let mut cursor = b"0".to_vec();
    loop {
        let reply = ask(conn, &[b"SCAN", &cursor, b"COUNT", SCAN_COUNT]);
        let parts = items(&reply);
        assert_eq!(parts.len(), 2, "SCAN answered {reply:?}");
        names.extend(items(&parts[1]).iter().map(bytes));
        cursor = bytes(&parts[0]);
        if cursor == b"0" {
            return names.into_iter().collect();
        }
    }
}

fn read_round(conn: &mut Connection, names: &[Vec<u8>], able: Able) -> Vec<(Vec<u8>, Entry)> {
    let ttl: &[u8] = if able.pexpiretime { b"PEXPIRETIME" } else { b"PTTL" };
    let asked: Vec<Vec<&[u8]>> =
        names.iter().flat_map(|name| [vec![b"TYPE", &name[..]], vec![ttl, name]]).collect();
    let facts = pipeline(conn, &asked);
    let mut found = Vec::new();
    let mut reads: Vec<Vec<&[u8]>> = Vec::new();
    for (name, fact) in names.iter().zip(facts.chunks_exact(2)) {
        let kind = text(&fact[0]);
        // -1: no deadline; -2: expired since SCAN, as does type "none".
        let time = int(&fact[1]).expect("a deadline is a number");
        if kind == "none" || time == -2 {
            continue;
        }
        let at = reads.len();
        reads.extend(reads_of(&kind, name));
        let deadline =
            (time >= 0).then(|| if able.pexpiretime { time } else { deadline_by_time_left(conn, name) });
        found.push((name, kind, deadline, at));
    }
    let replies = pipeline(conn, &reads);
    let mut entries = Vec::new();
    for (name, kind, deadline_ms, at) in found {
        let count = reads_of(&kind, name).len();
        let Some(mut content) = content_of(&kind, &replies[at..at + count]) else { continue };
        if able.hpexpiretime {
            add_field_deadlines(conn, name, &mut content);
        }
        entries.push((name.clone(), Entry { kind, content, deadline_ms }));
    }
    entries
}

/// A key's deadline from a server that only tells the time left: exact between two looks at one millisecond of its
/// clock. One that goes meanwhile was past its deadline.
fn deadline_by_time_left(conn: &mut Connection, name: &[u8]) -> i64 {
    loop {
        let replies = pipeline(conn, &[vec![&b"TIME"[..]], vec![b"PTTL", name], vec![b"TIME"]]);
        let clock = |reply: &Value| {
            let parts: Vec<i64> =
                items(reply).iter().map(|part| text(part).parse().expect("a number")).collect();
            parts[0] * 1000 + parts[1] / 1000
        };
        let left = int(&replies[1]).expect("a time is a number");
        if left < 0 {
            return 0;
        }
        if clock(&replies[0]) == clock(&replies[2]) {
            return clock(&replies[0]) + left;
        }
    }
}

/// The commands that read a value of this type whole.
fn reads_of<'a>(kind: &str, name: &'a [u8]) -> Vec<Vec<&'a [u8]>> {
    match kind {
        "string" => vec![vec![b"GET", name]],
        "list" => vec![vec![b"LRANGE", name, b"0", b"-1"]],
        "set" => vec![vec![b"SMEMBERS", name]],
        "zset" => vec![vec![b"ZRANGE", name, b"0", b"-1", b"WITHSCORES"]],
        "hash" => vec![vec![b"HGETALL", name]],
        "stream" => {
            vec![vec![b"XRANGE", name, b"-", b"+"], vec![b"XINFO", b"STREAM", name, b"FULL", b"COUNT", b"0"]]
        }
        _ => vec![vec![b"DUMP", name]],
    }
}

/// `None` when the key expired between TYPE and the read: its deadline is past by then, so it is absent anyway.
fn content_of(kind: &str, replies: &[Value]) -> Option<Content> {
    if let Some(Value::ServerError(error)) =
        replies.iter().find(|reply| matches!(reply, Value::ServerError(_)))
    {
        let vanished = kind == "stream" && items(&replies[0]).is_empty();
        return (!vanished).then(|| Content::Unreadable(error.to_string()));
    }
    let reply = &replies[0];
    let gone = matches!(reply, Value::Nil)
        || (kind != "stream" && matches!(reply, Value::Array(all) if all.is_empty()));
    let pairs = || items(reply).chunks_exact(2).map(|pair| (bytes(&pair[0]), bytes(&pair[1])));
    (!gone).then(|| match kind {
        "string" => Content::String(bytes(reply)),
        "list" => Content::List(items(reply).iter().map(bytes).collect()),
        "set" => Content::Set(items(reply).iter().map(bytes).collect()),
        "zset" => Content::SortedSet(pairs().map(|(member, score)| (member, score_bits(&score))).collect()),
        "hash" => Content::Hash(pairs().map(|(name, value)| (name, (value, None))).collect()),
        "stream" => Content::Stream(Box::new(Stream::of(reply, &replies[1]))),
        _ => {
            let mut dump = bytes(reply);
            dump.truncate(dump.len().saturating_sub(10));
            Content::Other(dump)
        }
    })
}

/// Server versions print the same number differently, so the number itself is compared, and -0 as 0.
fn score_bits(score: &[u8]) -> u64 {
    let number: f64 = String::from_utf8_lossy(score).parse().expect("a score is a number");
    if number == 0.0 { 0 } else { number.to_bits() }
}

fn add_field_deadlines(conn: &mut Connection, name: &[u8], content: &mut Content) {
    let Content::Hash(fields) = content else { return };
    let count = fields.len().to_string();
    let mut command: Vec<&[u8]> = vec![b"HPEXPIRETIME", name, b"FIELDS", count.as_bytes()];
    command.extend(fields.keys().map(Vec::as_slice));
    let reply = ask(conn, &command);
    for ((_, deadline), time) in fields.values_mut().zip(items(&reply)) {
        *deadline = int(time).filter(|time| *time >= 0);
    }
}

fn libraries(conn: &mut Connection) -> Libraries {
    let reply = ask(conn, &[b"FUNCTION", b"LIST", b"WITHCODE"]);
    let part = |library, name| bytes(field(library, name).expect("a library tells this"));
    items(&reply)
        .iter()
        .map(|library| {
            (part(library, "library_name"), (part(library, "engine"), part(library, "library_code")))
        })
        .collect()
}
