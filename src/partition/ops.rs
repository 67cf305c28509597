//! The steps of lanes' parts, in memory that is used again.

use std::ops::Deref;
use std::sync::{Arc, Mutex};

use super::Op;

/// Memory of parts that are done with, for parts to come: to get it from the system each time costs a good part of
/// what filling it does. Only what was filled by half or more is kept: where one lane gets most of a source, the large
/// memory of its parts would in time come to all the others, which have no use for it.
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
        if self.list.len() < self.list.capacity() / 2 {
            return;
        }
        if let Ok(mut lists) = self.spare.0.lock() {
            lists.push(std::mem::take(&mut self.list));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::Action;
    use crate::route::Reach;

    const OP: Op =
        Op { start: 0, len: 0, transaction: 0, reach: Reach::All, action: Action::Select, sort: 0 };

    fn filled(spare: &Spare, room: usize, steps: usize) -> Ops {
        let mut ops = spare.ops(room);
        assert!(ops.is_empty());
        (0..steps).for_each(|_| ops.push(OP));
        ops
    }

    /// One lane gets nearly all, as where one group of tied names is most of a source.
    #[test]
    fn memory_of_a_large_part_does_not_stay_with_small_ones() {
        let spare = Spare::default();
        for round in 0..100 {
            let steps = |part| if part == round % 20 { 10_000 } else { 9 };
            let under_way: Vec<Ops> = (0..20).map(|part| filled(&spare, 16, steps(part))).collect();
            drop(under_way);
        }
        let kept: usize = spare.0.lock().expect("nobody panicked").iter().map(Vec::capacity).sum();
        assert!((10_000..40_000).contains(&kept), "{kept} steps");
    }
}
