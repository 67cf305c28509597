//! Lists.

use super::command::{Command, command};
use super::dice::Dice;
use super::keys::Kind;

/// A command on one list.
pub(super) fn list(dice: &mut Dice) -> Command {
    let key = dice.key(Kind::List);
    match dice.below(20) {
        0 => command!["LPUSHX", key, dice.value()],
        1 => command!["RPUSHX", key, dice.value(), dice.member()],
        2 => {
            let side = dice.pick(&["BEFORE", "AFTER"]);
            command!["LINSERT", key, dice.keyword(side), dice.member(), dice.value()]
        }
        3 | 4 => command![dice.pick(&["LPOP", "RPOP"]), key],
        5 => command![dice.pick(&["LPOP", "RPOP"]), key, dice.between(0, 3)],
        6 => command!["LTRIM", key, dice.between(-30, 2), dice.between(-2, 30)],
        7 => command!["LREM", key, dice.between(-2, 2), dice.member()],
        8 | 9 => command!["LSET", key, dice.between(-3, 2), dice.value()],
        // A rotation: two names, one key.
        10 => command!["RPOPLPUSH", key.clone(), key],
        11 => command!["LPUSH", key, dice.value(), dice.value()],
        _ => {
            let mut made = command![dice.pick(&["LPUSH", "RPUSH"]), key];
            made.extend(dice.members());
            made
        }
    }
}
