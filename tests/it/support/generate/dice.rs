//! Every random choice: numbers, values, keys, moments.

use super::GeneratorOptions;
use super::keys::{Keys, Kind};
use super::payloads::Payloads;
use super::streams::Streams;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

/// Of the keys asked for, one in so many is of another type, for failures that servers also see.
const WRONG_TYPE_ONE_IN: usize = 22;
const BIG_ONE_IN: usize = 400;
/// 1 January 2100 in ms: far, and well below any offset that a loader may add.
const FAR_MS: i64 = 4_102_444_800_000;
/// Two years after 1970 to 2023: past on every clock.
const PAST_MS: i64 = 1_700_000_000_000;
/// Relative deadlines are a few times this, about 12 days: a judge may round what the moment of loading adds.
pub const RELATIVE_UNIT_MS: i64 = 1_000_000_000;

/// What is awkward for whoever reads RESP as text, or numbers too generously.
const ODD: [&[u8]; 14] = [
    b"",
    b"\r\n",
    b"\r\n*3\r\n$3\r\nSET\r\n",
    b"*3",
    b"$",
    b"$5\r\nhello\r\n",
    b"*1\r\n$8\r\nFLUSHALL\r\n",
    b"#TS:1700000000\r\n",
    b"\0",
    b"\0\xff\x80\n",
    b" ",
    b"'\"\\x41",
    b"\xc3\xa4\xe2\x82\xac",
    b"-1",
];

/// The generator's source of chance and its memory.
#[derive(Debug)]
pub(super) struct Dice {
    rng: StdRng,
    pub options: GeneratorOptions,
    pub keys: Keys,
    pub payloads: Payloads,
    pub streams: Streams,
    /// The database that commands run in.
    pub database: usize,
    /// Whether a MULTI is open.
    pub in_transaction: bool,
    /// The servers' commands, if they were asked.
    pub known: Option<BTreeSet<String>>,
    pub made_ms: i64,
}

impl Dice {
    pub fn new(seed: u64, options: GeneratorOptions) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
        let made_ms = i64::try_from(now.as_millis()).expect("the clock fits");
        let keys = Keys::new(options.shards, options.keys_per_shard);
        let rng = StdRng::seed_from_u64(seed);
        Self {
            rng,
            options,
            keys,
            payloads: Payloads::default(),
            streams: Streams::default(),
            database: 0,
            in_transaction: false,
            known: None,
            made_ms,
        }
    }

    /// 0 up to, not including, `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.rng.random_range(0..end)
    }

    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        self.rng.random_range(low..=high)
    }

    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// An option's name, as some client typed it.
    pub fn keyword(&mut self, word: &str) -> String {
        if self.one_in(10) { word.to_lowercase() } else { word.to_owned() }
    }

    pub fn any_database(&mut self) -> usize {
        self.below(self.options.databases)
    }

    /// A key that usually holds this type.
    pub fn key(&mut self, kind: Kind) -> Vec<u8> {
        let shard = self.below(self.options.shards);
        self.key_on(kind, shard)
    }

    /// Keys for a command that names several: of one shard, unless ties are wanted.
    pub fn keys_together(&mut self, kinds: &[Kind]) -> Vec<Vec<u8>> {
        let home = self.below(self.options.shards);
        let mut chosen = Vec::new();
        for kind in kinds {
            let shard = if self.options.tied { self.below(self.options.shards) } else { home };
            chosen.push(self.key_on(*kind, shard));
        }
        chosen
    }

    fn key_on(&mut self, kind: Kind, shard: usize) -> Vec<u8> {
        let wrong = self.one_in(WRONG_TYPE_ONE_IN).then(|| self.pick(&Kind::ALL));
        let kind = wrong.filter(|wrong| ![kind, *wrong].contains(&Kind::Lexical)).unwrap_or(kind);
        let nth = self.below(self.options.keys_per_shard);
        self.keys.get(kind, shard, nth).to_vec()
    }

    /// Something short from a small set, so that members and fields are met again. Without NUL: SORT ALPHA compares as
    /// C strings do, and equal ones of a set come out in hash order.
    pub fn member(&mut self) -> Vec<u8> {
        match self.below(10) {
            0 => self.pick(&ODD.map(|odd| if odd.contains(&0) { b"odd" } else { odd })).to_vec(),
            1..4 => self.between(-20, 20).to_string().into_bytes(),
            _ => format!("m{}", self.below(15)).into_bytes(),
        }
    }

    /// 1 to 4 members, seldom more than other tools' limit of 128 arguments.
    pub fn members(&mut self) -> Vec<Vec<u8>> {
        if self.one_in(150) {
            return (0..150).map(|n| format!("many{n}").into_bytes()).collect();
        }
        (0..=self.below(4)).map(|_| self.member()).collect()
    }

    /// Any bytes.
    pub fn value(&mut self) -> Vec<u8> {
        if self.options.big_values && self.one_in(BIG_ONE_IN) {
            return self.big();
        }
        match self.below(8) {
            0 => self.pick(&ODD).to_vec(),
            1 => [self.pick(&ODD), self.pick(&ODD), b"tail"].concat(),
            2 => self.between(i64::MIN, i64::MAX).to_string().into_bytes(),
            3 => (0..self.below(300)).map(|_| self.rng.random()).collect(),
            _ => format!("value{}", self.below(1000)).into_bytes(),
        }
    }

    fn big(&mut self) -> Vec<u8> {
        let len = usize::try_from(self.between(100_000, 2_000_000)).expect("positive");
        // Looks like RESP all through, so that a reader that lost its place would not notice.
        let pattern = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", self.below(1000));
        pattern.bytes().cycle().take(len).collect()
    }

    /// An integer, mostly small.
    pub fn integer(&mut self) -> i64 {
        match self.below(40) {
            0 => self.pick(&[i64::MAX, i64::MIN, 1 << 31, -1 << 40]),
            _ => self.between(-50, 50),
        }
    }

    /// A number with a fraction that is exact in binary: the order of additions must not matter.
    pub fn fraction(&mut self) -> f64 {
        f64::from(self.rng.random_range(-400..=400)) / 8.0
    }

    /// Degrees within this range of whole ones, with three decimals.
    pub fn degrees(&mut self, low: i32, high: i32) -> f64 {
        f64::from(self.rng.random_range(low * 1000..=high * 1000)) / 1000.0
    }

    /// A sorted set's score.
    pub fn score(&mut self) -> String {
        match self.below(30) {
            0 => self.pick(&["inf", "-inf", "+inf"]).to_owned(),
            1 => self.pick(&["1e20", "-0", "0", "17179869184", "3.0000000000000004"]).to_owned(),
            _ => self.fraction().to_string(),
        }
    }

    /// A deadline in ms since 1970: past, far, or near when allowed.
    pub fn deadline_ms(&mut self) -> i64 {
        match self.below(20) {
            0..4 if !self.options.past_deadlines => self.far_ms(),
            0 => self.pick(&[1, 999, 1000]),
            1..4 => self.between(1, PAST_MS),
            4..8 if self.options.near_deadlines => self.made_ms + self.between(1000, 3000),
            _ => self.far_ms(),
        }
    }

    /// A deadline after the year 2100.
    pub fn far_ms(&mut self) -> i64 {
        self.between(FAR_MS, 2 * FAR_MS)
    }

    /// Whether the servers know a command that came after 7.0.
    pub fn knows(&self, name: &str) -> bool {
        self.known.as_ref().is_some_and(|known| known.contains(name))
    }

    /// Seconds or ms from the moment of loading.
    pub fn relative(&mut self, seconds: bool) -> i64 {
        self.between(1, 9) * RELATIVE_UNIT_MS / if seconds { 1000 } else { 1 }
    }
}
