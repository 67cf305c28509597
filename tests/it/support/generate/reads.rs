//! Commands that change nothing.

use super::command::{Command, command};
use super::dice::Dice;
use super::keys::Kind;

/// A read of one key, or PING.
pub(super) fn read(dice: &mut Dice) -> Command {
    let kind = dice.pick(&Kind::ALL);
    let key = dice.key(kind);
    if dice.one_in(5) {
        let name = dice.pick(&["EXISTS", "TYPE", "PTTL", "DUMP"]);
        return command![name, key];
    }
    match kind {
        Kind::Text => command!["GET", key],
        Kind::Number => command!["STRLEN", key],
        Kind::Bits => command!["GETBIT", key, dice.between(0, 900)],
        Kind::Sketch => command!["PING"],
        Kind::List => command!["LRANGE", key, 0_i64, -1_i64],
        Kind::Set => command!["SISMEMBER", key, dice.member()],
        Kind::Hash => command!["HGET", key, dice.member()],
        Kind::Sorted => command!["ZSCORE", key, dice.member()],
        Kind::Geo => command!["GEOPOS", key, dice.member()],
        Kind::Lexical => command!["ZCARD", key],
        Kind::Stream => command!["XLEN", key],
    }
}
