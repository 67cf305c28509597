//! Values of modules: steps over them, and tells the module's name (`rdbLoadCheckModuleValue`, rdb.c).

use super::fault::damage;
use super::scan::{Parsed, bytes, length, skip_text};

const END: u64 = 0;
const SIGNED: u64 = 1;
const UNSIGNED: u64 = 2;
const FLOAT: u64 = 3;
const DOUBLE: u64 = 4;
const STRING: u64 = 5;

/// Steps over the parts of a module's data, each behind an opcode, up to their end.
pub(super) fn skip_parts(mut input: &[u8]) -> Parsed<'_, ()> {
    loop {
        let (rest, opcode) = length(input)?;
        input = match opcode {
            END => return Ok((rest, ())),
            SIGNED | UNSIGNED => length(rest)?.0,
            FLOAT => bytes(rest, 4)?.0,
            DOUBLE => bytes(rest, 8)?.0,
            STRING => skip_text(rest)?.0,
            _ => return Err(damage(input, "a part of a module's data")),
        };
    }
}

/// The id behind a module auxiliary opcode; steps over its data.
pub(super) fn auxiliary(input: &[u8]) -> Parsed<'_, u64> {
    let (rest, id) = length(input)?;
    let (after, when) = length(rest)?;
    if when != UNSIGNED {
        return Err(damage(rest, "the time of a module's auxiliary data"));
    }
    let (rest, _) = length(after)?;
    let (rest, ()) = skip_parts(rest)?;
    Ok((rest, id))
}

/// The nine letters that a module type's id holds in its upper 54 bits (`moduleTypeNameByID`, module.c).
pub(super) fn name(id: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9u32).map(|place| char::from(LETTERS[(id >> (58 - 6 * place)) as usize % LETTERS.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_end_at_their_mark() {
        let parts = b"\x01\x05\x02\x40\x64\x03abcd\x04abcdefgh\x05\x03xyz\x00rest";
        assert_eq!(skip_parts(parts), Ok((b"rest".as_slice(), ())));
        assert!(skip_parts(b"\x06").is_err());
        assert!(skip_parts(b"\x01\x05").is_err());
    }

    #[test]
    fn a_name_comes_out_of_the_id() {
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let place = |letter: u8| letters.iter().position(|l| *l == letter).unwrap_or_default() as u64;
        let id = b"ReJSON-RL".iter().fold(0, |id, letter| id << 6 | place(*letter)) << 10 | 3;
        assert_eq!(name(id), "ReJSON-RL");
    }
}
