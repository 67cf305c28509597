//! Scripts and functions as old servers wrote them into their files: the call, not its effects.
//!
//! Their commands are called so that an error does not end the script: a loading server of 7.0 and later crashes on a
//! script that ends in an error.

use super::command::{Command, command};
use super::dice::Dice;
use super::keys::Kind;

/// Bodies that use two keys and an argument; what they touch is declared.
const BODIES: [&str; 5] = [
    "redis.pcall('SET', KEYS[1], ARGV[1]) return 1",
    "redis.pcall('RENAME', KEYS[1], KEYS[2]) return 1",
    "local v = redis.pcall('GET', KEYS[1]) if type(v) == 'string' then redis.pcall('APPEND', KEYS[2], v) end return 1",
    "redis.pcall('INCRBY', KEYS[1], 3) redis.pcall('RPUSH', KEYS[2], ARGV[1]) return 1",
    "redis.pcall('DEL', KEYS[2]) redis.pcall('COPY', KEYS[1], KEYS[2]) return 1",
];

/// The library that [`call`] calls functions of.
const LIBRARY: &str = "#!lua name=calls\n
redis.register_function('both', function(keys, args)
    redis.pcall('SET', keys[1], args[1]) redis.pcall('RPUSH', keys[2], args[1]) return 1
end)";

/// What servers call the scripts by.
pub fn sums() -> Vec<Vec<u8>> {
    BODIES.iter().map(|body| sha1(body.as_bytes()).into_bytes()).collect()
}

/// A script's text.
pub(super) fn body(dice: &mut Dice) -> &'static str {
    dice.pick(&BODIES)
}

/// EVAL, EVALSHA, FCALL, or the library for it.
pub(super) fn call(dice: &mut Dice) -> Command {
    let text = body(dice);
    let kinds = [dice.pick(&[Kind::Text, Kind::Number]), dice.pick(&[Kind::Text, Kind::List])];
    let keys = dice.keys_together(&kinds);
    let value = dice.value();
    let mut made = match dice.below(10) {
        0 => return command!["FUNCTION", "LOAD", "REPLACE", LIBRARY],
        1 | 2 => command!["FCALL", "both", 2_i64],
        3..5 => command!["EVALSHA", sha1(text.as_bytes()), 2_i64],
        _ => command!["EVAL", text, 2_i64],
    };
    made.extend(keys);
    made.push(value);
    made
}

/// What servers call a script by.
fn sha1(text: &[u8]) -> String {
    let mut state: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    let mut padded = text.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64) + if padded.len() % 64 > 56 { 64 } else { 0 } - 8, 0);
    padded.extend((text.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks_exact(64) {
        let mut words: Vec<u32> =
            block.chunks_exact(4).map(|four| u32::from_be_bytes(four.try_into().expect("four"))).collect();
        for at in 16..80 {
            words.push((words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16]).rotate_left(1));
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (at, word) in words.iter().enumerate() {
            let (mix, constant) = match at {
                0..20 => ((b & c) | (!b & d), 0x5a82_7999),
                20..40 => (b ^ c ^ d, 0x6ed9_eba1),
                40..60 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc_u32),
                _ => (b ^ c ^ d, 0xca62_c1d6),
            };
            let next =
                a.rotate_left(5).wrapping_add(mix).wrapping_add(e).wrapping_add(constant).wrapping_add(*word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (sum, part) in state.iter_mut().zip([a, b, c, d, e]) {
            *sum = sum.wrapping_add(part);
        }
    }
    state.iter().map(|part| format!("{part:08x}")).collect()
}
