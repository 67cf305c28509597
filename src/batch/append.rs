//! Writes a batch's commands for a file: every step as a command of its own, in the source's order.

use std::hint::black_box;
use std::io::{self, Write};

use super::{Batch, Commands};
use crate::partition::{Action, LanePart, Op};
use crate::route::{Form, Rules};
use crate::source::Source;

/// So many commands are looked at before they are copied.
const TOUCHED: usize = 16;

/// Writes the commands of a batch, `db` being the database that is selected before; the one that is selected then.
pub fn append_commands<W: Write>(
    out: &mut W,
    source: &Source,
    rules: &Rules,
    lane: usize,
    (part, batch): (&LanePart, &Batch),
    db: u32,
) -> io::Result<u32> {
    let mut writer = Commands::new(out, source, rules, lane, part, db);
    writer.begin(batch)?;
    let window = writer.window;
    for ops in part.ops.get(batch.ops.clone()).unwrap_or_default().chunks(TOUCHED) {
        touch(ops, window);
        for op in ops {
            let plain = op.action == Action::Send(Form::Verbatim) && writer.brought.is_empty();
            if plain {
                writer.out.write_all(op.bytes(window))?;
            } else {
                writer.one(op, None)?;
            }
        }
    }
    Ok(writer.db)
}

/// Reads where each command begins. The lane's commands lie scattered over what another thread has walked through, so
/// that the processor does not foresee them; asked for all at once, they come together.
fn touch(ops: &[Op], window: &[u8]) {
    let bytes = ops.iter().map(|op| window.get(op.start as usize).copied().unwrap_or_default());
    black_box(bytes.fold(0, |all, byte| all ^ byte));
}
