//! Merges the plain SETs of a batch into MSETs, which a server carries out faster.
//!
//! A batch is applied in one transaction, so only its outcome can be seen. Inside it a SET without
//! options may change places with every command that does not touch its key; several of them in their
//! order are one MSET: both set keys of any type, drop their deadlines, and cannot fail on the data.

use crate::batch::Batch;
use crate::partition::{Action, LanePart};
use crate::resp::frame::Arguments;
use crate::route::{Form, Reach, key_hash};
use crate::source::Source;

/// Most keys of one MSET.
const KEYS_MAX: usize = 128;
/// A SET of this many bytes or more gains nothing.
const SET_BYTES_MAX: u32 = 4 << 10;
/// Length of what stands before the key in a SET as servers write it.
pub const SET_START_BYTES: usize = b"*3\r\n$3\r\nSET\r\n".len();

/// One command that is sent: the steps of the batch that it carries out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// The step of this index in [`LanePart::ops`].
    One(u32),
    /// These plain SETs, as one MSET.
    Sets(Vec<u32>),
}

impl Sent {
    /// The first step that it carries out.
    pub fn first(&self) -> usize {
        match self {
            Sent::One(step) => *step as usize,
            Sent::Sets(steps) => steps.first().copied().unwrap_or_default() as usize,
        }
    }
}

/// Keys by the low bits of their crc32: may say of a key that it is touched when another one is.
struct Touched(Vec<u64>);

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
pub fn merge(part: &LanePart, batch: &Batch, source: &Source) -> Vec<Sent> {
    let mut sent = Vec::with_capacity(batch.ops.len());
    let mut touched = Touched::new();
    let mut from = batch.ops.start;
    while from < batch.ops.end {
        // Between two steps that may touch anything, or change the database, names are just keys.
        let steps = &part.ops[from..batch.ops.end];
        let to = from + steps.iter().position(|op| op.reach == Reach::All).unwrap_or(steps.len());
        merge_between(part, from..to, source, &mut touched, &mut sent);
        if to < batch.ops.end {
            sent.push(Sent::One(to as u32));
            touched.clear();
        }
        from = to + 1;
    }
    sent
}

fn merge_between(
    part: &LanePart,
    steps: std::ops::Range<usize>,
    source: &Source,
    touched: &mut Touched,
    sent: &mut Vec<Sent>,
) {
    let window = part.window.bytes(source);
    // None for a SET that cannot be merged, which so counts as touching its key.
    let small_set = |step: usize| {
        let op = &part.ops[step];
        let Reach::Set(hash) = op.reach else { return None };
        let plain = matches!(op.action, Action::Value(_) | Action::Send(Form::Verbatim));
        (plain && op.len < SET_BYTES_MAX).then_some(hash)
    };
    for step in steps.clone().filter(|step| small_set(*step).is_none()) {
        let op = &part.ops[step];
        match op.reach {
            Reach::Set(hash) | Reach::Key(hash) => touched.add(hash),
            // More than the keys is harmless here.
            Reach::Arguments | Reach::All => {
                Arguments::of(op.bytes(window)).for_each(|argument| touched.add(key_hash(argument)));
            }
        }
    }
    let mut sets: Vec<u32> = Vec::new();
    for step in steps {
        match small_set(step) {
            Some(hash) if !touched.has(hash) => sets.push(step as u32),
            _ => sent.push(Sent::One(step as u32)),
        }
    }
    sent.extend(sets.chunks(KEYS_MAX).map(|keys| match keys {
        [one] => Sent::One(*one),
        many => Sent::Sets(many.to_vec()),
    }));
}
