//! The steps of lanes' parts, in memory that is used again.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use super::Op;

/// Memory of parts that are done with, for parts of the same lane to come: to get it from the system each time costs a
/// good part of what filling it does. Each lane has its own, and what was filled by less than half is not kept: where one
/// lane gets most of a source, the large memory of its parts would in time come to all the others.
#[derive(Debug, Clone, Default)]
pub struct Spare(Arc<Mutex<BTreeMap<usize, Vec<Vec<Op>>>>>);

impl Spare {
    /// No steps of a lane, with room for so many.
    pub(super) fn ops(&self, lane: usize, room: usize) -> Ops {
        let mut lanes = self.0.lock().ok();
        let mut list = lanes.as_mut().and_then(|lanes| lanes.get_mut(&lane)?.pop()).unwrap_or_default();
        drop(lanes);
        list.clear();
        list.reserve(room);
        Ops { lane, list, spare: self.clone() }
    }
}

/// The steps of a part, in order.
#[derive(Debug)]
pub struct Ops {
    lane: usize,
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
        if let Ok(mut lanes) = self.spare.0.lock() {
            lanes.entry(self.lane).or_default().push(std::mem::take(&mut self.list));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::Action;
    use crate::route::Reach;

    const OP: Op = Op { start: 0, len: 0, transaction: 0, reach: Reach::All, action: Action::Select, row: 0 };

    fn filled(spare: &Spare, lane: usize, steps: usize) -> Ops {
        let mut ops = spare.ops(lane, 16);
        assert!(ops.is_empty());
        (0..steps).for_each(|_| ops.push(OP));
        ops
    }

    fn kept(spare: &Spare) -> usize {
        let lanes = spare.0.lock().expect("nobody panicked");
        lanes.values().flatten().map(Vec::capacity).sum()
    }

    /// As where one group of tied names is most of a source.
    #[test]
    fn memory_of_the_lane_that_gets_most_stays_with_it() {
        let spare = Spare::default();
        for _ in 0..100 {
            let under_way: Vec<Ops> =
                (0..20).map(|lane| filled(&spare, lane, if lane == 7 { 10_000 } else { 9 })).collect();
            assert!(under_way.iter().all(|ops| ops.lane == 7 || ops.list.capacity() < 100));
        }
        assert!((10_000..20_000).contains(&kept(&spare)), "{} steps", kept(&spare));
    }

    /// As where the keys of one lane come after those of another.
    #[test]
    fn memory_that_is_too_large_is_not_kept() {
        let spare = Spare::default();
        for round in 0..100 {
            let steps = |lane| if lane == round % 20 { 10_000 } else { 9 };
            let under_way: Vec<Ops> = (0..20).map(|lane| filled(&spare, lane, steps(lane))).collect();
            drop(under_way);
        }
        assert!((10_000..40_000).contains(&kept(&spare)), "{} steps", kept(&spare));
    }
}
