//! The subset of RESP that append-only files and command streams are made of: framing and encoding.

pub mod encode;
pub mod frame;
