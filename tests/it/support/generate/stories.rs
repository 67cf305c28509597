//! Commands in sequences as programs send them: temporary names renamed to final ones, jobs that move between queues,
//! stored results, chains of renames. They name keys of any shard, and meet each other's keys.

use super::command::{Command, command};
use super::dice::Dice;
use super::streams;

/// Final names; more than any other kind has keys, so that components stay small.
const USERS: usize = 200;
const LOGS: i64 = 5;

/// The commands of one story, in order.
pub(super) fn story(dice: &mut Dice) -> Vec<Command> {
    match dice.below(10) {
        0 | 1 => temporary(dice),
        2 => jobs(dice),
        3 => results(dice),
        4 => logs(dice),
        5 => elsewhere(dice),
        6 => feeds(dice),
        7 => groups(dice),
        8 if dice.options.fields => fields(dice),
        _ => sessions(dice),
    }
}

fn user(dice: &mut Dice) -> String {
    format!("user:{}", dice.below(USERS))
}

/// Built under a name that all use, then given its final one.
fn temporary(dice: &mut Dice) -> Vec<Command> {
    let tmp = format!("tmp:{}", dice.below(3));
    let fin = user(dice);
    let mut made = match dice.below(4) {
        0 => vec![command!["SET", &*tmp, dice.value()]],
        1 => vec![
            command!["HSET", &*tmp, "name", dice.value()],
            command!["HSET", &*tmp, "seen", dice.integer()],
        ],
        2 => vec![command!["SADD", &*tmp, dice.member(), dice.member()]],
        _ => vec![command!["DEL", &*tmp], command!["RPUSH", &*tmp, dice.value(), dice.member()]],
    };
    if dice.one_in(3) {
        made.push(command!["PEXPIREAT", &*tmp, dice.deadline_ms()]);
    }
    let name = dice.pick(&["RENAME", "RENAME", "RENAME", "RENAMENX"]);
    made.push(command![name, &*tmp, &*fin]);
    if dice.one_in(6) {
        made.push(command!["DEL", &*fin]);
    }
    made
}

fn jobs(dice: &mut Dice) -> Vec<Command> {
    let queue = |dice: &mut Dice| format!("jobs:{}", dice.pick(&["new", "busy", "done", "failed"]));
    let mut made = vec![command!["LPUSH", "jobs:new", dice.value(), dice.member()]];
    for _ in 0..=dice.below(4) {
        let (from, to) = (queue(dice), queue(dice));
        made.push(match dice.below(4) {
            0 => command!["RPOPLPUSH", from, to],
            1 => command!["BRPOPLPUSH", from, to, "0"],
            2 => command!["LREM", from, 1_i64, dice.member()],
            _ => command!["LMOVE", from, to, "RIGHT", "LEFT"],
        });
    }
    made
}

fn results(dice: &mut Dice) -> Vec<Command> {
    let day = dice.below(7);
    let mut made = vec![command!["SADD", format!("day:{day}"), dice.member(), dice.member()]];
    made.push(match dice.below(5) {
        0 => command!["SINTERSTORE", "always", "day:0", "day:1", "day:2"],
        1 => command!["SDIFFSTORE", "lost", format!("day:{day}"), "always"],
        2 => command!["ZUNIONSTORE", "score", 2_i64, "score", format!("day:{day}")],
        3 => command!["SORT", format!("day:{day}"), "ALPHA", "STORE", "sorted:days"],
        _ => {
            let mut made = command!["SUNIONSTORE", "week"];
            made.extend((0..7).map(|day| format!("day:{day}").into_bytes()));
            made
        }
    });
    if dice.one_in(4) {
        made.push(command!["DEL", format!("day:{}", dice.below(7))]);
    }
    made
}

/// Each file of a rotated log takes the name of the next.
fn logs(dice: &mut Dice) -> Vec<Command> {
    let mut made = vec![command!["RPUSH", "log.0", dice.value()]];
    for n in (0..LOGS).rev() {
        made.push(command!["RENAME", format!("log.{n}"), format!("log.{}", n + 1)]);
    }
    if dice.one_in(2) {
        made.push(command!["UNLINK", format!("log.{LOGS}")]);
    }
    made
}

/// Built in another database, then brought here.
fn elsewhere(dice: &mut Dice) -> Vec<Command> {
    let (here, there) = (dice.database, dice.any_database());
    let name = user(dice);
    let mut made = vec![command!["SELECT", there], command!["SET", &*name, dice.value()]];
    made.push(match dice.below(4) {
        0 => command!["SWAPDB", here, there],
        1 => command!["COPY", &*name, user(dice), "DB", here, "REPLACE"],
        2 => command!["COPY", &*name, user(dice), "DB", here],
        _ => command!["MOVE", &*name, here],
    });
    made.push(command!["SELECT", here]);
    made
}

/// Consumers that read several streams at once.
fn feeds(dice: &mut Dice) -> Vec<Command> {
    let feed = |dice: &mut Dice| format!("feed:{}", dice.below(4));
    let (one, other) = (feed(dice), feed(dice));
    let mut made = Vec::new();
    for key in [&one, &other] {
        made.push(command!["XGROUP", "CREATE", &**key, "readers", "0", "MKSTREAM"]);
        let id = format!("{}-1", streams::next_ms(dice));
        made.push(command!["XADD", &**key, id, "f", dice.value()]);
    }
    let head =
        command!["XREADGROUP", "GROUP", "readers", dice.pick(&["eve", "adam"]), "COUNT", dice.between(1, 3)];
    made.push([head, command!["STREAMS", &*one, &*other, ">", ">"]].concat());
    match dice.below(5) {
        0 => made.push(command!["XAUTOCLAIM", one, "readers", "adam", "0", "0"]),
        1 => made.push(command!["XTRIM", one, "MAXLEN", dice.between(0, 3)]),
        2 => made.push(command!["XGROUP", "DELCONSUMER", one, "readers", "eve"]),
        3 => made.push(command!["RENAME", one, other]),
        _ => {}
    }
    made
}

/// Members that move between sets.
fn groups(dice: &mut Dice) -> Vec<Command> {
    let team = |dice: &mut Dice| format!("team:{}", dice.below(4));
    let (from, to, member) = (team(dice), team(dice), dice.member());
    let mut made =
        vec![command!["SADD", &*from, &member, dice.member()], command!["SMOVE", &*from, &*to, &member]];
    if dice.one_in(3) {
        made.push(command!["SREM", to, member]);
    }
    made
}

/// A sliding session that is handed over.
fn sessions(dice: &mut Dice) -> Vec<Command> {
    let (from, to) = (user(dice), user(dice));
    let mut made = vec![command!["SET", &*from, dice.value(), "PXAT", dice.deadline_ms()]];
    for _ in 0..dice.below(3) {
        made.push(command!["PEXPIREAT", &*from, dice.deadline_ms()]);
    }
    made.push(command!["COPY", &*from, &*to]);
    made.push(command!["MSETNX", user(dice), dice.value(), user(dice), dice.value()]);
    made
}

/// A hash whose fields have deadlines of their own, under changing names.
fn fields(dice: &mut Dice) -> Vec<Command> {
    let cart = |dice: &mut Dice| format!("cart:{}", dice.below(6));
    let (from, to) = (cart(dice), cart(dice));
    let mut made =
        vec![command!["HSET", &*from, "n0", dice.integer(), "n1", dice.integer(), "f", dice.value()]];
    for _ in 0..=dice.below(4) {
        made.push(match dice.below(9) {
            0 => command!["HPERSIST", &*from, "FIELDS", 2_i64, "n0", "f"],
            1 => command!["HINCRBY", &*from, "n0", dice.integer()],
            2 => command!["HSETEX", &*from, "KEEPTTL", "FIELDS", 1_i64, "f", dice.value()],
            3 => command!["HGETEX", &*from, "PXAT", dice.far_ms(), "FIELDS", 2_i64, "n1", "f"],
            4 if dice.options.relative_deadlines => {
                command!["HEXPIRE", &*from, dice.relative(true), "FIELDS", 1_i64, "n1"]
            }
            5 if dice.options.relative_deadlines => {
                command!["HPEXPIRE", &*from, dice.relative(false), "FIELDS", 2_i64, "n0", "f"]
            }
            6 => command!["HEXPIREAT", &*from, dice.far_ms() / 1000, "FIELDS", 2_i64, "n1", "f"],
            _ => command!["HPEXPIREAT", &*from, dice.far_ms(), "FIELDS", 2_i64, "n0", "n1"],
        });
    }
    let name = dice.pick(&["RENAME", "COPY", "RENAMENX"]);
    made.push(command![name, from, to]);
    made
}
