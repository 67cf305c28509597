//! The keys: a few for every type on every shard, some with bytes that tools trip over.

/// What a key usually holds. Nothing enforces it: RENAME, COPY and wrong picks mix them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Bits,
    Sketch,
    List,
    Set,
    Hash,
    Sorted,
    Geo,
    Stream,
    /// A sorted set whose scores are all 0. Ranges by name over mixed scores depend on a skiplist's random levels: even
    /// two loads of one AOF differ. So these keys mix with no others.
    Lexical,
}

impl Kind {
    pub const ALL: [Self; 11] = [
        Self::Text,
        Self::Number,
        Self::Bits,
        Self::Sketch,
        Self::List,
        Self::Set,
        Self::Hash,
        Self::Sorted,
        Self::Geo,
        Self::Stream,
        Self::Lexical,
    ];
}

/// Put before some names.
const ODD: [&[u8]; 8] = [b"", b"a\r\nb", b"*3\r\n$3\r\n", b"$", b"\0", b"\xff\xfe ", b"{tag}", b"#TS:1\r\n"];

/// Key names by type, shard and number.
#[derive(Debug)]
pub(super) struct Keys {
    shards: usize,
    per_shard: usize,
    names: Vec<Vec<u8>>,
}

impl Keys {
    pub fn new(shards: usize, per_shard: usize) -> Self {
        assert!(shards > 0 && per_shard > 0, "there must be keys");
        let mut names = Vec::new();
        for kind in Kind::ALL {
            for shard in 0..shards {
                let mut found =
                    (0_usize..).map(|n| name(kind, n)).filter(|key| shard_of(key, shards) == shard);
                names.extend(found.by_ref().take(per_shard));
            }
        }
        // The empty key is valid, too. Its crc32 is 0, so it may stand in for the first text of shard 0.
        names[0] = Vec::new();
        Self { shards, per_shard, names }
    }

    pub fn get(&self, kind: Kind, shard: usize, nth: usize) -> &[u8] {
        let kind = Kind::ALL.iter().position(|one| *one == kind).expect("ALL holds all");
        &self.names[(kind * self.shards + shard) * self.per_shard + nth]
    }

    pub fn all(&self) -> Vec<Vec<u8>> {
        self.names.clone()
    }
}

fn name(kind: Kind, n: usize) -> Vec<u8> {
    [ODD[n % ODD.len()], format!("{kind:?}{n}").to_lowercase().as_bytes()].concat()
}

fn shard_of(key: &[u8], shards: usize) -> usize {
    crc32fast::hash(key) as usize % shards
}
