//! Deadlines in all their forms. Relative ones only when asked for.

use super::command::{Command, command};
use super::dice::Dice;
use super::keys::Kind;

/// A deadline set on or taken from a key of any type.
pub(super) fn deadline(dice: &mut Dice) -> Command {
    let kind = dice.pick(&Kind::ALL);
    let key = dice.key(kind);
    let mut made = match dice.below(8) {
        0 | 1 => return command!["PERSIST", key],
        2 => command!["EXPIREAT", key, dice.deadline_ms() / 1000],
        3 if dice.options.relative_deadlines => {
            let name = dice.pick(&["EXPIRE", "PEXPIRE"]);
            command![name, key, dice.relative(name == "EXPIRE")]
        }
        4 if dice.one_in(10) => command!["PEXPIREAT", key, unreadable(dice)],
        _ => command!["PEXPIREAT", key, dice.deadline_ms()],
    };
    if dice.one_in(3) {
        let condition = dice.pick(&["NX", "XX", "GT", "LT"]);
        made.extend(command![dice.keyword(condition)]);
    }
    made
}

/// GETEX in its forms.
pub(super) fn getex(dice: &mut Dice, key: Vec<u8>) -> Command {
    let mut made = command!["GETEX", key];
    match dice.below(6) {
        0 => made.extend(command![dice.keyword("PERSIST")]),
        1 => {}
        2 if dice.options.relative_deadlines => made.extend(command!["PX", dice.relative(false)]),
        _ => add_absolute(dice, &mut made),
    }
    made
}

/// What may follow SET's value.
pub(super) fn add_to_set(dice: &mut Dice, made: &mut Command) {
    match dice.below(10) {
        0 => made.extend(command![dice.keyword("KEEPTTL")]),
        1 if dice.options.relative_deadlines => {
            let word = dice.pick(&["EX", "PX"]);
            made.extend(command![dice.keyword(word), dice.relative(word == "EX")]);
        }
        2..5 => add_absolute(dice, made),
        _ => {}
    }
}

fn add_absolute(dice: &mut Dice, made: &mut Command) {
    let at_ms = dice.deadline_ms();
    if dice.one_in(4) {
        made.extend(command![dice.keyword("EXAT"), (at_ms / 1000).max(1)]);
    } else if dice.one_in(25) {
        // Refused here, though PEXPIREAT takes such numbers: no effect at all.
        let at = dice.pick(&["0", "-1", "-9223372036854775808"]).to_owned();
        let at = if dice.one_in(2) { at } else { unreadable(dice) };
        made.extend(command![dice.keyword("PXAT"), at]);
    } else {
        made.extend(command![dice.keyword("PXAT"), at_ms]);
    }
}

/// What no server takes for a number.
fn unreadable(dice: &mut Dice) -> String {
    dice.pick(&["", "abc", "1.5", " 5", "+5", "05", "9223372036854775808"]).to_owned()
}
