//! The types of value: their bytes in the file, their names, and since when they exist (rdb.h).

use super::header::Product;

/// How a value is stored: its Redis type and the encoding, each a type byte of the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A string.
    String,
    /// A list, element by element.
    List,
    /// A set, member by member.
    Set,
    /// A sorted set, member by member, scores as decimal text.
    SortedSet,
    /// A hash, field by field.
    Hash,
    /// A sorted set, member by member, scores as binary doubles.
    SortedSet2,
    /// A value of a module.
    Module,
    /// A hash in one zipmap.
    HashZipmap,
    /// A list in one ziplist.
    ListZiplist,
    /// A set of integers.
    SetIntset,
    /// A sorted set in one ziplist.
    SortedSetZiplist,
    /// A hash in one ziplist.
    HashZiplist,
    /// A list of ziplists.
    ListQuicklist,
    /// A stream.
    Stream,
    /// A hash in one listpack.
    HashListpack,
    /// A sorted set in one listpack.
    SortedSetListpack,
    /// A list of listpacks and large elements.
    ListQuicklist2,
    /// A stream with its first id, highest deleted id and count of entries added.
    Stream2,
    /// A set in one listpack.
    SetListpack,
    /// A stream with the active times of consumers too.
    Stream3,
    /// A hash with field deadlines as release candidates of Redis 7.4 wrote it.
    HashFieldsEarly,
    /// A hash with field deadlines in one listpack as release candidates of Redis 7.4 wrote it.
    HashFieldsListpackEarly,
    /// A hash with field deadlines, relative to the earliest.
    HashFields,
    /// A hash with field deadlines in one listpack.
    HashFieldsListpack,
    /// A hash with field deadlines of Valkey.
    HashFieldsValkey,
}

/// Type byte, the lowest RDB version that knows it (6 at least, the first that RESTORE accepts), name.
#[rustfmt::skip]
const TABLE: [(Kind, u8, u16, &str); 25] = [
    (Kind::String,                   0,  6, "string"),
    (Kind::List,                     1,  6, "list"),
    (Kind::Set,                      2,  6, "set"),
    (Kind::SortedSet,                3,  6, "sorted set (text scores)"),
    (Kind::Hash,                     4,  6, "hash"),
    (Kind::SortedSet2,               5,  8, "sorted set"),
    (Kind::Module,                   7,  8, "module value"),
    (Kind::HashZipmap,               9,  6, "hash (zipmap)"),
    (Kind::ListZiplist,              10, 6, "list (ziplist)"),
    (Kind::SetIntset,                11, 6, "set (intset)"),
    (Kind::SortedSetZiplist,         12, 6, "sorted set (ziplist)"),
    (Kind::HashZiplist,              13, 6, "hash (ziplist)"),
    (Kind::ListQuicklist,            14, 7, "list (quicklist of ziplists)"),
    (Kind::Stream,                   15, 9, "stream"),
    (Kind::HashListpack,             16, 10, "hash (listpack)"),
    (Kind::SortedSetListpack,        17, 10, "sorted set (listpack)"),
    (Kind::ListQuicklist2,           18, 10, "list (quicklist)"),
    (Kind::Stream2,                  19, 10, "stream (version 2)"),
    (Kind::SetListpack,              20, 11, "set (listpack)"),
    (Kind::Stream3,                  21, 11, "stream (version 3)"),
    (Kind::HashFieldsEarly,          22, 12, "hash with field deadlines (Redis 7.4 release candidate)"),
    (Kind::HashFieldsListpackEarly,  23, 12, "hash with field deadlines (listpack, Redis 7.4 release candidate)"),
    (Kind::HashFields,               24, 12, "hash with field deadlines"),
    (Kind::HashFieldsListpack,       25, 12, "hash with field deadlines (listpack)"),
    (Kind::HashFieldsValkey,         22, 80, "hash with field deadlines (Valkey)"),
];

impl Kind {
    /// The kind with this type byte, or what is known of a byte that has none here.
    #[inline]
    pub fn from_byte(byte: u8, product: Product) -> Result<Kind, &'static str> {
        let row = match (byte, product) {
            (0..=5, _) => usize::from(byte),
            (7, _) => 6,
            (9..=21, _) => usize::from(byte) - 2,
            (22, Product::Valkey) => 24,
            (22..=25, Product::Redis) => usize::from(byte) - 2,
            (6, _) => return Err("a module value of a Redis 4.0 release candidate"),
            (26..=33, Product::Redis) => return Err("a type of value of Redis 8.6 or later"),
            _ => return Err("an unknown type of value or opcode"),
        };
        TABLE.get(row).map(|row| row.0).ok_or("an unknown type of value or opcode")
    }

    fn row(self) -> &'static (Kind, u8, u16, &'static str) {
        &TABLE[self as usize]
    }

    /// The byte that stands before such a value.
    pub fn type_byte(self) -> u8 {
        self.row().1
    }

    /// The lowest RDB version that has this kind and that RESTORE takes: the more servers accept a
    /// payload the lower its version, since they compare it with their own only (`verifyDumpPayload`,
    /// cluster.c).
    pub fn oldest_version(self) -> u16 {
        self.row().2
    }

    /// Its name for messages.
    pub fn name(self) -> &'static str {
        self.row().3
    }

    /// Whether such a value can be taken apart for servers that do not know its kind. A stream stays one of its kind.
    pub fn is_divisible(self) -> bool {
        !matches!(self, Kind::Module | Kind::Stream | Kind::Stream2 | Kind::Stream3)
    }

    /// Whether the fields of such a hash can have deadlines of their own.
    pub fn has_field_deadlines(self) -> bool {
        self as usize >= Kind::HashFieldsEarly as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_kinds() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, index, "{}", row.3);
            let product = if row.2 == 80 { Product::Valkey } else { Product::Redis };
            assert_eq!(Kind::from_byte(row.1, product), Ok(row.0));
        }
    }

    #[test]
    fn unknown_bytes_are_refused() {
        for byte in [6, 8, 26, 33, 34, 200, 242, 255] {
            assert!(Kind::from_byte(byte, Product::Redis).is_err(), "{byte}");
        }
        for byte in [23, 24, 25, 26] {
            assert!(Kind::from_byte(byte, Product::Valkey).is_err(), "{byte}");
        }
        assert_eq!(Kind::from_byte(22, Product::Valkey), Ok(Kind::HashFieldsValkey));
        assert_eq!(Kind::from_byte(22, Product::Redis), Ok(Kind::HashFieldsEarly));
    }
}
