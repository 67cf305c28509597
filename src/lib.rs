//! Loads a Redis append-only file into replica sets, resharded by crc32 of the key, exactly once.
//!
//! The data goes one way through the modules, named in Redis's own terms:
//! `source → resp or rdb → command → route → partition → batch → sink`, driven by `writer` and `job`. Before that,
//! `survey` looks through all of the source, and `placement` gives a home to what commands tie together.
#![deny(missing_docs)]
#![deny(unsafe_code)]

pub mod batch;
pub mod checkpoint;
pub mod cli;
pub mod command;
pub mod config;
pub mod counters;
pub mod durable;
pub mod error;
pub mod feed;
pub mod job;
pub mod marker;
pub mod partition;
pub mod placement;
pub mod progress;
pub mod rdb;
pub mod report;
pub mod resp;
pub mod route;
pub mod signals;
pub mod sink;
pub mod source;
pub mod survey;
pub mod topology;
pub mod words;
pub mod writer;

/// A number that nobody can foretell.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}
