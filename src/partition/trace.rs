//! What is remembered of a window's commands, so that a later pass need look at few of them again.

use super::commands::{Running, Step, again, fetch};
use crate::command::Spec;
use crate::error::Result;
use crate::route::{Command, Routed};
use crate::source::Source;
use crate::survey::Surveyed;

/// Commands of a window that are gone through together.
const CHUNK: usize = 512;

/// Bytes of the source for each command that there is room for from the beginning; most commands are longer.
const COMMAND_BYTES: u64 = 64;
/// Commands that there is room for from the beginning at most: a large window may be one large value.
const COMMANDS_MAX: u64 = 1 << 18;
/// Stands for a step that is as long or longer.
const FAR: u8 = u8::MAX;

/// All commands of a window, five bytes for each that is short.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// For each the crc32 of its key, if that alone says where it goes; else 0.
    keys: Vec<u32>,
    /// For each how many bytes after the one before it starts, or [`FAR`].
    steps: Vec<u8>,
    /// How far those are.
    far: Vec<u32>,
    /// Where the last one starts.
    last: u32,
}

impl Trace {
    /// An empty one for a window of so many bytes.
    pub fn for_bytes(bytes: u64) -> Self {
        let commands = (bytes / COMMAND_BYTES).min(COMMANDS_MAX) as usize;
        Trace { keys: Vec::with_capacity(commands), steps: Vec::with_capacity(commands), ..Trace::default() }
    }

    /// Adds the next command; `key` is the crc32 of its key if that alone says where it goes. (One of 0 is as good as none.)
    #[inline]
    pub fn add(&mut self, step: &Step<'_>, key: Option<u32>) {
        let start = step.start as u32;
        let behind = start - self.last;
        self.last = start;
        self.keys.push(key.unwrap_or_default());
        match u8::try_from(behind) {
            Ok(step) if step != FAR => self.steps.push(step),
            _ => {
                self.steps.push(FAR);
                self.far.push(behind);
            }
        }
    }

    /// Number of commands.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

/// Does what [`scan`](super::scan) does, but passes over the commands with a key that is not `wanted`, by its crc32.
pub fn retrace<'s>(
    source: &'s Source,
    surveyed: &Surveyed,
    trace: &Trace,
    wanted: impl Fn(u32) -> bool,
    route: impl Fn(Option<&'static Spec>, &Command<'s>, bool) -> Routed,
    mut visit: impl FnMut(&Step<'s>),
) -> Result<()> {
    let bytes = surveyed.window.bytes(source);
    let mut state = Running::new(&surveyed.window);
    let (mut ordinal, mut start) = (surveyed.before, 0);
    let mut far = trace.far.iter();
    let mut some = Vec::with_capacity(CHUNK);
    for (keys, steps) in trace.keys.chunks(CHUNK).zip(trace.steps.chunks(CHUNK)) {
        some.clear();
        for (key, step) in keys.iter().zip(steps) {
            ordinal += 1;
            start += if *step == FAR { far.next().copied().unwrap_or_default() } else { u32::from(*step) };
            if *key == 0 || wanted(*key) {
                some.push((ordinal, start));
            }
        }
        fetch(bytes, some.iter().map(|(_, start)| *start));
        for (ordinal, start) in &some {
            let step = again(source, surveyed, *start, (state.db, state.transaction != 0, *ordinal), &route)?;
            visit(&step);
            if let Routed::State(change) = step.routed {
                state.change(change);
            }
        }
    }
    Ok(())
}
