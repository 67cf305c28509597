//! Writes commands as RESP arrays of bulk strings, the one form that every server reads.

/// Appends `*<argc>\r\n`.
pub fn array(out: &mut Vec<u8>, argc: usize) {
    header(out, b'*', argc);
}

/// Appends one argument: `$<len>\r\n<bytes>\r\n`.
pub fn bulk(out: &mut Vec<u8>, argument: &[u8]) {
    bulk_header(out, argument.len());
    out.extend_from_slice(argument);
    out.extend_from_slice(b"\r\n");
}

/// Appends the `$<len>\r\n` before an argument of `len` bytes.
pub fn bulk_header(out: &mut Vec<u8>, len: usize) {
    header(out, b'$', len);
}

/// Appends a whole command.
pub fn command<A: AsRef<[u8]>>(out: &mut Vec<u8>, arguments: &[A]) {
    array(out, arguments.len());
    for argument in arguments {
        bulk(out, argument.as_ref());
    }
}

/// Appends a `SELECT` of database `db`.
pub fn select(out: &mut Vec<u8>, db: u32) {
    command(out, &[b"SELECT".as_slice(), decimal(u64::from(db)).as_bytes()]);
}

/// A number as decimal text.
pub fn decimal(value: u64) -> String {
    value.to_string()
}

#[inline]
fn header(out: &mut Vec<u8>, sigil: u8, value: usize) {
    // Nearly all lengths, in one piece.
    match value {
        0..10 => return out.extend_from_slice(&[sigil, b'0' + value as u8, b'\r', b'\n']),
        10..100 => {
            let (tens, ones) = (b'0' + (value / 10) as u8, b'0' + (value % 10) as u8);
            return out.extend_from_slice(&[sigil, tens, ones, b'\r', b'\n']);
        }
        _ => {}
    }
    out.push(sigil);
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = value;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_arrays_of_bulk_strings() {
        let mut out = Vec::new();
        command(&mut out, &[b"SET".as_slice(), b"", b"\r\n"]);
        select(&mut out, 12);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$2\r\n\r\n\r\n*2\r\n$6\r\nSELECT\r\n$2\r\n12\r\n");
    }
}
