//! The first nine bytes: `REDIS` and four digits, or `VALKEY` and three (`rdbLoadRioWithLoadingCtx`, rdb.c).

use std::fmt;

use super::fault::Fault;
use crate::error::shown;

/// Length of the header: magic and version.
pub const HEADER_BYTES: usize = 9;

/// The latest versions whose every opcode and type this reader knows.
const REDIS_VERSION_MAX: u32 = 12;
const VALKEY_VERSION: u32 = 80;

/// Whose format it is: from version 12 on, the two give the same numbers different meanings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Product {
    /// Redis, and Valkey before 9.0.
    Redis,
    /// Valkey from 9.0 on.
    Valkey,
}

/// The version of an RDB file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
    /// Whose format it is.
    pub product: Product,
    /// The number behind the magic.
    pub number: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.product {
            Product::Redis => write!(f, "REDIS{:04}", self.number),
            Product::Valkey => write!(f, "VALKEY{:03}", self.number),
        }
    }
}

/// Whether a file that starts like this begins with an RDB part; a server looks no further either.
pub fn is_rdb(start: &[u8]) -> bool {
    start.starts_with(b"REDIS") || start.starts_with(b"VALKEY")
}

/// The number that a text begins with, as servers read it behind the magic of their own format (`atoi`): behind any space
/// and a plus sign, and whatever follows it.
fn leading_number(text: &[u8]) -> Option<u32> {
    let start = text.iter().position(|byte| !matches!(byte, b' ' | b'\t'..=b'\r'))?;
    let text = text.get(start..)?;
    let text = text.strip_prefix(b"+").unwrap_or(text);
    let digits = text.split(|byte| !byte.is_ascii_digit()).next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Reads the header of a file and refuses versions that this reader does not know.
pub fn header(file: &[u8]) -> Result<Version, Fault> {
    let Some(header) = file.first_chunk::<HEADER_BYTES>() else {
        return Err(Fault::Cut { at: 0 });
    };
    let of = |product, magic: &[u8]| {
        header.strip_prefix(magic).and_then(leading_number).map(|number| Version { product, number })
    };
    match of(Product::Redis, b"REDIS").or_else(|| of(Product::Valkey, b"VALKEY")) {
        Some(version @ Version { product: Product::Redis, number: 1..=REDIS_VERSION_MAX })
        | Some(version @ Version { product: Product::Valkey, number: VALKEY_VERSION }) => Ok(version),
        Some(version) => Err(Fault::Unsupported {
            at: 0,
            what: match (version.product, version.number) {
                (Product::Redis, 13) => "the format of Redis 8.6, REDIS0013".into(),
                (Product::Redis, 14) => "the format of Redis 8.8, REDIS0014".into(),
                (Product::Redis, 15) => "the format of Redis 8.10, REDIS0015".into(),
                _ => format!("the format {version}"),
            },
        }),
        None => Err(Fault::Damage {
            at: 0,
            expected: "REDIS or VALKEY and a version number",
            found: shown(header),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_versions_are_read() {
        for number in 1..=12 {
            let version = Version { product: Product::Redis, number };
            assert_eq!(header(format!("{version}\u{fe}").as_bytes()), Ok(version));
        }
        let valkey = Version { product: Product::Valkey, number: 80 };
        assert_eq!(header(b"VALKEY080\xff"), Ok(valkey));
        assert_eq!(valkey.to_string(), "VALKEY080");
        assert!(is_rdb(b"REDIS0011") && is_rdb(b"VALKEY080") && !is_rdb(b"*2\r\n$6\r\n") && !is_rdb(b"REDI"));
    }

    #[test]
    fn a_version_is_read_as_servers_read_it() {
        for text in ["REDIS  10", "REDIS+010", "REDIS10ab", "REDIS\t\n10", "REDIS\u{b}\u{c}10", "REDIS10\0\0"]
        {
            let version = Version { product: Product::Redis, number: 10 };
            assert_eq!(header(text.as_bytes()), Ok(version), "{text:?}");
        }
        assert_eq!(header(b"REDIS9\xff\xff\xff").map(|version| version.number), Ok(9));
        for text in ["VALKEY080", "VALKEY 80", "VALKEY+80", "VALKEY80x", "VALKEY80\0"] {
            let version = Version { product: Product::Valkey, number: 80 };
            assert_eq!(header(text.as_bytes()), Ok(version), "{text:?}");
        }
        for text in ["REDIS-010", "REDIS++10", "REDIS    ", "REDISx010", "VALKEY-80", "VALKEYx80"] {
            assert!(header(text.as_bytes()).is_err(), "{text:?}");
        }
    }

    #[test]
    fn other_versions_are_refused_by_name() {
        let cases = [
            ("REDIS0000", "the format REDIS0000"),
            ("REDIS0013", "the format of Redis 8.6, REDIS0013"),
            ("REDIS0099", "the format REDIS0099"),
            ("VALKEY011", "the format VALKEY011"),
            ("VALKEY081", "the format VALKEY081"),
        ];
        for (text, what) in cases {
            assert_eq!(
                header(text.as_bytes()),
                Err(Fault::Unsupported { at: 0, what: what.into() }),
                "{text}"
            );
        }
    }

    #[test]
    fn no_header_is_damage_and_half_a_header_a_cut() {
        for text in ["REDISabcd", "RESP00011", "VALKEYx80"] {
            assert!(matches!(header(text.as_bytes()), Err(Fault::Damage { at: 0, .. })), "{text}");
        }
        assert_eq!(header(b"REDIS001"), Err(Fault::Cut { at: 0 }));
    }
}
