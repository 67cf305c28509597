//! The steps of lanes' parts, in memory that is used again.

use std::ops::Deref;
use std::sync::{Arc, Mutex};

use super::Op;

/// Memory of parts that are done with, for parts to come: to get it from the system each time costs a good part of
/// what filling it does. It holds as much as parts under way ever took together.
#[derive(Debug, Clone, Default)]
pub struct Spare(Arc<Mutex<Vec<Vec<Op>>>>);

impl Spare {
    /// No steps, with room for so many.
    pub(super) fn ops(&self, room: usize) -> Ops {
        let mut list = self.0.lock().ok().and_then(|mut lists| lists.pop()).unwrap_or_default();
        list.clear();
        list.reserve(room);
        Ops { list, spare: self.clone() }
    }
}

/// The steps of a part, in order.
#[derive(Debug)]
pub struct Ops {
    list: Vec<Op>,
    spare: Spare,
}

impl Ops {
    #[inline]
    pub(super) fn push(&mut self, op: Op) {
        self.list.push(op);
    }
}

impl Deref for Ops {
    type Target = [Op];

    #[inline]
    fn deref(&self) -> &[Op] {
        &self.list
    }
}

impl Drop for Ops {
    fn drop(&mut self) {
        if let Ok(mut lists) = self.spare.0.lock() {
            lists.push(std::mem::take(&mut self.list));
        }
    }
}
