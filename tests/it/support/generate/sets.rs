//! Sets.

use super::command::{Command, command};
use super::dice::Dice;
use super::keys::Kind;

/// A command on one set.
pub(super) fn set(dice: &mut Dice) -> Command {
    let name = dice.pick(&["SADD", "SADD", "SADD", "SREM"]);
    let mut made = command![name, dice.key(Kind::Set)];
    made.extend(dice.members());
    made
}
