//! Commands whose keys lie anywhere and that can be split, and commands for the whole server.

use super::command::{Command, command};
use super::dice::Dice;
use super::keys::Kind;

/// DEL, UNLINK, TOUCH and MSET of keys on any shards.
pub(super) fn splittable(dice: &mut Dice) -> Command {
    let count = 1 + dice.below(6);
    if dice.one_in(2) {
        let mut made = command!["MSET"];
        for _ in 0..count {
            // Twice the same key is valid; the last value stays.
            let kind = dice.pick(&[Kind::Text, Kind::Text, Kind::Number]);
            made.extend([dice.key(kind), dice.value()]);
        }
        return made;
    }
    let mut made = command![dice.pick(&["DEL", "UNLINK", "DEL", "UNLINK", "TOUCH"])];
    for _ in 0..count {
        let kind = dice.pick(&Kind::ALL);
        made.push(dice.key(kind));
    }
    made
}

/// What concerns every shard.
pub(super) fn broadcast(dice: &mut Dice) -> Command {
    match dice.below(16) {
        // Seldom, since it leaves nothing to compare: once in about 8,000 commands.
        0 if dice.one_in(4) => command!["FLUSHALL"],
        1 => {
            let mut made = command!["FLUSHDB"];
            if dice.one_in(2) {
                let how = dice.pick(&["ASYNC", "SYNC"]);
                made.extend(command![dice.keyword(how)]);
            }
            made
        }
        0..8 => command!["SWAPDB", dice.any_database(), dice.any_database()],
        8 | 9 => command!["FUNCTION", dice.keyword("DELETE"), library(dice)],
        10 if dice.one_in(3) => command!["FUNCTION", dice.keyword("FLUSH")],
        _ => {
            let mut made = command!["FUNCTION", dice.keyword("LOAD")];
            if dice.one_in(2) {
                made.extend(command![dice.keyword("REPLACE")]);
            }
            let name = library(dice);
            let number = dice.below(100);
            // A function's name is the server's, not the library's: it must differ between libraries.
            let body =
                format!("redis.register_function('f_{name}', function(keys, args) return {number} end)");
            made.extend(command![format!("#!lua name={name}\n{body}\r\n")]);
            made
        }
    }
}

fn library(dice: &mut Dice) -> &'static str {
    dice.pick(&["first", "second", "third"])
}
