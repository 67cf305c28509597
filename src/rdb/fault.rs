//! What can be wrong with an RDB file, and where.

use nom::error::{ErrorKind, ParseError};

use crate::error::shown;

/// How much of what was found is told.
const FOUND_BYTES_MAX: usize = 16;

/// Why reading cannot go on. Offsets count from the start of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The bytes end inside something that begins at `at`: the file was cut, or a length in it is wrong.
    #[error("the RDB data ends inside what begins at byte {at}")]
    Cut {
        /// Offset of the thing that is not whole.
        at: u64,
    },
    /// The bytes are not what the format has there.
    #[error("the RDB data is damaged at byte {at}: expected {expected}, found {found}")]
    Damage {
        /// Offset of the damage.
        at: u64,
        /// What the format has there.
        expected: &'static str,
        /// The bytes that are there.
        found: String,
    },
    /// The bytes are sound as far as can be seen, but this reader does not know them.
    #[error("the RDB data has at byte {at} {what}, which is not supported")]
    Unsupported {
        /// Offset of what is not known.
        at: u64,
        /// Its name.
        what: String,
    },
}

impl Fault {
    /// What the parsers saw in `bytes`, which begin at `at` in the file.
    pub(super) fn new(bad: nom::Err<Bad>, bytes: &[u8], at: u64) -> Fault {
        let (nom::Err::Error(Bad { left, why }) | nom::Err::Failure(Bad { left, why })) = bad else {
            // Complete parsers never ask for more.
            return Fault::Cut { at };
        };
        let place = bytes.len().saturating_sub(left);
        let at = at + place as u64;
        let found = bytes.get(place..).unwrap_or_default();
        match why {
            Why::Cut => Fault::Cut { at },
            Why::Damage(expected) => {
                Fault::Damage { at, expected, found: shown(&found[..found.len().min(FOUND_BYTES_MAX)]) }
            }
            Why::Unsupported(what) => Fault::Unsupported {
                at,
                what: format!("{what} (byte {})", found.first().copied().unwrap_or_default()),
            },
        }
    }
}

/// A fault as the parsers see it: with the number of bytes that remained, since they do not know where
/// their input begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bad {
    /// Bytes between the fault and the end of the input.
    pub(super) left: usize,
    pub(super) why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Cut,
    /// What was expected.
    Damage(&'static str),
    /// What stands there.
    Unsupported(&'static str),
}

impl ParseError<&[u8]> for Bad {
    /// The only thing that nom's own parsers can find here is that the input is too short.
    fn from_error_kind(input: &[u8], _: ErrorKind) -> Self {
        Bad { left: input.len(), why: Why::Cut }
    }

    fn append(_: &[u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

#[cold]
pub(super) fn damage(at: &[u8], expected: &'static str) -> nom::Err<Bad> {
    nom::Err::Error(Bad { left: at.len(), why: Why::Damage(expected) })
}

#[cold]
pub(super) fn unsupported(at: &[u8], what: &'static str) -> nom::Err<Bad> {
    nom::Err::Error(Bad { left: at.len(), why: Why::Unsupported(what) })
}
