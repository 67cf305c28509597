//! Looks at keys ahead of the commands that need them.
//!
//! A server with more keys than its processor's cache holds waits for memory in most small commands: for the bucket of
//! the key's hash, then for its entry, then for the key. EXISTS of many keys does nothing else, so that the processor
//! waits for several at a time; the commands right behind it find all of them in the cache. It changes nothing, not
//! even when a key was used last (`LOOKUP_NOTOUCH` in `existsCommand`, db.c).

use crate::batch::order::Sent;
use crate::partition::{Action, LanePart, Op};
use crate::resp::encode;
use crate::resp::frame;
use crate::route::{Form, Reach};

/// Keys in one EXISTS: few enough to be in the cache still when they are needed.
const KEYS_MAX: usize = 64;
/// Fewer are not worth a command.
const KEYS_MIN: usize = 4;

/// Puts looks at keys between the commands of a batch.
pub(super) fn plan(sent: Vec<Sent>, part: &LanePart) -> Vec<Sent> {
    let mut planned = Vec::with_capacity(sent.len() + sent.len() / KEYS_MIN);
    let mut rest = sent.into_iter().peekable();
    while rest.peek().is_some() {
        let place = planned.len();
        planned.push(Sent::Ahead(0));
        let mut keys = 0;
        // What may touch anything may change the database too.
        while keys < KEYS_MAX
            && let Some(next) = rest.next_if(|next| keys == 0 || !steps(next, part).any(reaches_all))
        {
            keys += steps(&next, part).filter(|op| has_one_key(op)).count();
            planned.push(next);
            if planned.last().is_some_and(|last| steps(last, part).any(reaches_all)) {
                break;
            }
        }
        if keys >= KEYS_MIN {
            planned[place] = Sent::Ahead(planned.len() - place - 1);
        } else {
            planned.remove(place);
        }
    }
    planned
}

/// Writes EXISTS for the keys of these commands; `None` if the source was changed.
pub(super) fn write(out: &mut Vec<u8>, sent: &[Sent], part: &LanePart, window: &[u8]) -> Option<()> {
    let ops = || sent.iter().flat_map(|next| steps(next, part)).filter(|op| has_one_key(op));
    encode::array(out, 1 + ops().count());
    encode::bulk(out, b"EXISTS");
    for op in ops() {
        out.extend_from_slice(frame::framed_first(op.bytes(window))?);
    }
    Some(())
}

fn steps<'p>(sent: &'p Sent, part: &'p LanePart) -> impl Iterator<Item = &'p Op> {
    sent.steps().iter().map(|step| &part.ops[*step as usize])
}

fn reaches_all(op: &Op) -> bool {
    op.reach == Reach::All
}

/// Whether a command has one key, and its frame is as it is to be sent.
fn has_one_key(op: &Op) -> bool {
    matches!(op.reach, Reach::Set(_) | Reach::Key(_)) && op.action == Action::Send(Form::Verbatim)
}
