//! Integration tests against real servers: one binary, so that what they share is built once.

// Not every helper is used by every set of tests.
#[allow(dead_code)]
mod support;

mod bad_input;
mod bad_targets;
mod deadlines;
mod deadlines_later;
mod differential;
mod drill;
mod faults;
mod fields;
mod kill;
mod many_keys;
mod memory;
mod rdb;
mod resume;
mod scene;
mod scratch;
mod scripts;
mod source;
mod source_changes;
mod table;
mod ties;
mod workloads;
