//! Sorted sets and places on earth, which are sorted sets too.

use super::command::{Command, command};
use super::dice::Dice;
use super::keys::Kind;

/// A command on one sorted set.
pub(super) fn sorted(dice: &mut Dice) -> Command {
    let key = dice.key(Kind::Sorted);
    match dice.below(16) {
        0 => command!["ZINCRBY", key, dice.score(), dice.member()],
        1 => {
            let mut made = command!["ZREM", key];
            made.extend(dice.members());
            made
        }
        2 => command!["ZREMRANGEBYRANK", key, dice.between(-3, 3), dice.between(-3, 3)],
        3 => {
            let low = dice.between(-60, 40);
            command!["ZREMRANGEBYSCORE", key, format!("({low}"), low + dice.between(0, 9)]
        }
        4 | 15 => lexical(dice),
        5 => command![dice.pick(&["ZPOPMIN", "ZPOPMAX"]), key],
        6 => command![dice.pick(&["ZPOPMIN", "ZPOPMAX"]), key, dice.between(0, 3)],
        7 => {
            let condition = dice.pick(&["NX", "XX", "GT", "LT"]);
            // INCR takes one pair only; nil when the condition does not hold.
            command!["ZADD", key, dice.keyword(condition), "INCR", dice.score(), dice.member()]
        }
        _ => zadd(dice, key),
    }
}

/// A command on one sorted set whose scores are equal.
fn lexical(dice: &mut Dice) -> Command {
    let key = dice.key(Kind::Lexical);
    if dice.one_in(4) {
        return command![
            "ZREMRANGEBYLEX",
            key,
            format!("[m{}", dice.below(9)),
            dice.pick(&["[m1", "(m3", "+"])
        ];
    }
    let mut made = command!["ZADD", key];
    for member in dice.members() {
        made.extend(command!["0", member]);
    }
    made
}

fn zadd(dice: &mut Dice, key: Vec<u8>) -> Command {
    let mut made = command!["ZADD", key];
    let words = dice.pick(&["", "", "", "", "NX", "XX", "GT", "LT", "CH", "XX GT CH", "XX LT"]);
    for word in words.split_whitespace() {
        made.extend(command![dice.keyword(word)]);
    }
    for member in dice.members() {
        made.extend(command![dice.score(), member]);
    }
    made
}

/// A command on one set of places.
pub(super) fn geo(dice: &mut Dice) -> Command {
    let key = dice.key(Kind::Geo);
    let mut made = command!["GEOADD", key];
    if dice.one_in(4) {
        let word = dice.pick(&["NX", "XX", "CH"]);
        made.extend(command![dice.keyword(word)]);
    }
    for member in dice.members() {
        // Within a few hundred kilometres, so that a search finds some.
        made.extend(command![dice.degrees(10, 14), dice.degrees(47, 50), member]);
    }
    made
}
