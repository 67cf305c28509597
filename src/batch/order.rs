//! Puts the commands of a batch into an order that a server carries out faster, and merges its plain SETs into MSETs.
//!
//! A batch is applied in one transaction, so only its outcome can be seen. Inside it a command may change places with
//! every command that does not touch its key. So commands of one name come one after the other, which spares the
//! server's processor from fetching the code of another command each time; and SETs without options become one MSET:
//! both set keys of any type, drop their deadlines, and cannot fail on the data.

use std::ops::Range;

use crate::batch::Batch;
use crate::partition::{Action, LanePart, Op};
use crate::resp::frame::Arguments;
use crate::route::{Form, Reach, key_hash};
use crate::source::Source;

/// Most keys of one MSET.
const KEYS_MAX: usize = 128;
/// A SET of this many bytes or more gains nothing.
const SET_BYTES_MAX: u32 = 4 << 10;
/// Most kinds of commands in a batch that are gathered; others stay where they are.
const ROWS_MAX: usize = 16;
/// Length of what stands before the key in a SET as servers write it.
pub const SET_START_BYTES: usize = b"*3\r\n$3\r\nSET\r\n".len();

/// One command that is sent: the steps of the batch that it carries out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// The step of this index in [`LanePart::ops`].
    One(u32),
    /// These plain SETs, as one MSET.
    Sets(Vec<u32>),
    /// None: it looks at the keys of so many commands behind it.
    Ahead(usize),
}

impl Sent {
    /// The steps that it carries out.
    pub fn steps(&self) -> &[u32] {
        match self {
            Sent::One(step) => std::slice::from_ref(step),
            Sent::Sets(steps) => steps,
            Sent::Ahead(_) => &[],
        }
    }
}

/// Keys by the low bits of their crc32: may say of a key that it is touched when another one is.
struct Touched(Vec<u64>);

/// The keys that the steps between two barriers touch.
struct TouchedKeys {
    /// All but those of plain SETs that may be merged.
    others: Touched,
    /// Those that more than one step touches, or one that has several.
    several: Touched,
}

impl Touched {
    const BITS: u32 = 1 << 16;

    fn new() -> Self {
        Touched(vec![0; (Touched::BITS / 64) as usize])
    }

    fn add(&mut self, hash: u32) {
        let bit = hash % Touched::BITS;
        self.0[(bit / 64) as usize] |= 1 << (bit % 64);
    }

    fn has(&self, hash: u32) -> bool {
        let bit = hash % Touched::BITS;
        self.0[(bit / 64) as usize] & (1 << (bit % 64)) != 0
    }

    fn clear(&mut self) {
        self.0.fill(0);
    }
}

/// What is sent for a batch, in order.
pub fn order(part: &LanePart, batch: &Batch, source: &Source) -> Vec<Sent> {
    let mut order = Order {
        part,
        window: part.window.bytes(source),
        touches: TouchedKeys { others: Touched::new(), several: Touched::new() },
        sent: Vec::with_capacity(batch.ops.len()),
    };
    let mut from = batch.ops.start;
    while from < batch.ops.end {
        // Between two steps that may touch anything, or change the database, names are just keys.
        let steps = &part.ops[from..batch.ops.end];
        let to = from + steps.iter().position(|op| op.reach == Reach::All).unwrap_or(steps.len());
        order.touch(from..to);
        order.put(from..to);
        if to < batch.ops.end {
            order.sent.push(Sent::One(to as u32));
            order.touches.others.clear();
            order.touches.several.clear();
        }
        from = to + 1;
    }
    order.sent
}

struct Order<'m> {
    part: &'m LanePart,
    /// The bytes of its window.
    window: &'m [u8],
    touches: TouchedKeys,
    sent: Vec<Sent>,
}

/// The key of a SET that may be merged. Any other SET counts as touching its key.
fn small_set(op: &Op) -> Option<u32> {
    let Reach::Set(hash) = op.reach else { return None };
    let plain = matches!(op.action, Action::Value(_) | Action::Send(Form::Verbatim));
    (plain && op.len < SET_BYTES_MAX).then_some(hash)
}

impl Order<'_> {
    fn touch(&mut self, steps: Range<usize>) {
        let TouchedKeys { others, several } = &mut self.touches;
        let steps = &self.part.ops[steps];
        for op in steps.iter().filter(|op| small_set(op).is_none()) {
            match op.reach {
                Reach::Set(hash) | Reach::Key(hash) => {
                    if others.has(hash) {
                        several.add(hash);
                    }
                    others.add(hash);
                }
                // More than the keys is harmless here.
                Reach::Arguments | Reach::All => {
                    for hash in Arguments::of(op.bytes(self.window)).map(key_hash) {
                        others.add(hash);
                        several.add(hash);
                    }
                }
            }
        }
        steps
            .iter()
            .filter_map(small_set)
            .filter(|hash| others.has(*hash))
            .for_each(|hash| several.add(hash));
    }

    fn put(&mut self, steps: Range<usize>) {
        let mut sets: Vec<u32> = Vec::new();
        let mut alike: Vec<(u16, Vec<u32>)> = Vec::new();
        for step in steps {
            let op = &self.part.ops[step];
            match (small_set(op), op.reach) {
                (Some(hash), _) if !self.touches.others.has(hash) => sets.push(step as u32),
                (None, Reach::Set(hash) | Reach::Key(hash)) if !self.touches.several.has(hash) => {
                    match alike.iter().position(|(row, _)| *row == op.row) {
                        Some(at) => alike[at].1.push(step as u32),
                        None if alike.len() < ROWS_MAX => alike.push((op.row, vec![step as u32])),
                        None => self.sent.push(Sent::One(step as u32)),
                    }
                }
                _ => self.sent.push(Sent::One(step as u32)),
            }
        }
        self.sent.extend(alike.into_iter().flat_map(|(_, steps)| steps).map(Sent::One));
        self.sent.extend(sets.chunks(KEYS_MAX).map(|keys| match keys {
            [one] => Sent::One(*one),
            many => Sent::Sets(many.to_vec()),
        }));
    }
}
