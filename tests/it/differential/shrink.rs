//! Delta debugging: the fewest commands with which it still fails. Any selection of records is a valid file.

use super::source::{Record, Source};
use std::time::{Duration, Instant};

/// A difference that takes longer is shown as far as it was shrunk.
const TIME_MAX: Duration = Duration::from_secs(240);

/// Leaves out records as long as `fails` says that the rest still fails.
pub fn shrunk(source: &Source, mut fails: impl FnMut(&Source) -> bool) -> Source {
    let deadline = Instant::now() + TIME_MAX;
    let mut best = source.clone();
    if best.base.is_some() {
        let without = Source { base: None, ..best.clone() };
        if fails(&without) {
            best = without;
        }
    }
    let mut chunk = best.records.len().div_ceil(2).max(1);
    loop {
        let before = best.records.len();
        let mut at = 0;
        while at < best.records.len() && Instant::now() < deadline {
            let end = (at + chunk).min(best.records.len());
            let rest: Vec<Record> = [&best.records[..at], &best.records[end..]].concat();
            let candidate = best.with(rest);
            if fails(&candidate) {
                best = candidate;
            } else {
                at = end;
            }
        }
        if Instant::now() >= deadline || (chunk == 1 && best.records.len() == before) {
            return best;
        }
        chunk = (chunk / 2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(count: u8) -> Source {
        let record = |n: u8| Record { bytes: vec![n], command: vec![vec![n]] };
        let records = (0..count).map(record).collect();
        Source { seed: 0, made_ms: 0, base: None, records, untied_for: None, playable: true }
    }

    #[test]
    fn what_is_needed_is_left() {
        let fails = |source: &Source| {
            let bytes = source.bytes();
            bytes.contains(&3) && bytes.contains(&77) && bytes.contains(&78)
        };
        assert_eq!(shrunk(&numbered(120), fails).bytes(), [3, 77, 78]);
    }

    #[test]
    fn what_needs_nothing_shrinks_to_nothing() {
        assert!(shrunk(&numbered(9), |_| true).bytes().is_empty());
    }
}
