//! Intsets: the width of a member (u32), the number of members (u32), the members, ascending (intset.c).

use super::blob::little_endian;

const HEADER_BYTES: usize = 8;

/// The members of an intset; `None` if its parts do not fit together.
pub(super) fn members(intset: &[u8]) -> Option<impl Iterator<Item = i64> + '_> {
    let (header, members) = intset.split_at_checked(HEADER_BYTES)?;
    let width = u32::from_le_bytes(*header.first_chunk()?) as usize;
    let count = u32::from_le_bytes(*header.last_chunk()?) as usize;
    if !matches!(width, 2 | 4 | 8) || count == 0 || width.checked_mul(count)? != members.len() {
        return None;
    }
    Some(members.chunks_exact(width).map(little_endian))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_every_width() {
        let all = |intset: &[u8]| members(intset).map(Iterator::collect::<Vec<_>>);
        assert_eq!(all(b"\x02\0\0\0\x02\0\0\0\xff\xff\x05\x00"), Some(vec![-1, 5]));
        assert_eq!(all(b"\x04\0\0\0\x01\0\0\0\x00\x00\x00\x80"), Some(vec![-2147483648]));
        assert_eq!(all(b"\x08\0\0\0\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f"), Some(vec![i64::MAX]));
        for damaged in [b"\x03\0\0\0\x01\0\0\0\0\0\0".as_slice(), b"\x02\0\0\0\x02\0\0\0\xff\xff", b"\x02\0"]
        {
            assert_eq!(all(damaged), None);
        }
    }
}
