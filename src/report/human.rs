//! Numbers as people read them. Sizes are decimal (1 MB is 1,000,000 bytes) everywhere, so that a
//! size divided by a rate gives the time that is shown beside them.

use std::time::Duration;

use crate::survey::Tally;

const SIZES: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
const COUNTS: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];

/// From here on three digits are rounded up to the next unit.
const NEXT_UNIT: f64 = 999.5;

/// A size: `999 B`, `12.3 MB`.
pub fn bytes(bytes: u64) -> String {
    let (digits, unit) = scaled(bytes as f64, &SIZES);
    format!("{digits} {unit}")
}

/// A speed: `12.3 MB/s`.
pub fn bytes_per_s(rate: f64) -> String {
    let (digits, unit) = scaled(rate, &SIZES);
    format!("{digits} {unit}/s")
}

/// A number in three digits: `999`, `1.23k`, `512k`, `12.3M`.
pub fn short(number: f64) -> String {
    let (digits, unit) = scaled(number, &COUNTS);
    format!("{digits}{unit}")
}

/// A number in full: `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number and what it counts: `1 command`, `2,000 commands`. The word is one that takes an `s`.
pub fn counted(number: u64, word: &str) -> String {
    format!("{} {word}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Some of what the source holds: `1 command`, or with RDB parts `2,000 commands and values`.
pub fn entries(number: u64, tally: &Tally) -> String {
    match (tally.values(), number) {
        (0, _) => counted(number, "command"),
        (_, 1) => "1 command or value".to_owned(),
        (_, _) => format!("{} commands and values", count(number)),
    }
}

/// `1 library of functions`, `2 libraries of functions`.
pub fn libraries(number: u64) -> String {
    format!("{} {} of functions", count(number), if number == 1 { "library" } else { "libraries" })
}

/// A time: `0.35 s`, `12.3 s`, `3 min 20 s`, `2 h 05 min`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 59.95 {
        return format!("{seconds:.*} s", if seconds < 9.995 { 2 } else { 1 });
    }
    whole(seconds)
}

/// A time that is only a guess, in whole seconds: `12 s`, `3 min 20 s`.
pub fn eta(seconds: f64) -> String {
    if seconds < 59.5 { format!("{} s", (seconds.ceil() as u64).max(1)) } else { whole(seconds) }
}

fn whole(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds {
        0..3600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {:02} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Whole percent, rounded down, so that 100 means that nothing is left.
pub fn percent(part: u64, whole: u64) -> u64 {
    let percent = (u128::from(part.min(whole)) * 100).checked_div(u128::from(whole));
    percent.and_then(|percent| u64::try_from(percent).ok()).unwrap_or(100)
}

/// A share: `33.3%`; `-` of nothing.
pub fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.1}%", part as f64 * 100.0 / whole as f64) }
}

/// Three digits and the unit; what is not positive is 0.
fn scaled(number: f64, units: &[&'static str]) -> (String, &'static str) {
    let mut value = if number > 0.0 { number } else { 0.0 };
    let mut unit = 0;
    while value >= NEXT_UNIT && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = match value {
        _ if unit == 0 || value >= 99.95 => 0,
        _ if value >= 9.995 => 1,
        _ => 2,
    };
    (format!("{value:.decimals$}"), units.get(unit).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_keep_three_digits() {
        for (number, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (1234, "1.23 kB"),
            (9_996, "10.0 kB"),
            (99_960, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (2_800_000_000, "2.80 GB"),
            (u64::MAX, "18.4 EB"),
        ] {
            assert_eq!(bytes(number), text, "{number}");
        }
        assert_eq!(bytes_per_s(119_960_000.0), "120 MB/s");
        assert_eq!(bytes_per_s(f64::NAN), "0 B/s");
        assert_eq!(short(512_345.6), "512k");
        assert_eq!(short(1_234_567.0), "1.23M");
        assert_eq!(short(-1.0), "0");
    }

    #[test]
    fn counts_are_exact() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        assert_eq!(counted(1, "command"), "1 command");
        assert_eq!(counted(0, "command"), "0 commands");
        assert_eq!(libraries(1), "1 library of functions");
        assert_eq!(libraries(2), "2 libraries of functions");
    }

    #[test]
    fn times_get_coarser_as_they_get_longer() {
        for (ms, text) in [
            (0, "0.00 s"),
            (350, "0.35 s"),
            (12_340, "12.3 s"),
            (59_960, "1 min 00 s"),
            (200_000, "3 min 20 s"),
            (7_500_000, "2 h 05 min"),
            (180_000_000, "2 d 02 h"),
        ] {
            assert_eq!(duration(Duration::from_millis(ms)), text);
        }
        assert_eq!(eta(0.0), "1 s");
        assert_eq!(eta(11.2), "12 s");
        assert_eq!(eta(f64::INFINITY), eta(u64::MAX as f64));
    }

    #[test]
    fn a_hundred_percent_is_all_of_it() {
        assert_eq!(percent(999_999, 1_000_000), 99);
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
        assert_eq!(percent(0, 0), 100);
        assert_eq!(share(1, 3), "33.3%");
        assert_eq!(share(0, 0), "-");
    }
}
