//! Writes a batch's commands for a file: every step as a command of its own, in the source's order.

use std::io::{self, Write};

use super::{Batch, Commands};
use crate::partition::{Action, LanePart};
use crate::route::{Form, Rules};
use crate::source::Source;

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
    for op in part.ops.get(batch.ops.clone()).unwrap_or_default() {
        if op.action == Action::Send(Form::Verbatim) && writer.brought.is_empty() {
            writer.out.write_all(op.bytes(window))?;
        } else {
            writer.one(op, None)?;
        }
    }
    Ok(writer.db)
}
