//! Strings, counters, bitmaps and sketches (`PFADD`).

use super::command::{Command, command};
use super::deadlines;
use super::dice::Dice;
use super::keys::Kind;

/// A string of bytes.
pub(super) fn text(dice: &mut Dice) -> Command {
    let key = dice.key(Kind::Text);
    match dice.below(14) {
        0 => command!["APPEND", key, dice.value()],
        1 => command!["SETRANGE", key, dice.between(0, 300), dice.value()],
        2 => command!["SETNX", key, dice.value()],
        3 => command!["GETSET", key, dice.value()],
        4 => command!["GETDEL", key],
        5 => deadlines::getex(dice, key),
        6 if dice.options.relative_deadlines => {
            let name = dice.pick(&["SETEX", "PSETEX"]);
            command![name, key, dice.relative(name == "SETEX"), dice.value()]
        }
        _ => {
            let value = dice.value();
            set(dice, key, value)
        }
    }
}

fn set(dice: &mut Dice, key: Vec<u8>, value: Vec<u8>) -> Command {
    let mut made = command!["SET", key, value];
    // The server takes them in any order.
    let early = dice.one_in(2);
    if early {
        add_condition(dice, &mut made);
    }
    deadlines::add_to_set(dice, &mut made);
    if !early {
        add_condition(dice, &mut made);
    }
    made
}

fn add_condition(dice: &mut Dice, made: &mut Command) {
    let words = match dice.below(12) {
        0 => "NX",
        1 => "XX",
        2 => "GET",
        3 => "XX GET",
        4 => "GET NX",
        _ => "",
    };
    for word in words.split_whitespace() {
        let word = dice.keyword(word);
        made.extend(command![word]);
    }
}

/// A string that is a number, or should be.
pub(super) fn number(dice: &mut Dice) -> Command {
    let key = dice.key(Kind::Number);
    match dice.below(8) {
        0 => command!["INCR", key],
        1 => command!["DECR", key],
        2 | 3 => command!["INCRBY", key, dice.integer()],
        // The smallest number cannot be negated: an error on every server.
        4 => command!["DECRBY", key, dice.integer()],
        5 => command!["INCRBYFLOAT", key, dice.fraction()],
        _ => {
            let value =
                if dice.one_in(10) { dice.fraction().to_string() } else { dice.integer().to_string() };
            set(dice, key, value.into_bytes())
        }
    }
}

/// A string seen as bits.
pub(super) fn bits(dice: &mut Dice) -> Command {
    let key = dice.key(Kind::Bits);
    if dice.one_in(2) {
        return command!["SETBIT", key, dice.between(0, 4000), dice.between(0, 1)];
    }
    let mut made = command!["BITFIELD", key];
    for _ in 0..=dice.below(3) {
        let kind = dice.pick(&["u8", "i5", "u63", "i64", "u1"]);
        let place =
            if dice.one_in(2) { dice.between(0, 300).to_string() } else { format!("#{}", dice.below(9)) };
        match dice.below(4) {
            0 => made.extend(command!["GET", kind, place]),
            1 => made.extend(command!["SET", kind, place, dice.integer()]),
            2 => made.extend(command!["INCRBY", kind, place, dice.between(-300, 300)]),
            _ => {
                let overflow = dice.pick(&["WRAP", "SAT", "FAIL"]);
                made.extend(command!["OVERFLOW", overflow, "INCRBY", kind, place, dice.between(-300, 300)]);
            }
        }
    }
    made
}

/// A sketch that counts distinct elements.
pub(super) fn sketch(dice: &mut Dice) -> Command {
    let key = dice.key(Kind::Sketch);
    match dice.below(10) {
        // A read that servers do write: it stores the cardinality in the value.
        0 | 1 => command!["PFCOUNT", key],
        2 => command!["PFDEBUG", "TODENSE", key],
        _ => {
            let mut made = command!["PFADD", key];
            made.extend(dice.members());
            made
        }
    }
}
