//! Commands that name several keys and cannot be split.

use super::command::{Command, command};
use super::dice::Dice;
use super::keys::Kind;
use Kind::{Bits, Geo, Lexical, List, Set, Sketch, Sorted, Text};

/// One of them.
pub(super) fn several(dice: &mut Dice) -> Command {
    match dice.below(24) {
        0..4 => rename(dice),
        4..7 => copy(dice),
        7 | 8 => across_databases(dice),
        9 => {
            let [from, to] = two(dice, [Set, Set]);
            command!["SMOVE", from, to, dice.member()]
        }
        10 | 11 => list_move(dice),
        12..14 => set_store(dice),
        14..16 => sorted_store(dice),
        16 => range_store(dice),
        17 => geo_store(dice),
        18 => bitop(dice),
        19 => {
            let mut made = command!["PFMERGE"];
            let kinds = [Sketch; 3];
            let count = 1 + dice.below(3);
            made.extend(dice.keys_together(&kinds[..count]));
            made
        }
        20 => msetnx(dice),
        21 | 22 => sort(dice),
        _ if dice.options.candidate_pops => candidate_pop(dice),
        _ => rename(dice),
    }
}

fn two(dice: &mut Dice, kinds: [Kind; 2]) -> [Vec<u8>; 2] {
    dice.keys_together(&kinds).try_into().expect("as many keys as kinds")
}

/// Mostly of one type, so that keys keep holding what they usually do.
fn rename(dice: &mut Dice) -> Command {
    let kind = dice.pick(&Kind::ALL);
    let [from, to] = two(dice, [kind, kind]);
    command![dice.pick(&["RENAME", "RENAME", "RENAMENX"]), from, to]
}

fn copy(dice: &mut Dice) -> Command {
    let kind = dice.pick(&Kind::ALL);
    let [from, to] = two(dice, [kind, kind]);
    let mut made = command!["COPY", from, to];
    if dice.one_in(3) {
        made.extend(command![dice.keyword("DB"), dice.any_database()]);
    }
    if dice.one_in(2) {
        made.extend(command![dice.keyword("REPLACE")]);
    }
    made
}

/// One key, two databases.
fn across_databases(dice: &mut Dice) -> Command {
    let kind = dice.pick(&Kind::ALL);
    let key = dice.key(kind);
    if dice.one_in(2) {
        return command!["MOVE", key, dice.any_database()];
    }
    command!["COPY", key.clone(), key, "DB", dice.any_database(), "REPLACE"]
}

fn list_move(dice: &mut Dice) -> Command {
    let [from, to] = two(dice, [List, List]);
    if dice.one_in(3) {
        return command!["RPOPLPUSH", from, to];
    }
    let sides = ["LEFT", "RIGHT"];
    let (one, other) = (dice.pick(&sides), dice.pick(&sides));
    command!["LMOVE", from, to, dice.keyword(one), dice.keyword(other)]
}

fn set_store(dice: &mut Dice) -> Command {
    let count = 2 + dice.below(3);
    let mut made = command![dice.pick(&["SUNIONSTORE", "SINTERSTORE", "SDIFFSTORE"])];
    made.extend(dice.keys_together(&[Set; 4][..count]));
    made
}

fn sorted_store(dice: &mut Dice) -> Command {
    let name = dice.pick(&["ZUNIONSTORE", "ZINTERSTORE", "ZDIFFSTORE"]);
    let sources = 1 + dice.below(3);
    // Plain sets are taken as well, with score 1.
    let mut kinds = vec![Sorted];
    kinds.extend((0..sources).map(|_| dice.pick(&[Sorted, Sorted, Set])));
    let mut keys = dice.keys_together(&kinds);
    let mut made = command![name, keys.remove(0), sources];
    made.extend(keys);
    if name == "ZDIFFSTORE" {
        return made;
    }
    if dice.one_in(3) {
        made.extend(command![dice.keyword("WEIGHTS")]);
        for _ in 0..sources {
            made.extend(command![dice.between(-4, 4)]);
        }
    }
    if dice.one_in(3) {
        let how = dice.pick(&["SUM", "MIN", "MAX"]);
        made.extend(command![dice.keyword("AGGREGATE"), how]);
    }
    made
}

fn range_store(dice: &mut Dice) -> Command {
    let by_name = dice.one_in(4);
    let [to, from] = two(dice, if by_name { [Lexical; 2] } else { [Sorted; 2] });
    let mut made = command!["ZRANGESTORE", to, from];
    match dice.below(3) {
        _ if by_name => made.extend(command!["+", "-", "BYLEX", "REV", "LIMIT", 0_i64, dice.between(1, 9)]),
        0 => made.extend(command![dice.between(-30, 30), "inf", "BYSCORE"]),
        1 => made.extend(command![dice.between(-9, 0), -1_i64, "REV"]),
        _ => made.extend(command![dice.between(-3, 3), dice.between(-3, 9)]),
    }
    made
}

fn geo_store(dice: &mut Dice) -> Command {
    let [to, from] = two(dice, [Geo, Geo]);
    let member = dice.member();
    match dice.below(3) {
        0 => command!["GEORADIUS", from, 12.0, 48.5, 200_i64, "km", dice.pick(&["STORE", "STOREDIST"]), to],
        // Fails where the member is missing.
        1 => command!["GEORADIUSBYMEMBER", from, member, 150_i64, "km", "STORE", to],
        _ => {
            let mut made = command![
                "GEOSEARCHSTORE",
                to,
                from,
                "FROMLONLAT",
                12.0,
                48.5,
                "BYBOX",
                300_i64,
                400_i64,
                "km"
            ];
            if dice.one_in(2) {
                made.extend(command!["ASC", "COUNT", dice.between(1, 5), "STOREDIST"]);
            }
            made
        }
    }
}

fn bitop(dice: &mut Dice) -> Command {
    let name = dice.pick(&["AND", "OR", "XOR", "NOT"]);
    let sources = if name == "NOT" { 1 } else { 1 + dice.below(3) };
    let mut made = command!["BITOP", dice.keyword(name)];
    let mut kinds = vec![Bits];
    kinds.extend((0..sources).map(|_| dice.pick(&[Bits, Bits, Text])));
    made.extend(dice.keys_together(&kinds));
    made
}

fn msetnx(dice: &mut Dice) -> Command {
    let count = 1 + dice.below(3);
    let mut made = command!["MSETNX"];
    for key in dice.keys_together(&[Text; 3][..count]) {
        made.extend([key, dice.value()]);
    }
    made
}

/// No BY or GET: their patterns read keys of any shard.
fn sort(dice: &mut Dice) -> Command {
    let kind = dice.pick(&[List, Set, Sorted]);
    let [from, to] = two(dice, [kind, List]);
    let mut made = command!["SORT", from];
    if dice.one_in(3) {
        made.extend(command![dice.keyword("LIMIT"), dice.between(0, 2), dice.between(0, 9)]);
    }
    if dice.one_in(3) {
        made.extend(command![dice.keyword("DESC")]);
    }
    // Without it, members that are not numbers are an error.
    if !dice.one_in(6) {
        made.extend(command![dice.keyword("ALPHA")]);
    }
    made.extend(command![dice.keyword("STORE"), to]);
    made
}

/// The first key that is not empty gives.
fn candidate_pop(dice: &mut Dice) -> Command {
    let count = 1 + dice.below(2);
    let (name, kind, ends) =
        if dice.one_in(2) { ("LMPOP", List, ["LEFT", "RIGHT"]) } else { ("ZMPOP", Sorted, ["MIN", "MAX"]) };
    let mut made = command![name, count];
    made.extend(dice.keys_together(&[kind; 2][..count]));
    let end = dice.pick(&ends);
    made.extend(command![dice.keyword(end), "COUNT", dice.between(1, 3)]);
    made
}
