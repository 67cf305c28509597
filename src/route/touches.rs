//! Knows, in constant memory, of most commands whether they are the last to touch their key.

use std::sync::atomic::{AtomicU32, Ordering};

/// Most slots, of 4 bytes each: 64 MiB.
const SLOTS_MAX: u64 = 1 << 24;
/// Slots for each command, so that few keys share one, as long as there are not too many.
const SLOTS_PER_COMMAND: u64 = 16;

/// For each slot the highest number of a command that touches a key of that slot.
///
/// Keys share slots, so a command may be taken for not the last one on its key though it is; never
/// the other way round.
#[derive(Debug)]
pub struct Touches {
    slots: Vec<AtomicU32>,
    /// The highest number of a command that may touch any key.
    any: AtomicU32,
}

impl Touches {
    /// Knows nothing yet, of a source with this many commands.
    pub fn new(commands: u64) -> Self {
        let count = commands.saturating_mul(SLOTS_PER_COMMAND).clamp(1, SLOTS_MAX).next_power_of_two();
        let mut slots = Vec::new();
        slots.resize_with(count as usize, AtomicU32::default);
        Touches { slots, any: AtomicU32::new(0) }
    }

    /// Command number `ordinal` touches the key of crc32 `hash` in database `db`.
    #[inline]
    pub fn key(&self, db: u32, hash: u32, ordinal: u64) {
        self.slots[self.slot(db, hash)].fetch_max(short(ordinal), Ordering::Relaxed);
    }

    /// Command number `ordinal` may touch any key.
    pub fn any(&self, ordinal: u64) {
        self.any.fetch_max(short(ordinal), Ordering::Relaxed);
    }

    /// Whether certainly no command after number `ordinal` touches the key.
    #[inline]
    pub fn is_last(&self, db: u32, hash: u32, ordinal: u64) -> bool {
        let ordinal = short(ordinal);
        // Numbers that do not fit count as one, of which none is the last.
        ordinal < u32::MAX
            && self.any.load(Ordering::Relaxed) <= ordinal
            && self.slots[self.slot(db, hash)].load(Ordering::Relaxed) == ordinal
    }

    #[inline]
    fn slot(&self, db: u32, hash: u32) -> usize {
        (hash ^ db.wrapping_mul(0x9e37_79b1)) as usize & (self.slots.len() - 1)
    }
}

fn short(ordinal: u64) -> u32 {
    u32::try_from(ordinal).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_touch_counts() {
        let touches = Touches::new(10);
        touches.key(0, 7, 1);
        touches.key(0, 7, 3);
        touches.key(1, 7, 2);
        assert!(!touches.is_last(0, 7, 1));
        assert!(touches.is_last(0, 7, 3));
        assert!(touches.is_last(1, 7, 2));
        touches.any(2);
        assert!(!touches.is_last(1, 7, 1));
        assert!(touches.is_last(1, 7, 2) && touches.is_last(0, 7, 3));
        touches.any(4);
        assert!(!touches.is_last(0, 7, 3));
        touches.key(0, 9, u64::from(u32::MAX) + 5);
        assert!(!touches.is_last(0, 9, u64::from(u32::MAX) + 5));
    }
}
