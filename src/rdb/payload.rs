//! What DUMP gives and RESTORE takes: type byte, body, and a footer of version and checksum
//! (`createDumpPayload` and `verifyDumpPayload`, cluster.c).

use super::crc64::{self, Digest};
use super::extent;
use super::fault::Fault;
use super::header::Product;
use super::kind::Kind;
use super::reader::Object;
use crate::error::shown;

/// Length of the footer: version (u16) and checksum (u64), little-endian.
pub const FOOTER_BYTES: usize = 10;

/// From this version on a payload is of Valkey.
const VALKEY_SINCE: u16 = 80;

/// The first version that has libraries of functions.
const FUNCTIONS_SINCE: u16 = 10;

/// The footer of the payload that is made of the kind's type byte, the body and this footer; so the body
/// need not be copied. Its version is the lowest that has the kind.
pub fn footer(kind: Kind, body: &[u8]) -> [u8; FOOTER_BYTES] {
    let version = kind.oldest_version().to_le_bytes();
    let mut digest = Digest::new();
    digest.update(&[kind.type_byte()]);
    digest.update(body);
    digest.update(&version);
    let mut footer = [0; FOOTER_BYTES];
    let (head, tail) = footer.split_at_mut(version.len());
    head.copy_from_slice(&version);
    tail.copy_from_slice(&digest.value().to_le_bytes());
    footer
}

/// The length of the payload of a body.
pub fn length(body: &[u8]) -> u64 {
    (1 + body.len() + FOOTER_BYTES) as u64
}

/// The whole payload.
pub fn payload(kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + body.len() + FOOTER_BYTES);
    out.push(kind.type_byte());
    out.extend_from_slice(body);
    out.extend(footer(kind, body));
    out
}

/// What FUNCTION RESTORE reads all of before it refuses it: entries of libraries of functions as they stand in a file, and
/// behind them one of a type that it does not take.
pub fn refused_after(libraries: &[&[u8]]) -> Vec<u8> {
    let mut out = libraries.concat();
    out.push(Kind::String.type_byte());
    out.extend(FUNCTIONS_SINCE.to_le_bytes());
    let crc = crc64::checksum(&out);
    out.extend(crc.to_le_bytes());
    out
}

/// Whether a payload, of a value or of functions, has a footer and the checksum in it is right: otherwise no server takes
/// it.
pub fn is_sealed(payload: &[u8]) -> bool {
    let sealed = payload.split_last_chunk().filter(|_| payload.len() >= FOOTER_BYTES);
    sealed.is_some_and(|(checked, crc)| crc64::checksum(checked) == u64::from_le_bytes(*crc))
}

/// The object in a payload, for those of RESTORE commands. Offsets count from the payload's start. Bytes
/// between body and footer are left out, as servers ignore them.
pub fn open(payload: &[u8]) -> Result<Object<'_>, Fault> {
    let Some((checked, crc)) = payload.split_last_chunk() else { return Err(Fault::Cut { at: 0 }) };
    let Some((content, version)) = checked.split_last_chunk() else { return Err(Fault::Cut { at: 0 }) };
    if crc64::checksum(checked) != u64::from_le_bytes(*crc) {
        return Err(Fault::Damage {
            at: checked.len() as u64,
            expected: "the checksum of the payload",
            found: shown(crc),
        });
    }
    let Some((type_byte, rest)) = content.split_first() else { return Err(Fault::Cut { at: 0 }) };
    let product = if u16::from_le_bytes(*version) >= VALKEY_SINCE { Product::Valkey } else { Product::Redis };
    let kind = Kind::from_byte(*type_byte, product)
        .map_err(|unknown| Fault::Unsupported { at: 0, what: format!("{unknown} (byte {type_byte})") })?;
    let (after, _) = extent::skip(kind, rest).map_err(|bad| Fault::new(bad, content, 0))?;
    let body = rest.get(..rest.len() - after.len()).unwrap_or_default();
    Ok(Object { kind, body, at: 1 })
}

#[cfg(test)]
mod tests {
    use super::super::samples::samples;
    use super::*;

    #[test]
    fn payloads_of_every_kind_open_again() {
        for (kind, body, _) in samples() {
            let payload = payload(kind, &body);
            let version = u16::from_le_bytes([payload[payload.len() - 10], payload[payload.len() - 9]]);
            assert_eq!(version, kind.oldest_version());
            assert_eq!(open(&payload), Ok(Object { kind, body: &body, at: 1 }), "{}", kind.name());
            for cut in 0..payload.len() {
                assert!(open(&payload[..cut]).is_err(), "{} cut at {cut}", kind.name());
            }
        }
    }

    #[test]
    fn a_payload_of_a_server_is_the_same() {
        // DUMP of 10 in Redis 7.0, but for its version 10 and so its checksum.
        let ours = payload(Kind::String, b"\xc0\x0a");
        assert_eq!(ours.len(), 13);
        assert_eq!(ours[..5], *b"\x00\xc0\x0a\x06\x00");
    }
}
