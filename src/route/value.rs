//! The rules that route the values of an RDB part.

use super::Takes;
use super::rule::{Form, Reach, Refusal, Routed, Rules};
use crate::command::fields::while_loading;
use crate::rdb::elements::{self, Element};
use crate::rdb::{Fault, Kind, Object, Value, fields, payload};

/// A string of this many bytes or more gains nothing from being merged with others. Decoded bytes, because these are
/// what is sent: compressed ones may stand for hundreds of times as many.
const PLAIN_BYTES_MAX: usize = 4 << 10;
/// Bytes that a byte compressed with LZF stands for at most.
const EXPANSION_MAX: u64 = 264;

impl Rules {
    /// Routes a value of database `db`; `ordinal` is its number among the commands and values of the source.
    #[inline(always)]
    pub fn route_value(&self, value: &Value<'_>, db: u32, ordinal: u64) -> Routed {
        if value.object.kind == Kind::Module {
            return Routed::Refused(Refusal::Module);
        }
        if value.is_empty {
            return Routed::Nowhere;
        }
        let (lane, hash) = self.routing.lane_and_hash(db, &value.key, ordinal);
        let Some(Some(takes)) = self.live.get(lane) else {
            return Routed::Lane(lane, Form::Verbatim, Reach::Key(hash));
        };
        // Nearly all of many files.
        if is_plain(value)
            && !self.is_marker(&value.key)
            && value.key.len() as u64 <= takes.argument_bytes_max
        {
            return Routed::Lane(lane, Form::Verbatim, Reach::Set(hash));
        }
        match self.value_form(value, takes, (db, hash, ordinal)) {
            Err(refusal) => Routed::Refused(refusal),
            Ok(form) => Routed::Lane(lane, form, Reach::Key(hash)),
        }
    }

    #[inline(never)]
    fn value_form(
        &self,
        value: &Value<'_>,
        takes: &Takes,
        (db, hash, ordinal): (u32, u32, u64),
    ) -> Result<Form, Refusal> {
        let kind = value.object.kind;
        if self.is_marker(&value.key) {
            return Err(Refusal::MarkerKey);
        }
        if !takes.kind(kind) && (!kind.is_divisible() || kind.has_field_deadlines()) {
            return Err(Refusal::TargetLacks(kind));
        }
        // A server keeps what it cannot read; only where a value goes as it stands that makes no difference.
        if !takes.kind(kind) && elements::visit(&value.object, |_| Ok::<(), Fault>(())).is_err() {
            return Err(Refusal::TargetLacks(kind));
        }
        if is_too_large(value, takes) {
            return Err(Refusal::TooLarge(kind));
        }
        if value.deadline_ms.is_some_and(|deadline| deadline >= self.clock.offset_ms) {
            return Err(Refusal::Deadline);
        }
        let (mut in_fields, mut movable) = (false, true);
        // What cannot be read the survey refuses.
        let _ = fields::each_deadline(&value.object, |deadline| {
            in_fields = true;
            movable &= while_loading(deadline).is_some();
        });
        if !movable {
            return Err(Refusal::FieldDeadline);
        }
        let expires = value.deadline_ms.is_some() || in_fields;
        let last = self.touches.as_ref().is_some_and(|touches| touches.is_last(db, hash, ordinal));
        Ok(if expires && !last { Form::Rewritten } else { Form::Verbatim })
    }
}

/// Whether some argument would be longer than the target takes, however the value is written.
fn is_too_large(value: &Value<'_>, takes: &Takes) -> bool {
    let (object, limit) = (&value.object, takes.argument_bytes_max);
    let whole = takes.kind(object.kind) && payload::length(object.body) <= limit;
    // Nothing in it can be longer, not even if it is compressed.
    let short = (object.body.len() as u64).saturating_mul(EXPANSION_MAX) <= limit;
    value.key.len() as u64 > limit
        || (!whole && !short && longest_part(object).is_none_or(|part| part > limit))
}

/// Bytes of the longest argument of a value that is taken apart; `None` if it cannot be. A string counts as a whole, as
/// a server does not let it grow past its limit either (`checkStringLength`, t_string.c).
fn longest_part(object: &Object<'_>) -> Option<u64> {
    let (mut longest, mut string) = (0, 0);
    elements::visit(object, |element| {
        let length = match element {
            Element::Piece { bytes, .. } => {
                string += bytes.len();
                string
            }
            Element::Item(bytes) | Element::Member(bytes) | Element::Scored { member: bytes, .. } => {
                bytes.len()
            }
            Element::Field { field, value, .. } => field.len().max(value.len()),
            Element::Bare { body, counted } => payload::length(counted.unwrap_or(body)) as usize,
            Element::Entry { parts, .. } => parts.iter().map(|part| part.len()).max().unwrap_or(0),
            Element::Ids { .. } => 0,
        };
        longest = longest.max(length as u64);
        Ok::<(), Fault>(())
    })
    .ok()?;
    Some(longest)
}

/// Whether SET does all that there is to do.
#[inline]
fn is_plain(value: &Value<'_>) -> bool {
    value.deadline_ms.is_none()
        && value.idle_s.is_none()
        && value.freq.is_none()
        && value.object.is_string_below(PLAIN_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_plain_with(body: &[u8]) -> bool {
        let object = Object { kind: Kind::String, body, at: 0 };
        let key = b"k".as_slice().into();
        is_plain(&Value { key, object, deadline_ms: None, idle_s: None, freq: None, is_empty: false })
    }

    /// Otherwise a batch of a megabyte could become hundreds of them.
    #[test]
    fn a_short_body_that_stands_for_a_long_string_is_not_plain() {
        assert!(is_plain_with(b"\x03abc"));
        assert!(is_plain_with(b"\xc3\x03\x0b\x00x\xe0\x01\x00"));
        // A compressed string of three bytes that says that it stands for a megabyte.
        assert!(!is_plain_with(b"\xc3\x03\x80\x00\x10\x00\x00\x00x\xe0"));
    }
}
