//! Follows the lives of names through the source, joins those that are tied together, and gives each group a home.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use rayon::prelude::*;

use super::events::{Events, Named, What};
use super::{Foreign, Placing, Span};
use crate::route::Routing;
use crate::route::homes::{ByName, Databases, Homes, KeyHasher, NameHash, Stay, named};

/// No life.
const NONE: u32 = u32::MAX;
/// Lives of several lanes in one group, before it has a home.
const MIXED: u16 = u16::MAX;
/// A life that has not ended.
const OPEN: u64 = u64::MAX;

/// About what a name takes until all is placed, in bytes, with what tables have in reserve when they have just grown and
/// with what placing itself takes.
const NAME_BYTES: u64 = 160;
/// The same for each of its lives that is tied to another.
const LIFE_BYTES: u64 = 128;
/// The same for a database that a SWAPDB has given another number.
const SWAP_BYTES: u64 = 64;

/// A name that some command ties to another.
#[derive(Debug)]
struct Tied {
    name: NameHash,
    crc: u32,
    /// Where it lies, by the database's number at the start of the source.
    database: u32,
    span: Span,
    /// The command after which its present life begins, unless a flush came later.
    since: u64,
    /// The last of its lives that is tied to another.
    life: u32,
}

/// A life that is tied to another: a node of a union-find forest.
#[derive(Debug)]
struct Life {
    /// Another life of the same group, or itself.
    parent: u32,
    /// Index of its name.
    name: u32,
    /// Number of its first command.
    from: u64,
    /// Number of its last one.
    to: u64,
    /// For the root of a group: the lane that all lives of it belong to, [`MIXED`], or in the end its home.
    lane: u16,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Lives<'r> {
    routing: &'r Routing,
    hasher: KeyHasher,
    index: ByName<u32>,
    names: Vec<Tied>,
    lives: Vec<Life>,
    databases: Databases,
    swaps: Vec<(u64, Databases)>,
    swap_bytes: u64,
    /// The last command that emptied all databases; and for each database the last that emptied it.
    flushed_all: u64,
    flushed: BTreeMap<u32, u64>,
}

impl<'r> Lives<'r> {
    /// At the start of the source.
    pub(super) fn new(routing: &'r Routing) -> Self {
        Lives {
            routing,
            hasher: KeyHasher::random(),
            index: ByName::default(),
            names: Vec::new(),
            lives: Vec::new(),
            databases: Databases::default(),
            swaps: Vec::new(),
            swap_bytes: 0,
            flushed_all: 0,
            flushed: BTreeMap::new(),
        }
    }

    /// What hashes keys for this.
    pub(super) fn hasher(&self) -> KeyHasher {
        self.hasher
    }

    /// About the memory that all of it takes.
    pub(super) fn bytes(&self) -> u64 {
        self.names.len() as u64 * NAME_BYTES + self.lives.len() as u64 * LIFE_BYTES + self.swap_bytes
    }

    /// Follows the events of the next window; false if that takes more memory than `bytes_max`.
    pub(super) fn follow(&mut self, events: &Events, bytes_max: u64) -> bool {
        let mut rest = events.names.as_slice();
        for (at, what) in &events.list {
            let takes = match what {
                What::Ties { names, .. } => *names as usize,
                What::Ends => 1,
                What::Flushes(_) | What::Swaps(..) => 0,
            };
            let (names, behind) = rest.split_at(takes);
            rest = behind;
            self.step(*at, *what, names);
            // Each of them may take as much as all databases do.
            if matches!(what, What::Swaps(..)) && self.bytes() > bytes_max {
                return false;
            }
        }
        self.bytes() <= bytes_max
    }

    fn step(&mut self, at: u64, what: What, names: &[Named]) {
        match what {
            What::Ties { moves, .. } => {
                let Some((first, others)) = names.split_first() else { return };
                let (name, life) = self.present_life(first);
                for other in others {
                    let (_, other) = self.present_life(other);
                    self.join(life, other);
                }
                if moves {
                    self.end(name, at);
                }
            }
            What::Ends => {
                // A name that nothing has tied so far may go on: its lives are as good as one.
                let known = names.first().and_then(|name| self.index.get(&self.name(name)));
                if let Some(name) = known.copied() {
                    self.end(name, at);
                }
            }
            What::Flushes(None) => self.flushed_all = at,
            What::Flushes(Some(db)) => {
                self.flushed.insert(self.databases.behind(db), at);
            }
            What::Swaps(one, other) => {
                self.databases.swap(one, other);
                self.swap_bytes += self.databases.len() as u64 * SWAP_BYTES;
                self.swaps.push((at, self.databases.clone()));
            }
        }
    }

    fn name(&self, name: &Named) -> NameHash {
        named(name.key, self.databases.behind(name.db))
    }

    /// The last command that emptied a database.
    fn flushed(&self, database: u32) -> u64 {
        self.flushed.get(&database).copied().unwrap_or(0).max(self.flushed_all)
    }

    /// A name's index, and its present life.
    fn present_life(&mut self, given: &Named) -> (u32, u32) {
        let (name, database) = (self.name(given), self.databases.behind(given.db));
        let next = self.names.len() as u32;
        let index = *self.index.entry(name).or_insert(next);
        if index == next {
            let Named { crc, span, .. } = *given;
            self.names.push(Tied { name, crc, database, span, since: 0, life: NONE });
        }
        let since = self.names[index as usize].since.max(self.flushed(database));
        let last = self.names[index as usize].life;
        if last != NONE && self.lives[last as usize].from > since {
            return (index, last);
        }
        let life = self.lives.len() as u32;
        let lane = self.routing.own_lane(given.crc) as u16;
        self.lives.push(Life { parent: life, name: index, from: since + 1, to: OPEN, lane });
        self.names[index as usize].life = life;
        (index, life)
    }

    fn end(&mut self, name: u32, at: u64) {
        let name = &mut self.names[name as usize];
        if let Some(life) = self.lives.get_mut(name.life as usize).filter(|life| life.to == OPEN) {
            life.to = at;
        }
        name.since = at;
    }

    fn root(&mut self, mut life: u32) -> u32 {
        while self.lives[life as usize].parent != life {
            let above = self.lives[life as usize].parent;
            self.lives[life as usize].parent = self.lives[above as usize].parent;
            life = above;
        }
        life
    }

    fn join(&mut self, one: u32, other: u32) {
        let (one, other) = (self.root(one), self.root(other));
        if one == other {
            return;
        }
        // The older one stays on top: chains of renames then grow no deep trees.
        let (top, below) = (one.min(other), one.max(other));
        if self.lives[top as usize].lane != self.lives[below as usize].lane {
            self.lives[top as usize].lane = MIXED;
        }
        self.lives[below as usize].parent = top;
    }

    /// Gives every group a home, at the end of the source.
    pub(super) fn place(mut self, is_directory: &[bool]) -> (Homes, Placing) {
        for life in 0..self.lives.len() {
            let Life { name, from, to, .. } = self.lives[life];
            let flushed = self.flushed(self.names[name as usize].database);
            if to == OPEN && from <= flushed {
                self.lives[life].to = flushed;
            }
        }
        let mut placing = self.give_homes(is_directory);
        let homes = self.table(&mut placing.foreign);
        (homes, placing)
    }

    fn own_lane(&self, life: u32) -> u16 {
        let name = self.lives[life as usize].name;
        self.routing.own_lane(self.names[name as usize].crc) as u16
    }

    /// Finds a home for every group of several lanes.
    fn give_homes(&mut self, is_directory: &[bool]) -> Placing {
        let mut groups = Vec::with_capacity(self.lives.len());
        for life in 0..self.lives.len() as u32 {
            let root = self.root(life);
            groups.push(if self.lives[root as usize].lane == MIXED { root } else { NONE });
        }
        let order = by_group(&groups, self.lives.len());
        let mut placing = Placing::default();
        // For each life of a group its own lane, and whether it lasts.
        let mut votes: Vec<(u16, bool)> = Vec::new();
        for group in order.chunk_by(|one, other| groups[*one as usize] == groups[*other as usize]) {
            votes.clear();
            votes.extend(
                group.iter().map(|life| (self.own_lane(*life), self.lives[*life as usize].to == OPEN)),
            );
            votes.sort_unstable();
            placing.groups += 1;
            placing.largest = placing.largest.max(group.len() as u64);
            let scratch = votes.iter().any(|vote| is_directory.get(usize::from(vote.0)) == Some(&true));
            placing.needs_scratch += u64::from(scratch);
            let home = if scratch { is_directory.len() as u16 } else { elected(&votes) };
            self.lives[groups[group[0] as usize] as usize].lane = home;
        }
        placing
    }

    /// The homes for routing; adds what is foreign at the end.
    fn table(mut self, foreign: &mut Vec<Foreign>) -> Homes {
        // By name, then by time; only names that are once away from their own lane.
        let mut away = vec![false; self.names.len()];
        let mut home_of = Vec::with_capacity(self.lives.len());
        for life in 0..self.lives.len() as u32 {
            let root = self.root(life);
            let home = self.lives[root as usize].lane;
            let is_away = home != self.own_lane(life);
            away[self.lives[life as usize].name as usize] |= is_away;
            home_of.push(is_away.then_some(home));
        }
        let listed = |life: &Life| if away[life.name as usize] { life.name } else { NONE };
        // Lives stand in the order in which they began.
        let order = by_group(&self.lives.iter().map(listed).collect::<Vec<_>>(), self.names.len());
        let mut homes =
            Homes::new(self.hasher, std::mem::take(&mut self.swaps), away.iter().filter(|is| **is).count());
        for lives in
            order.chunk_by(|one, other| self.lives[*one as usize].name == self.lives[*other as usize].name)
        {
            let name = &self.names[self.lives[lives[0] as usize].name as usize];
            let mut stays = Vec::with_capacity(lives.len());
            for (at, life) in lives.iter().enumerate() {
                let Life { from, to, .. } = self.lives[*life as usize];
                let lane = home_of[*life as usize];
                stays.push(Stay { from, lane, lasts: to == OPEN });
                let next = lives.get(at + 1).map(|next| self.lives[*next as usize].from);
                if to != OPEN && next.is_none_or(|next| next > to + 1) {
                    // What comes next is tied to nothing.
                    stays.push(Stay { from: to + 1, lane: None, lasts: true });
                }
                if let (OPEN, Some(home)) = (to, lane) {
                    let db = self.databases.number_of(name.database);
                    let own = self.routing.own_lane(name.crc) as u16;
                    foreign.push(Foreign { db, key: name.span, home, own });
                }
            }
            homes.add(name.name, name.crc, stays);
        }
        foreign.par_sort_unstable_by_key(|one| (one.home, one.db, one.key.segment, one.key.offset));
        homes
    }
}

/// The indexes of `group_of` that have a group, not [`NONE`], one group after the other; those of one group in their order.
fn by_group(group_of: &[u32], groups: usize) -> Vec<u32> {
    let members = || group_of.iter().enumerate().filter(|(_, group)| **group != NONE);
    let mut next = vec![0u32; groups + 1];
    members().for_each(|(_, group)| next[*group as usize + 1] += 1);
    for group in 0..groups {
        next[group + 1] += next[group];
    }
    let mut order = vec![0; next[groups] as usize];
    for (index, group) in members() {
        let at = &mut next[*group as usize];
        order[*at as usize] = index as u32;
        *at += 1;
    }
    order
}

/// The lane to which most of the lives that last belong; else most of all lives; else the lowest. `votes`, each a lane
/// and whether the life lasts, are sorted.
fn elected(votes: &[(u16, bool)]) -> u16 {
    let lanes = votes.chunk_by(|one, other| one.0 == other.0);
    let rank =
        |lane: &[(u16, bool)]| (lane.iter().filter(|vote| vote.1).count(), lane.len(), Reverse(lane[0].0));
    lanes.max_by_key(|lane| rank(lane)).map_or(0, |lane| lane[0].0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of them is remembered with all databases, so a window of them may take any amount.
    #[test]
    fn swaps_are_bounded_one_by_one() {
        const BYTES_MAX: u64 = 1 << 20;
        let routing = Routing::new(2);
        let mut lives = Lives::new(&routing);
        let list = (0..1_000_000).map(|n| (u64::from(n), What::Swaps(2 * n, 2 * n + 1))).collect();
        assert!(!lives.follow(&Events { list, names: Vec::new() }, BYTES_MAX));
        assert!(lives.bytes() < 2 * BYTES_MAX, "{} bytes", lives.bytes());
        let list = vec![(0, What::Swaps(0, 1)), (1, What::Swaps(1, 2))];
        assert!(Lives::new(&routing).follow(&Events { list, names: Vec::new() }, BYTES_MAX));
    }
}
