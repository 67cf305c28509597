//! What a live target can be given.

use crate::command::since::{self, Newer, Release};
use crate::rdb::{Kind, Product};

/// The last RDB version that Redis and Valkey have in common.
const SHARED_VERSION_MAX: u16 = 11;
/// The first RDB version of Valkey's own.
const VALKEY_VERSION_MIN: u16 = 80;

/// What a live target can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Takes {
    /// The RDB version that it writes itself, and whose kinds of value it knows.
    pub rdb_version: u16,
    /// Whose kinds of value it knows past the versions that both have in common.
    pub product: Product,
    /// The version of Redis whose commands it knows.
    pub redis: Release,
    /// Its version of Valkey; all zero if it is none.
    pub valkey: Release,
    /// The longest argument of a command that it takes, in bytes (`proto-max-bulk-len`).
    pub argument_bytes_max: u64,
}

impl Takes {
    /// A target that is not looked at, taken for the latest of the product that wrote the source.
    pub fn anything(product: Product) -> Takes {
        let latest = (u32::MAX, u32::MAX);
        Takes { rdb_version: u16::MAX, product, redis: latest, valkey: latest, argument_bytes_max: 512 << 20 }
    }

    /// Whether it knows this.
    pub fn knows(self, newer: &Newer) -> bool {
        self.redis >= newer.redis || self.valkey >= newer.valkey
    }

    /// Whether it has functions.
    pub fn functions(self) -> bool {
        self.knows(since::FUNCTIONS)
    }

    /// Whether RESTORE takes payloads of this RDB version (`verifyDumpPayload`, cluster.c). Valkey 9 refuses those of
    /// Redis versions that it does not share.
    pub fn payload(self, version: u16) -> bool {
        version <= self.rdb_version.min(SHARED_VERSION_MAX)
            || (version <= self.rdb_version
                && (self.product == Product::Redis || version >= VALKEY_VERSION_MIN))
    }

    /// Whether RESTORE takes values of this kind.
    pub fn kind(self, kind: Kind) -> bool {
        let known = kind.oldest_version() <= self.rdb_version;
        match kind {
            Kind::HashFieldsValkey => known && self.product == Product::Valkey,
            kind if kind.has_field_deadlines() => known && self.product == Product::Redis,
            _ => known,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_take_what_they_write() {
        let takes = |rdb_version, product| Takes { rdb_version, ..Takes::anything(product) };
        let redis_6_2 = takes(9, Product::Redis);
        assert!(redis_6_2.kind(Kind::ListQuicklist) && redis_6_2.kind(Kind::Stream));
        assert!(!redis_6_2.kind(Kind::HashListpack) && !redis_6_2.kind(Kind::ListQuicklist2));
        let (redis_7_0, redis_8_0) = (takes(10, Product::Redis), takes(12, Product::Redis));
        let (valkey_8_1, valkey_9_0) = (takes(11, Product::Redis), takes(80, Product::Valkey));
        assert!(redis_7_0.kind(Kind::Stream2) && !redis_7_0.kind(Kind::Stream3));
        assert!(redis_8_0.kind(Kind::HashFields) && !redis_8_0.kind(Kind::HashFieldsValkey));
        assert!(valkey_8_1.kind(Kind::SetListpack) && !valkey_8_1.kind(Kind::HashFields));
        assert!(valkey_9_0.kind(Kind::HashFieldsValkey) && !valkey_9_0.kind(Kind::HashFieldsListpack));
        for (takes, accepted, refused) in [
            (redis_6_2, 9, 10),
            (redis_8_0, 12, 13),
            (valkey_8_1, 11, 12),
            (valkey_9_0, 11, 12),
            (valkey_9_0, 80, 81),
        ] {
            assert!(takes.payload(accepted) && !takes.payload(refused), "{takes:?}");
        }
    }

    #[test]
    fn functions_are_known_from_7_0_on() {
        let takes = |redis, valkey| Takes { redis, valkey, ..Takes::anything(Product::Redis) };
        assert!(!takes((6, 2), (0, 0)).functions());
        assert!(takes((7, 0), (0, 0)).functions() && takes((7, 2), (8, 1)).functions());
    }
}
