//! Shifts deadlines: a loading server lets keys live past their deadline, a live one does not.
//!
//! So every deadline is moved by an offset into the future while loading and put back while settling.
//! All of them are moved, since commands compare deadlines (`PEXPIREAT … GT`). Relative ones become
//! absolute, counted from the clock reading of the load. A deadline that the server would reject stays
//! as it stands, for the error it earns. The rules are those of `parseExtendedStringArgumentsOrReply`
//! (t_string.c), `expireGenericCommand` (expire.c) and `restoreCommand` (cluster.c) in Redis 7.0.

use std::borrow::Cow;

use super::{Rewrite, fields, integer};

/// How far deadlines are moved, in milliseconds, if none of the source is at or past this: twice it is
/// still below 2^53, so that a script, whose numbers are doubles, can put the deadlines back exactly.
pub const OFFSET_NEAR_MS: i64 = 4_000_000_000_000_000;

/// How far deadlines are moved, in milliseconds, if the source has some past [`OFFSET_NEAR_MS`]; one
/// at or past this is refused. Twice it is still below 2^63.
pub const OFFSET_FAR_MS: i64 = 4_000_000_000_000_000_000;

/// How far deadlines of hash fields are moved, in milliseconds: servers take none past 2^46. What that means for
/// late ones is said at [`fields::while_loading`].
pub const FIELD_OFFSET_MS: i64 = 35_000_000_000_000;

/// What it takes to shift a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// Unix time in milliseconds from which relative deadlines count.
    pub now_ms: i64,
    /// How far deadlines are moved, in milliseconds; 0 only makes relative ones absolute.
    pub offset_ms: i64,
}

/// What becomes of a command that may carry a deadline.
#[derive(Debug, PartialEq, Eq)]
pub enum Shifted<'a> {
    /// It carries none, or one that the server rejects.
    AsItStands,
    /// The command to send instead, and the deadline it had, in milliseconds of Unix time.
    Changed(Vec<Cow<'a, [u8]>>, i64),
    /// A deadline that cannot be shifted: at or past the offset, or -1, which servers take for none.
    Refused(i64),
    /// The same for a deadline of hash fields.
    FieldRefused(i64),
}

/// How an argument gives a deadline.
#[derive(Clone, Copy)]
pub(super) struct Form {
    pub(super) seconds: bool,
    pub(super) relative: bool,
}

/// Shifts the deadline of a command.
pub fn shift<'a>(rewrite: Rewrite, arguments: &[&'a [u8]], clock: Clock) -> Shifted<'a> {
    match rewrite {
        Rewrite::None | Rewrite::StreamTrim | Rewrite::Options => Shifted::AsItStands,
        Rewrite::Set => option(arguments, 3, clock),
        Rewrite::Getex => option(arguments, 2, clock),
        Rewrite::Msetex => {
            let pairs = arguments
                .get(1)
                .and_then(|count| integer(count))
                .and_then(|count| usize::try_from(count).ok());
            match pairs.and_then(|count| count.checked_mul(2)?.checked_add(2)) {
                Some(options) => option(arguments, options, clock),
                None => Shifted::AsItStands,
            }
        }
        Rewrite::Setex { seconds } => setex(arguments, seconds, clock),
        Rewrite::Expire { seconds, relative } => expire(arguments, Form { seconds, relative }, clock),
        Rewrite::Restore => restore(arguments, clock),
        Rewrite::FieldExpire { seconds, relative } => {
            fields::expire(arguments, Form { seconds, relative }, clock)
        }
        Rewrite::FieldOption { pairs } => fields::option(arguments, pairs, clock),
    }
}

/// Whether a deadline that [`shift`] has found counts from the moment the command runs.
pub fn is_relative(rewrite: Rewrite, arguments: &[&[u8]]) -> bool {
    match rewrite {
        Rewrite::Setex { .. } => true,
        Rewrite::Expire { relative, .. } | Rewrite::FieldExpire { relative, .. } => relative,
        Rewrite::Restore => !arguments.iter().skip(4).any(|option| option.eq_ignore_ascii_case(b"ABSTTL")),
        Rewrite::Set => has_relative_option(arguments, 3),
        Rewrite::Getex | Rewrite::FieldOption { .. } => has_relative_option(arguments, 2),
        Rewrite::None | Rewrite::StreamTrim | Rewrite::Options | Rewrite::Msetex => false,
    }
}

fn has_relative_option(arguments: &[&[u8]], first: usize) -> bool {
    // A value that looks like an option errs to the safe side: it is made absolute, which changes nothing.
    arguments.iter().skip(first).any(|option| unit(option).is_some_and(|form| form.relative))
}

/// SET, GETEX, MSETEX: one of EX, PX, EXAT, PXAT among the options from `first` on.
fn option<'a>(arguments: &[&'a [u8]], first: usize, clock: Clock) -> Shifted<'a> {
    let mut found = None;
    let mut at = first;
    while let Some(name) = arguments.get(at) {
        if let Some(form) = unit(name) {
            if found.replace((at, form)).is_some() {
                // Two deadlines are a syntax error.
                return Shifted::AsItStands;
            }
            at += 1;
        } else if [b"IFEQ".as_slice(), b"IFNE", b"IFDEQ", b"IFDNE"]
            .iter()
            .any(|o| name.eq_ignore_ascii_case(o))
        {
            at += 1;
        }
        at += 1;
    }
    let Some((at, form)) = found else { return Shifted::AsItStands };
    let Some(deadline) = arguments.get(at + 1).and_then(|text| positive(text, form, clock)) else {
        return Shifted::AsItStands;
    };
    shifted(deadline, clock.offset_ms, |ms| {
        let mut out = borrowed(arguments);
        out[at] = Cow::Borrowed(b"PXAT");
        out[at + 1] = text(ms);
        out
    })
}

pub(super) fn unit(option: &[u8]) -> Option<Form> {
    let forms: [(&[u8], bool, bool); 4] =
        [(b"EX", true, true), (b"PX", false, true), (b"EXAT", true, false), (b"PXAT", false, false)];
    forms
        .iter()
        .find(|(name, _, _)| option.eq_ignore_ascii_case(name))
        .map(|&(_, seconds, relative)| Form { seconds, relative })
}

fn setex<'a>(arguments: &[&'a [u8]], seconds: bool, clock: Clock) -> Shifted<'a> {
    let &[_, key, time, value] = arguments else { return Shifted::AsItStands };
    let Some(deadline) = positive(time, Form { seconds, relative: true }, clock) else {
        return Shifted::AsItStands;
    };
    shifted(deadline, clock.offset_ms, |ms| {
        vec![
            Cow::Borrowed(b"SET".as_slice()),
            Cow::Borrowed(key),
            Cow::Borrowed(value),
            Cow::Borrowed(b"PXAT"),
            text(ms),
        ]
    })
}

fn expire<'a>(arguments: &[&'a [u8]], form: Form, clock: Clock) -> Shifted<'a> {
    let Some(deadline) = arguments.get(2).and_then(|text| absolute(integer(text)?, form, clock)) else {
        return Shifted::AsItStands;
    };
    shifted(deadline, clock.offset_ms, |ms| {
        let mut out = borrowed(arguments);
        out[0] = Cow::Borrowed(b"PEXPIREAT");
        out[2] = text(ms);
        out
    })
}

fn restore<'a>(arguments: &[&'a [u8]], clock: Clock) -> Shifted<'a> {
    let Some(time) = arguments.get(2).and_then(|text| integer(text)) else { return Shifted::AsItStands };
    let payload = match arguments.get(3).map(|payload| fields::payload(payload, clock)) {
        Some(fields::Payload::Changed(payload, latest)) => Some((payload, latest)),
        Some(fields::Payload::Refused(deadline)) => return Shifted::FieldRefused(deadline),
        Some(fields::Payload::AsItStands) | None => None,
    };
    let mut out = borrowed(arguments);
    let latest = payload.map(|(payload, latest)| {
        out[3] = Cow::Owned(payload);
        latest
    });
    let is_absolute = arguments.iter().skip(4).any(|option| option.eq_ignore_ascii_case(b"ABSTTL"));
    let form = Form { seconds: false, relative: !is_absolute };
    let Some(deadline) = (time > 0).then(|| absolute(time, form, clock)).flatten() else {
        return match latest.filter(|_| time == 0) {
            Some(latest) => Shifted::Changed(out, latest),
            None => Shifted::AsItStands,
        };
    };
    shifted(deadline, clock.offset_ms, |ms| {
        out[2] = text(ms);
        if !is_absolute {
            out.push(Cow::Borrowed(b"ABSTTL"));
        }
        out
    })
}

/// A deadline of a command that rejects 0 and less.
fn positive(text: &[u8], form: Form, clock: Clock) -> Option<i64> {
    let value = integer(text).filter(|value| *value > 0)?;
    absolute(value, form, clock).filter(|deadline| *deadline > 0)
}

/// The Unix time in milliseconds; `None` where the server sees an overflow and rejects the command.
pub(super) fn absolute(value: i64, form: Form, clock: Clock) -> Option<i64> {
    let value = if form.seconds { value.checked_mul(1000)? } else { value };
    if form.relative { value.checked_add(clock.now_ms) } else { Some(value) }
}

fn shifted<'a>(deadline: i64, offset_ms: i64, build: impl FnOnce(i64) -> Vec<Cow<'a, [u8]>>) -> Shifted<'a> {
    if offset_ms == 0 {
        return Shifted::Changed(build(deadline), deadline);
    }
    if deadline >= offset_ms || deadline == -1 {
        return Shifted::Refused(deadline);
    }
    // All that is before 1970 is equally past; the sum must not fall below the offset, or it would
    // not be known for a shifted one.
    Shifted::Changed(build(deadline.max(0) + offset_ms), deadline)
}

pub(super) fn borrowed<'a>(arguments: &[&'a [u8]]) -> Vec<Cow<'a, [u8]>> {
    arguments.iter().map(|argument| Cow::Borrowed(*argument)).collect()
}

pub(super) fn text<'a>(value: i64) -> Cow<'a, [u8]> {
    Cow::Owned(value.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::lookup;

    /// Shows the shifted command with the offset written as `+`.
    fn shown(command: &str) -> String {
        let arguments: Vec<&[u8]> = command.split(' ').map(str::as_bytes).collect();
        let spec = lookup(arguments[0]).expect("a known command");
        match shift(spec.rewrite, &arguments, Clock { now_ms: 1_000_000, offset_ms: OFFSET_FAR_MS }) {
            Shifted::AsItStands => "as it stands".into(),
            Shifted::Refused(deadline) => format!("refused {deadline}"),
            Shifted::FieldRefused(deadline) => format!("refused for a field {deadline}"),
            Shifted::Changed(out, _) => {
                let show = |argument: &Cow<'_, [u8]>| match integer(argument)
                    .filter(|value| *value >= OFFSET_FAR_MS)
                {
                    Some(value) => format!("+{}", value - OFFSET_FAR_MS),
                    None => String::from_utf8_lossy(argument).into_owned(),
                };
                out.iter().map(show).collect::<Vec<_>>().join(" ")
            }
        }
    }

    #[test]
    fn every_form_is_shifted() {
        let cases = [
            ("SET k v", "as it stands"),
            ("SET k EX", "as it stands"),
            ("SET k v KEEPTTL GET", "as it stands"),
            ("SET k v NX PXAT 5 GET", "SET k v NX PXAT +5 GET"),
            ("SET k v exat 5", "SET k v PXAT +5000"),
            ("SET k v EX 5", "SET k v PXAT +1005000"),
            ("SET k v IFEQ PX PX 7", "SET k v IFEQ PX PXAT +1000007"),
            ("SET k v EX 0", "as it stands"),
            ("SET k v PX -5", "as it stands"),
            ("SET k v EX 9223372036854776", "as it stands"),
            ("SET k v PX 5 EX 5", "as it stands"),
            ("SET k v PX", "as it stands"),
            ("SETEX k 5 v", "SET k v PXAT +1005000"),
            ("PSETEX k 5 v", "SET k v PXAT +1000005"),
            ("SETEX k 05 v", "as it stands"),
            ("GETEX k PERSIST", "as it stands"),
            ("GETEX k PXAT 9", "GETEX k PXAT +9"),
            ("MSETEX 1 k PX PX 3", "MSETEX 1 k PX PXAT +1000003"),
            ("EXPIRE k -5 GT", "PEXPIREAT k +995000 GT"),
            ("EXPIREAT k 5", "PEXPIREAT k +5000"),
            ("PEXPIREAT k -7", "PEXPIREAT k +0"),
            ("PEXPIREAT k -1", "refused -1"),
            ("PEXPIREAT k 4000000000000000000", "refused 4000000000000000000"),
            ("PEXPIREAT k x", "as it stands"),
            ("EXPIREAT k 9223372036854776", "as it stands"),
            ("RESTORE k 0 p REPLACE", "as it stands"),
            ("RESTORE k 5 p ABSTTL", "RESTORE k +5 p ABSTTL"),
            ("RESTORE k 5 p REPLACE", "RESTORE k +1000005 p REPLACE ABSTTL"),
            ("RESTORE k -5 p", "as it stands"),
        ];
        for (command, expected) in cases {
            assert_eq!(shown(command), expected, "{command}");
        }
    }
}
