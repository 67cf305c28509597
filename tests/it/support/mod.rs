//! What the integration tests share: real servers, a judge of "same state", sources to load, faults, the tool itself.
//!
//! No test skips for want of a server: a check that cannot run must fail, or nobody would notice it is gone.

pub mod aof;
pub mod binary;
pub mod compare;
pub mod fill;
pub mod forms;
pub mod generate;
pub mod loader;
pub mod port;
pub mod proxy;
pub mod raw;
pub mod rdb;
pub mod reference;
pub mod relay;
pub mod server;
pub mod snapshot;
pub mod stream;
mod tests_compare;
mod tests_generate;
mod tests_proxy;
mod tests_server;
pub mod wire;
