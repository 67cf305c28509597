//! Scores as text, read as servers read them: as much of the text as is a number.

/// A score that stands for itself (`sscanf` with `%lg` in `rdbLoadDoubleValue`, rdb.c); nothing if it is none.
pub(super) fn scanned(text: &[u8]) -> Option<f64> {
    let unsigned = unsigned(text)?.1;
    if starts_with(unsigned, b"infi") && !starts_with(unsigned, b"infinity") {
        return None;
    }
    let is_only_a_prefix = starts_with(unsigned, b"0x")
        && !unsigned.get(2).is_some_and(|byte| byte.is_ascii_hexdigit() || *byte == b'.');
    if is_only_a_prefix { None } else { leading(text) }
}

/// A score in a listpack or a ziplist (`zzlStrtod`, t_zset.c): 0 if it is no number.
pub(super) fn in_entry(text: &[u8]) -> f64 {
    const BYTES_MAX: usize = 127;
    leading(text.get(..BYTES_MAX).unwrap_or(text)).unwrap_or(0.0)
}

/// The number that a text begins with, behind any space (`strtod`).
fn leading(text: &[u8]) -> Option<f64> {
    let (is_negative, unsigned) = unsigned(text)?;
    let magnitude = if starts_with(unsigned, b"inf") {
        f64::INFINITY
    } else if starts_with(unsigned, b"nan") {
        f64::NAN
    } else {
        hexadecimal(unsigned).or_else(|| decimal(unsigned))?
    };
    Some(if is_negative { -magnitude } else { magnitude })
}

/// What follows space and a sign; whether that is a minus.
fn unsigned(text: &[u8]) -> Option<(bool, &[u8])> {
    let start = text.iter().position(|byte| !matches!(byte, b' ' | b'\t'..=b'\r'))?;
    let text = text.get(start..)?;
    match text.first()? {
        b'-' => Some((true, text.get(1..)?)),
        b'+' => Some((false, text.get(1..)?)),
        _ => Some((false, text)),
    }
}

fn starts_with(text: &[u8], word: &[u8]) -> bool {
    text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

fn decimal(text: &[u8]) -> Option<f64> {
    let digits = |from: usize| count(text, from, u8::is_ascii_digit);
    let whole = digits(0);
    let fraction = if text.get(whole) == Some(&b'.') { digits(whole + 1) } else { 0 };
    if whole + fraction == 0 {
        return None;
    }
    let end = if text.get(whole) == Some(&b'.') { whole + 1 + fraction } else { whole };
    let end = exponent(text, end, b'e').map_or(end, |(_, end)| end);
    std::str::from_utf8(text.get(..end)?).ok()?.parse().ok()
}

/// `0x1.8p3` and the like.
fn hexadecimal(text: &[u8]) -> Option<f64> {
    if !starts_with(text, b"0x") {
        return None;
    }
    let (mut mantissa, mut scale, mut at) = (0u64, 0i32, 2);
    let (mut is_fraction, mut any) = (false, false);
    while let Some(byte) = text.get(at) {
        if *byte == b'.' && !is_fraction {
            is_fraction = true;
        } else if let Some(digit) = char::from(*byte).to_digit(16) {
            any = true;
            if mantissa >> 60 == 0 {
                mantissa = mantissa << 4 | u64::from(digit);
                scale -= if is_fraction { 4 } else { 0 };
            } else {
                // Only whether there is more matters to how it is rounded.
                mantissa |= u64::from(digit != 0);
                scale += if is_fraction { 0 } else { 4 };
            }
        } else {
            break;
        }
        at += 1;
    }
    if !any {
        return None;
    }
    let scale = scale.saturating_add(exponent(text, at, b'p').map_or(0, |(value, _)| value));
    // In two steps, so that neither is out of range where the product is not.
    let half = scale.clamp(-4000, 4000) / 2;
    let rest = scale.clamp(-4000, 4000) - half;
    Some(mantissa as f64 * 2f64.powi(half) * 2f64.powi(rest))
}

/// An exponent behind `mark` at `at`, and where it ends.
fn exponent(text: &[u8], at: usize, mark: u8) -> Option<(i32, usize)> {
    if !text.get(at)?.eq_ignore_ascii_case(&mark) {
        return None;
    }
    let start = at + 1;
    let first = start + usize::from(matches!(text.get(start), Some(b'+' | b'-')));
    let digits = count(text, first, u8::is_ascii_digit);
    if digits == 0 {
        return None;
    }
    let end = first + digits;
    let value = std::str::from_utf8(text.get(start..end)?).ok()?;
    let beyond = if value.starts_with('-') { i32::MIN } else { i32::MAX };
    Some((value.parse().unwrap_or(beyond), end))
}

fn count(text: &[u8], from: usize, is: impl Fn(&u8) -> bool) -> usize {
    text.get(from..).unwrap_or_default().iter().take_while(|byte| is(byte)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `sscanf` and `strtod` of the C library give.
    #[test]
    fn a_number_and_whatever_follows_it() {
        let cases: [(&[u8], Option<f64>, f64); 24] = [
            (b"1.5", Some(1.5), 1.5),
            (b"-3", Some(-3.0), -3.0),
            (b" \t7", Some(7.0), 7.0),
            (b"1.5abc", Some(1.5), 1.5),
            (b"1,5", Some(1.0), 1.0),
            (b"1\0z", Some(1.0), 1.0),
            (b"1e5", Some(1e5), 1e5),
            (b"1e", Some(1.0), 1.0),
            (b"1e+", Some(1.0), 1.0),
            (b"1e400", Some(f64::INFINITY), f64::INFINITY),
            (b"5.", Some(5.0), 5.0),
            (b"-.5", Some(-0.5), -0.5),
            (b".", None, 0.0),
            (b"+", None, 0.0),
            (b"", None, 0.0),
            (b"abc", None, 0.0),
            (b"INFx", Some(f64::INFINITY), f64::INFINITY),
            (b"-infinity", Some(f64::NEG_INFINITY), f64::NEG_INFINITY),
            (b"infi", None, f64::INFINITY),
            (b"0x", None, 0.0),
            (b"0x10", Some(16.0), 16.0),
            (b"0x1.8P3z", Some(12.0), 12.0),
            (b"-0x.1p-1", Some(-0.03125), -0.03125),
            (b"0x1fffffffffffff7", Some(144115188075855863.0), 144115188075855863.0),
        ];
        for (text, alone, entry) in cases {
            assert_eq!(scanned(text), alone, "{}", text.escape_ascii());
            assert_eq!(in_entry(text), entry, "{}", text.escape_ascii());
        }
        for text in ["nan", "-NaN(12)", " nanx"] {
            assert!(scanned(text.as_bytes()).is_some_and(f64::is_nan) && in_entry(text.as_bytes()).is_nan());
        }
        let long = [b"0.".as_slice(), &[b'0'; 125], b"5"].concat();
        assert_eq!(in_entry(&long), 0.0);
    }
}
