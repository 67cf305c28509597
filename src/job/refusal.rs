//! Turns what the survey found amiss into an error.

use crate::command::{Class, lookup, lookup_sub};
use crate::config::Job;
use crate::error::{Error, Kind, Result, command_and_key, shown};
use crate::report::human;
use crate::resp::frame::{self, Record};
use crate::route::{Command, Refusal};
use crate::source::Source;
use crate::source::window::Tail;
use crate::survey::Survey;

/// Refuses a source whose end is cut, if asked to, or is dropped by a server only if that knows what is in it.
pub fn check_end(job: &Job, source: &Source, survey: &Survey) -> Result<()> {
    if let (Some(tail), true) = (survey.tail, job.strict_tail) {
        let what = if tail.open_transaction { "a transaction without EXEC" } else { "a cut command" };
        return Err(source
            .error(Kind::Source, format!("the source ends in {what}"), tail.at)
            .unwritten()
            .place("dropped", format!("{} bytes", tail.bytes))
            .remedy("load without --strict-tail to leave it out, as redis-server does"));
    }
    match survey.tail {
        Some(tail) if tail.open_transaction && !job.skip_unsupported => refuse_unknown(source, tail),
        _ => Ok(()),
    }
}

/// Refuses that, and a source with commands that cannot be carried out, unless asked to leave them out.
pub fn check(job: &Job, source: &Source, survey: &Survey) -> Result<()> {
    check_end(job, source, survey)?;
    let total = survey.tally.refused_total();
    if total == 0 || job.skip_unsupported {
        return Ok(());
    }
    let mut error = Error::new(
        Kind::Unsupported,
        format!("{} of the source cannot be carried out faithfully", human::entries(total, &survey.tally)),
    )
    .unwritten();
    for (refusal, count) in &survey.tally.refusals {
        error = error.place("reason", format!("{count} x {}", refusal.reason()));
    }
    for refused in &survey.tally.refused {
        let file = source.file(refused.at.segment).display();
        error = error.place(
            "refused",
            format!(
                "{file} byte {}: {}: {}",
                refused.at.offset,
                command_and_key(&refused.command, &refused.key),
                refused.refusal.reason()
            ),
        );
    }
    if survey.tally.refusals.keys().all(|refusal| matches!(refusal, Refusal::TooLarge(_))) {
        return Err(error.remedy(
            "CONFIG SET proto-max-bulk-len on the targets to more than the largest value's size; --skip-unsupported \
             loads the rest and reports what is left out",
        ));
    }
    if survey.tally.refusals.keys().any(|refusal| refusal.is_for_target()) {
        return Err(error.remedy(
            "load into servers of the version that wrote the source, or of a later one; --skip-unsupported loads the \
             rest and reports what is left out",
        ));
    }
    Err(error.remedy(
        "see --dry-run for the whole picture; --skip-unsupported loads the rest and reports what is left out",
    ))
}

/// A server drops a transaction without EXEC, but ends where it finds a command in it that it does not know.
fn refuse_unknown(source: &Source, tail: Tail) -> Result<()> {
    let start = tail.at.offset as usize;
    let mut rest = source.bytes(tail.at.segment).get(start..).unwrap_or_default();
    let mut at = tail.at;
    while let Ok((next, record)) = frame::record(rest) {
        let bytes = &rest[..rest.len() - next.len()];
        if let Record::Command(head) = record {
            let command = Command { bytes, head, db: 0, ordinal: 0 };
            if !is_known(&command) {
                return Err(source
                    .error(Kind::Unsupported, "the transaction at the end of the source holds an unknown command", at)
                    .unwritten()
                    .place("command", command_and_key(&shown(command.name()), &shown(command.first())))
                    .remedy(
                        "find out which module or later server wrote it; --skip-unsupported drops the transaction, as a \
                         server does that knows the command",
                    ));
            }
        }
        at.offset += bytes.len() as u64;
        rest = next;
    }
    Ok(())
}

fn is_known(command: &Command<'_>) -> bool {
    match lookup(command.name()) {
        Some(spec) if spec.class == Class::Container => lookup_sub(spec, command.first()).is_some(),
        spec => spec.is_some(),
    }
}

/// Refuses to go on with a load of which other things would be left out than before: batches would not be the same ones,
/// so that a marker would name another place.
pub fn check_the_same(left_out: u64, survey: &Survey) -> Result<()> {
    let now = survey.tally.refused_total();
    if now == left_out {
        return Ok(());
    }
    Err(Error::new(Kind::Conflict, "the targets no longer take what they took when the load began")
        .place("left out then", format!("{left_out} commands and values"))
        .place("left out now", format!("{now} commands and values"))
        .remedy("give targets of the version, and with the proto-max-bulk-len, of before; or start over with --restart"))
}
