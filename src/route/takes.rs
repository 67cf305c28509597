//! What a live target can be given.

use crate::rdb::{Kind, Product};

/// What a live target can be given as a value of an RDB part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Takes {
    /// The RDB version that it writes itself, and whose kinds of value it knows.
    pub rdb_version: u16,
    /// Whose kinds of value it knows past the versions that both have in common.
    pub product: Product,
    /// The longest argument of a command that it takes, in bytes (`proto-max-bulk-len`).
    pub argument_bytes_max: u64,
}

impl Takes {
    /// A target that is not looked at, taken for the latest of the product that wrote the source.
    pub fn anything(product: Product) -> Takes {
        Takes { rdb_version: u16::MAX, product, argument_bytes_max: 512 << 20 }
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
        let takes = |rdb_version, product| Takes { rdb_version, product, argument_bytes_max: 0 };
        let (redis_7_0, redis_8_0) = (takes(10, Product::Redis), takes(12, Product::Redis));
        let (valkey_8_1, valkey_9_0) = (takes(11, Product::Redis), takes(80, Product::Valkey));
        assert!(redis_7_0.kind(Kind::Stream2) && !redis_7_0.kind(Kind::Stream3));
        assert!(redis_8_0.kind(Kind::HashFields) && !redis_8_0.kind(Kind::HashFieldsValkey));
        assert!(valkey_8_1.kind(Kind::SetListpack) && !valkey_8_1.kind(Kind::HashFields));
        assert!(valkey_9_0.kind(Kind::HashFieldsValkey) && !valkey_9_0.kind(Kind::HashFieldsListpack));
    }
}
