//! Makes the payload of a key fit where it goes, if that is not a server like the one it comes from.

use crate::command::fields::before_loading;
use crate::rdb::{Kind, fields, payload};
use crate::route::Takes;

/// What happens to keys on their way.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// What the receiver takes, if it is a live server. A directory takes anything of any length.
    pub takes: Option<Takes>,
    /// By how much deadlines are shifted where keys come from, but not where they go; 0 for not at all. If it is not 0,
    /// those of fields are shifted too.
    pub unshift_ms: i64,
    /// Whether payloads come from a server of another version than those that will read them.
    pub refits: bool,
}

/// A key's payload as it can go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fitted {
    Whole(Vec<u8>),
    /// Only in pieces.
    Pieces,
    /// Not at all: the receiver does not know such values, nor can they be taken apart.
    Unknown(Kind),
}

impl Terms {
    pub(super) fn argument_bytes_max(&self) -> u64 {
        self.takes.map_or(u64::MAX, |takes| takes.argument_bytes_max)
    }

    /// A key's deadline as it is to be. One before 1970 is shifted as 0, which would stand for none.
    pub(super) fn deadline(&self, deadline_ms: i64) -> i64 {
        if self.unshift_ms > 0 && deadline_ms >= self.unshift_ms {
            (deadline_ms - self.unshift_ms).max(1)
        } else {
            deadline_ms
        }
    }

    /// The same for a field.
    pub(super) fn field_deadline(&self, deadline_ms: i64) -> i64 {
        let before = before_loading(deadline_ms).filter(|_| self.unshift_ms > 0);
        before.map_or(deadline_ms, |before| before.max(1))
    }

    /// The footer gets the lowest version that knows the type: servers compare it with their own.
    pub(super) fn fit(&self, given: Vec<u8>) -> Fitted {
        if !self.refits {
            return self.if_short(given);
        }
        // What this program does not know, the reader may.
        let Ok(object) = payload::open(&given) else { return self.if_short(given) };
        let kind = object.kind;
        if self.takes.is_some_and(|takes| !takes.kind(kind)) {
            let apart = kind.is_divisible() && !kind.has_field_deadlines();
            return if apart { Fitted::Pieces } else { Fitted::Unknown(kind) };
        }
        let shifted = match fields::deadlines(&object) {
            Ok(Some(_)) if self.unshift_ms > 0 => {
                fields::shift(&object, &|deadline_ms| Some(self.field_deadline(deadline_ms)))
            }
            _ => Ok(fields::Shifted::AsItStands),
        };
        match shifted {
            Ok(fields::Shifted::AsItStands) => self.if_short(payload::payload(kind, object.body)),
            Ok(fields::Shifted::Changed(body)) => self.if_short(payload::payload(kind, &body)),
            Ok(fields::Shifted::Refused(_)) | Err(_) => Fitted::Pieces,
        }
    }

    fn if_short(&self, payload: Vec<u8>) -> Fitted {
        if (payload.len() as u64) < self.argument_bytes_max() {
            Fitted::Whole(payload)
        } else {
            Fitted::Pieces
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::fields::while_loading;
    use crate::rdb::Product;

    const SHIFT_MS: i64 = 4_000_000_000_000_000;

    fn into_directory(unshift_ms: i64) -> Terms {
        Terms { takes: None, unshift_ms, refits: true }
    }

    #[test]
    fn deadlines_are_put_back_only_if_they_are_shifted() {
        let terms = into_directory(SHIFT_MS);
        let cases = [(5, 5), (SHIFT_MS + 5, 5), (SHIFT_MS, 1), (SHIFT_MS - 1, SHIFT_MS - 1)];
        for (given, expected) in cases {
            assert_eq!(terms.deadline(given), expected, "{given}");
            assert_eq!(into_directory(0).deadline(given), given);
        }
        assert_eq!(terms.field_deadline(crate::command::deadline::FIELD_OFFSET_MS + 7), 7);
        assert_eq!(terms.field_deadline(7), 7);
    }

    #[test]
    fn a_payload_names_the_lowest_version_that_knows_it() {
        // Of Redis 7.2: the string 10, version 11.
        let mut given = vec![0, 0xc0, 10, 11, 0];
        let crc = crate::rdb::crc64::checksum(&given);
        given.extend(crc.to_le_bytes());
        let fitted = Fitted::Whole(payload::payload(Kind::String, b"\xc0\x0a"));
        assert_eq!(into_directory(0).fit(given.clone()), fitted);
        let unknown = b"no payload at all".to_vec();
        assert_eq!(into_directory(0).fit(unknown.clone()), Fitted::Whole(unknown));
        let same = Terms { refits: false, ..into_directory(0) };
        assert_eq!(same.fit(given.clone()), Fitted::Whole(given));
    }

    #[test]
    fn deadlines_of_fields_are_put_back_only_if_they_are_shifted() {
        // Of one field, f, with the value v.
        let mut body = 1_700_000_000_000i64.to_le_bytes().to_vec();
        body.extend(b"\x01\x01\x01f\x01v");
        let kind = Kind::HashFields;
        let whole = payload::payload(kind, &body);
        let object = crate::rdb::Object { kind, body: &body, at: 0 };
        let Ok(fields::Shifted::Changed(shifted)) = fields::shift(&object, &while_loading) else {
            panic!("it has a deadline");
        };
        let shifted = payload::payload(kind, &shifted);
        assert_ne!(shifted, whole);
        let terms = into_directory(SHIFT_MS);
        assert_eq!(terms.fit(shifted.clone()), Fitted::Whole(whole.clone()));
        assert_eq!(terms.fit(whole.clone()), Fitted::Whole(whole));
        assert_eq!(into_directory(0).fit(shifted.clone()), Fitted::Whole(shifted));
    }

    #[test]
    fn what_a_target_does_not_know_goes_in_pieces_or_not_at_all() {
        let takes = |argument_bytes_max| Takes {
            rdb_version: 10,
            argument_bytes_max,
            ..Takes::anything(Product::Redis)
        };
        let into = |takes| Terms { takes: Some(takes), unshift_ms: 0, refits: true };
        // A set in a listpack, since 7.2: of one member, 1.
        let set = payload::payload(Kind::SetListpack, b"\x09\x09\x00\x00\x00\x01\x00\x01\x01\xff");
        assert_eq!(into(takes(1 << 20)).fit(set), Fitted::Pieces);
        let string = payload::payload(Kind::String, b"\xc0\x0a");
        assert_eq!(into(takes(13)).fit(string.clone()), Fitted::Pieces);
        assert_eq!(into(takes(14)).fit(string.clone()), Fitted::Whole(string));
    }
}
