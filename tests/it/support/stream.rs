//! A stream in a form that can be compared: entries, ids, counters, groups, pending entries.
//!
//! A consumer's seen and active times are the server's clock at load time on both sides and left out; a pending
//! entry's delivery time comes from the AOF (`XCLAIM ... TIME`) and is compared.

use super::wire::{bytes, field, int, items, text};
use redis::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What XRANGE and XINFO STREAM FULL tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    entries: Vec<(String, Vec<Vec<u8>>)>,
    /// Last id, counters and the like, by XINFO's names; older servers tell fewer.
    meta: BTreeMap<String, String>,
    groups: BTreeMap<Vec<u8>, Group>,
}

#[derive(Clone, Debug, PartialEq)]
struct Group {
    last_delivered: String,
    /// `None`: the server does not tell. It may tell that it does not know, which is state as well.
    entries_read: Option<String>,
    pending: BTreeSet<Pending>,
    /// A consumer without pending entries is state too.
    consumers: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pending {
    id: String,
    consumer: String,
    delivered_ms: i64,
    deliveries: i64,
}

const META: [&str; 4] =
    ["last-generated-id", "max-deleted-entry-id", "entries-added", "recorded-first-entry-id"];

impl Stream {
    /// From the replies to `XRANGE k - +` and `XINFO STREAM k FULL COUNT 0`.
    pub fn of(range: &Value, info: &Value) -> Self {
        let entries = items(range).iter().map(|entry| {
            let entry = items(entry);
            (text(&entry[0]), items(&entry[1]).iter().map(bytes).collect())
        });
        let meta = META.iter().filter_map(|name| Some(((*name).to_owned(), text(field(info, name)?))));
        let groups = field(info, "groups").map_or(&[][..], items).iter();
        Self {
            entries: entries.collect(),
            meta: meta.collect(),
            groups: groups
                .map(|group| (bytes(field(group, "name").expect("a group has a name")), read_group(group)))
                .collect(),
        }
    }

    /// Entries that were delivered after `since_ms` all count as delivered then: the time is the clock's.
    pub fn forget_deliveries_after(&mut self, since_ms: i64) {
        for group in self.groups.values_mut() {
            let steady = |mut one: Pending| {
                one.delivered_ms = one.delivered_ms.min(since_ms);
                one
            };
            group.pending = std::mem::take(&mut group.pending).into_iter().map(steady).collect();
        }
    }

    /// What differs, in words; empty when nothing does. Facts that only one server version tells are passed over.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        if self.entries != other.entries {
            let at = self.entries.iter().zip(&other.entries).take_while(|(a, b)| a == b).count();
            let (ours, theirs) = (self.entries.get(at), other.entries.get(at));
            let lengths = format!("{} vs {}", self.entries.len(), other.entries.len());
            found.push(format!("entries {lengths}, the first that differs is #{at}: {ours:?} vs {theirs:?}"));
        }
        for (name, ours) in &self.meta {
            if let Some(theirs) = other.meta.get(name).filter(|theirs| *theirs != ours) {
                found.push(format!("{name}: {ours} vs {theirs}"));
            }
        }
        let names: BTreeSet<_> = self.groups.keys().chain(other.groups.keys()).collect();
        for name in names {
            let (ours, theirs) = (self.groups.get(name), other.groups.get(name));
            if !same_group(ours, theirs) {
                found.push(format!("group \"{}\": {ours:?} vs {theirs:?}", name.escape_ascii()));
            }
        }
        found
    }
}

fn same_group(ours: Option<&Group>, theirs: Option<&Group>) -> bool {
    let (Some(ours), Some(theirs)) = (ours, theirs) else { return false };
    let tells_both = ours.entries_read.is_some() && theirs.entries_read.is_some();
    ours.last_delivered == theirs.last_delivered
        && ours.pending == theirs.pending
        && ours.consumers == theirs.consumers
        && (!tells_both || ours.entries_read == theirs.entries_read)
}

fn read_group(group: &Value) -> Group {
    let pending = field(group, "pel").or_else(|| field(group, "pending"));
    let consumers = field(group, "consumers").map_or(&[][..], items).iter();
    Group {
        last_delivered: text(field(group, "last-delivered-id").expect("a group has a last id")),
        entries_read: field(group, "entries-read").map(|count| format!("{:?}", int(count))),
        pending: pending.map_or(&[][..], items).iter().map(read_pending).collect(),
        consumers: consumers.map(|one| shown(field(one, "name").expect("a consumer has a name"))).collect(),
    }
}

fn read_pending(entry: &Value) -> Pending {
    let parts = items(entry);
    Pending {
        id: text(&parts[0]),
        consumer: shown(&parts[1]),
        delivered_ms: int(&parts[2]).expect("a delivery has a time"),
        deliveries: int(&parts[3]).expect("a delivery is counted"),
    }
}

/// A name with its odd bytes escaped: as telling as the bytes, and fit to print.
fn shown(name: &Value) -> String {
    bytes(name).escape_ascii().to_string()
}
