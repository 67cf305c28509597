//! Hashes. Deadlines of their fields are made in `templates.rs`.

use super::command::{Command, command};
use super::dice::Dice;
use super::keys::Kind;

/// A command on one hash.
pub(super) fn hash(dice: &mut Dice) -> Command {
    let key = dice.key(Kind::Hash);
    match dice.below(14) {
        0 | 1 => {
            let mut made = command!["HDEL", key];
            made.extend(dice.members());
            made
        }
        2 => command!["HSETNX", key, dice.member(), dice.value()],
        // Fields of their own, so that most are numbers.
        3..6 => command!["HINCRBY", key, format!("n{}", dice.below(4)), dice.integer()],
        6 => command!["HINCRBYFLOAT", key, format!("n{}", dice.below(4)), dice.fraction()],
        7 => command!["HINCRBY", key, dice.member(), dice.integer()],
        _ => {
            let mut made = command![dice.pick(&["HSET", "HSET", "HMSET"]), key];
            for member in dice.members() {
                made.extend(command![member, dice.value()]);
            }
            made
        }
    }
}
