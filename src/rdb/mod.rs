//! Reads RDB files: the snapshots that append-only files begin with, as a preamble or as a base file.
//!
//! Everything works on borrowed bytes, does no I/O and takes no length on trust. [`Reader`] walks a
//! file entry by entry and finds where each value ends without decoding it, so that the value can go
//! to a target as it stands ([`payload`]). [`elements`] takes a value apart instead, for targets that do
//! not know its type, [`loadable`] tells what a server would refuse of it, and [`fields`] shifts the deadlines of hash
//! fields inside a value.
//!
//! The format is that of rdb.c and rdb.h of Redis 2.0 to 8.4 and Valkey up to 9.1.

mod blob;
mod compact;
pub mod crc64;
pub mod elements;
mod extent;
mod fault;
pub mod fields;
#[cfg(test)]
mod fixture_tests;
mod header;
mod intset;
mod kind;
pub mod library;
mod listpack;
pub mod loadable;
mod lzf;
mod module;
pub mod payload;
mod reader;
mod repeats;
#[cfg(test)]
mod samples;
mod scan;
mod score;
mod stream;
pub mod stream_parts;
mod ziplist;
mod zipmap;

pub use fault::Fault;
pub use header::{HEADER_BYTES, Product, Version, header, is_rdb};
pub use kind::Kind;
pub use reader::{Entry, Item, Object, Reader, Value, append_bare_string};
pub use repeats::Repeats;
