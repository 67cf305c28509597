//! Merges the plain SETs of a batch into MSETs and its DELs into fewer ones, which a server carries out faster.
//!
//! A batch is applied in one transaction, so only its outcome can be seen. Inside it a SET without
//! options may change places with every command that does not touch its key; several of them in their
//! order are one MSET: both set keys of any type, drop their deadlines, and cannot fail on the data. The same
//! holds of DELs of single keys.

use crate::batch::Batch;
use crate::partition::{Action, LanePart, Op};
use crate::resp::frame::Arguments;
use crate::route::{Form, Reach, key_hash};
use crate::source::Source;

/// Most keys of one MSET or DEL.
const KEYS_MAX: usize = 128;
/// A SET of this many bytes or more gains nothing.
const SET_BYTES_MAX: u32 = 4 << 10;
/// Length of what stands before the key in a SET or DEL as servers write it.
pub const START_BYTES: usize = b"*3\r\n$3\r\nSET\r\n".len();

/// One command that is sent: the steps of the batch that it carries out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// The step of this index in [`LanePart::ops`].
    One(u32),
    /// These plain SETs, as one MSET.
    Sets(Vec<u32>),
    /// These DELs, as one.
    Deletions(Vec<u32>),
}

impl Sent {
    /// The first step that it carries out.
    pub fn first(&self) -> usize {
        match self {
            Sent::One(step) => *step as usize,
            Sent::Sets(steps) | Sent::Deletions(steps) => steps.first().copied().unwrap_or_default() as usize,
        }
    }
}

/// What a step is to merging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A small plain SET of a key of this crc32.
    Set(u32),
    /// A DEL of one.
    Deletion(u32),
    /// Anything else.
    Other,
}

impl Role {
    fn of(op: &Op) -> Role {
        match (op.reach, op.action) {
            (Reach::Set(hash), Action::Value(_) | Action::Send(Form::Verbatim)) if op.len < SET_BYTES_MAX => {
                Role::Set(hash)
            }
            (Reach::Deletion(hash), Action::Send(Form::Verbatim)) => Role::Deletion(hash),
            _ => Role::Other,
        }
    }
}

/// Keys by the low bits of their crc32: may say of a key that it is there when another one is.
struct Keys(Vec<u64>);

impl Keys {
    const BITS: u32 = 1 << 15;

    fn new() -> Self {
        Keys(vec![0; (Keys::BITS / u64::BITS) as usize])
    }

    fn add(&mut self, hash: u32) {
        let bit = hash % Keys::BITS;
        self.0[(bit / u64::BITS) as usize] |= 1 << (bit % u64::BITS);
    }

    fn has(&self, hash: u32) -> bool {
        let bit = hash % Keys::BITS;
        self.0[(bit / u64::BITS) as usize] & (1 << (bit % u64::BITS)) != 0
    }
}

/// The keys that steps of each role touch.
struct Touched {
    set: Keys,
    deleted: Keys,
    other: Keys,
}

impl Touched {
    fn new() -> Self {
        Touched { set: Keys::new(), deleted: Keys::new(), other: Keys::new() }
    }

    fn add(&mut self, op: &Op, window: &[u8]) {
        match (Role::of(op), op.reach) {
            (Role::Set(hash), _) => self.set.add(hash),
            (Role::Deletion(hash), _) => self.deleted.add(hash),
            (Role::Other, Reach::Set(hash) | Reach::Deletion(hash) | Reach::Key(hash)) => {
                self.other.add(hash)
            }
            // More than the keys is harmless here.
            (Role::Other, Reach::Arguments | Reach::All) => {
                Arguments::of(op.bytes(window)).for_each(|argument| self.other.add(key_hash(argument)));
            }
        }
    }

    fn clear(&mut self) {
        for keys in [&mut self.set, &mut self.deleted, &mut self.other] {
            keys.0.fill(0);
        }
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
    for op in &part.ops[steps.clone()] {
        touched.add(op, window);
    }
    let (mut sets, mut deletions) = (Vec::new(), Vec::new());
    for step in steps {
        // Steps of one role on a key keep their order, whether all of them are merged or none.
        match Role::of(&part.ops[step]) {
            Role::Set(hash) if !touched.other.has(hash) && !touched.deleted.has(hash) => {
                sets.push(step as u32)
            }
            Role::Deletion(hash) if !touched.other.has(hash) && !touched.set.has(hash) => {
                deletions.push(step as u32);
            }
            _ => sent.push(Sent::One(step as u32)),
        }
    }
    sent.extend(together(&sets, Sent::Sets));
    sent.extend(together(&deletions, Sent::Deletions));
}

fn together(steps: &[u32], merged: fn(Vec<u32>) -> Sent) -> impl Iterator<Item = Sent> {
    steps.chunks(KEYS_MAX).map(move |chunk| match chunk {
        [one] => Sent::One(*one),
        many => merged(many.to_vec()),
    })
}
