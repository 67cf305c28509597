//! Streams, with explicit ids and consumer groups, as servers write them.

use super::command::{Command, command};
use super::dice::Dice;
use super::keys::Kind;
use std::collections::HashMap;

/// How many ids of a stream are remembered, to delete, claim and acknowledge.
const REMEMBERED_MAX: usize = 30;
/// The first entry's time; grows with each, so that hardly any XADD is refused.
const FIRST_MS: i64 = 1_600_000_000_000;
/// When entries were delivered: given in the AOF, so no clock comes in.
const DELIVERED_MS: i64 = 1_650_000_000_000;

/// What was made lately, by database and key. Deletions and moves are not followed: such misses are cases too.
#[derive(Debug, Default)]
pub(super) struct Streams {
    ids: HashMap<(usize, Vec<u8>), Vec<String>>,
    groups: Vec<Group>,
    entries: i64,
}

/// A consumer group of a stream of a database.
#[derive(Clone, Debug)]
struct Group {
    database: usize,
    key: Vec<u8>,
    name: Vec<u8>,
}

impl Streams {
    fn next_id(&mut self, sequence: usize) -> String {
        self.entries += 1;
        format!("{}-{sequence}", FIRST_MS + self.entries)
    }

    fn remember_id(&mut self, database: usize, key: &[u8], id: &str) {
        let ids = self.ids.entry((database, key.to_vec())).or_default();
        ids.push(id.to_owned());
        if ids.len() > REMEMBERED_MAX {
            ids.remove(0);
        }
    }

    fn remember_group(&mut self, database: usize, key: &[u8], name: &[u8]) {
        self.groups.push(Group { database, key: key.to_vec(), name: name.to_vec() });
        if self.groups.len() > REMEMBERED_MAX {
            self.groups.remove(0);
        }
    }
}

/// A command on one stream.
pub(super) fn stream(dice: &mut Dice) -> Command {
    let key = dice.key(Kind::Stream);
    match dice.below(28) {
        0 => {
            let mut made = command!["XDEL", &key];
            made.extend(known_ids(dice, &key));
            made
        }
        1 | 2 => {
            let mut made = command!["XTRIM", key];
            add_trim(dice, &mut made);
            made
        }
        3 => setid(dice, key),
        4..7 => group_create(dice, &key),
        7..17 => in_group(dice),
        _ => add(dice, &key),
    }
}

/// A command on a consumer group, mostly one that was made.
fn in_group(dice: &mut Dice) -> Command {
    let Group { key, name, .. } = known_group(dice);
    match dice.below(10) {
        0 => command!["XGROUP", dice.keyword("SETID"), &key, name, known_id(dice, &key)],
        1 | 2 => command!["XGROUP", dice.keyword("CREATECONSUMER"), key, name, consumer(dice)],
        3 => command!["XGROUP", dice.keyword("DELCONSUMER"), key, name, consumer(dice)],
        4 if dice.one_in(3) => command!["XGROUP", dice.keyword("DESTROY"), key, name],
        4 | 5 => {
            let mut made = command!["XACK", &key, name];
            made.extend(known_ids(dice, &key));
            made
        }
        _ => claim(dice, &key, &name),
    }
}

fn add(dice: &mut Dice, key: &[u8]) -> Command {
    let mut made = command!["XADD", key];
    if dice.one_in(12) {
        made.extend(command![dice.keyword("NOMKSTREAM")]);
    }
    if dice.one_in(8) {
        add_trim(dice, &mut made);
    }
    let sequence = dice.below(3);
    let id = if dice.one_in(40) { known_id(dice, key) } else { dice.streams.next_id(sequence) };
    let database = dice.database;
    dice.streams.remember_id(database, key, &id);
    made.extend(command![id]);
    for _ in 0..=dice.below(3) {
        made.extend([dice.member(), dice.value()]);
    }
    made
}

/// With LIMIT beside `=`, which servers write and load but refuse from clients.
fn add_trim(dice: &mut Dice, made: &mut Command) {
    let (strategy, limit) = if dice.one_in(3) {
        ("MINID", format!("{}", FIRST_MS + (dice.streams.entries - dice.between(0, 200)).max(0)))
    } else {
        ("MAXLEN", dice.between(0, 20).to_string())
    };
    made.extend(command![dice.keyword(strategy)]);
    let exact = dice.one_in(2);
    if exact {
        made.extend(command!["="]);
    }
    made.extend(command![limit]);
    if exact && dice.one_in(2) {
        made.extend(command![dice.keyword("LIMIT"), dice.between(0, 300)]);
    }
}

fn setid(dice: &mut Dice, key: Vec<u8>) -> Command {
    let known = known_id(dice, &key);
    let id = if dice.one_in(4) { known.clone() } else { dice.streams.next_id(0) };
    let mut made = command!["XSETID", key, id];
    if dice.one_in(2) {
        made.extend(command![
            dice.keyword("ENTRIESADDED"),
            dice.between(20, 2000),
            dice.keyword("MAXDELETEDID"),
            known
        ]);
    }
    made
}

fn group_create(dice: &mut Dice, key: &[u8]) -> Command {
    let from = if dice.one_in(3) { dice.pick(&["0", "$", "0-0"]).to_owned() } else { known_id(dice, key) };
    let (name, database) = (group_name(dice), dice.database);
    dice.streams.remember_group(database, key, name);
    let mut made = command!["XGROUP", dice.keyword("CREATE"), key, name, from];
    if !dice.one_in(4) {
        made.extend(command![dice.keyword("MKSTREAM")]);
    }
    if dice.one_in(3) {
        made.extend(command![dice.keyword("ENTRIESREAD"), dice.between(-1, 50)]);
    }
    made
}

/// As servers write XREADGROUP, XCLAIM and XAUTOCLAIM.
fn claim(dice: &mut Dice, key: &[u8], group: &[u8]) -> Command {
    let id = known_id(dice, key);
    let last = if dice.one_in(3) { known_id(dice, key) } else { id.clone() };
    let mut made = command!["XCLAIM", key, group, consumer(dice), "0", id];
    let time = DELIVERED_MS + dice.between(0, 1_000_000);
    made.extend(command!["TIME", time, "RETRYCOUNT", dice.between(0, 9), "FORCE", "JUSTID", "LASTID", last]);
    made
}

fn known_ids(dice: &mut Dice, key: &[u8]) -> Vec<Vec<u8>> {
    (0..=dice.below(3)).map(|_| known_id(dice, key).into_bytes()).collect()
}

/// A moment after all entries so far.
pub(super) fn next_ms(dice: &mut Dice) -> i64 {
    dice.streams.entries += 1;
    FIRST_MS + dice.streams.entries
}

/// An entry that was probably added.
pub(super) fn known_id(dice: &mut Dice, key: &[u8]) -> String {
    let place = (dice.database, key.to_vec());
    let count = dice.streams.ids.get(&place).map_or(0, Vec::len);
    if count == 0 {
        return format!("{FIRST_MS}-1");
    }
    let at = dice.below(count);
    dice.streams.ids[&place][at].clone()
}

fn known_group(dice: &mut Dice) -> Group {
    let database = dice.database;
    let here = |group: &&Group| group.database == database;
    let count = dice.streams.groups.iter().filter(here).count();
    if count == 0 || dice.one_in(8) {
        return Group { database, key: dice.key(Kind::Stream), name: group_name(dice).to_vec() };
    }
    let nth = dice.below(count);
    dice.streams.groups.iter().filter(here).nth(nth).cloned().expect("counted before")
}

fn group_name(dice: &mut Dice) -> &'static [u8] {
    dice.pick(&[b"group", b"group", b"g\r\n2"])
}

fn consumer(dice: &mut Dice) -> &'static [u8] {
    dice.pick(&[b"eve", b"adam", b"", b"\0*3\r\n"])
}
