//! Any bytes as the records of an append-only file: nothing may panic or claim bytes that are not there,
//! the outline must agree with the arguments, what is called canonical must be what is encoded, and a record must be
//! read as it would be alone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redcluster_load::resp::encode;
use redcluster_load::resp::frame::{Arguments, Framer, Record, record};

fuzz_target!(|bytes: &[u8]| {
    let (mut framer, mut rest) = (Framer::default(), bytes);
    while !rest.is_empty() {
        let read = framer.record(rest);
        assert_eq!(read, record(rest));
        let Ok((next, found)) = read else { break };
        assert!(next.len() < rest.len());
        let this = &rest[..rest.len() - next.len()];
        if let Record::Command(head) = found {
            let arguments: Vec<&[u8]> = Arguments::of(this).collect();
            assert_eq!(arguments.len(), head.argc as usize);
            let name = head.name_start as usize;
            assert_eq!(arguments.first(), Some(&&this[name..name + head.name_len]));
            if let Some(key) = arguments.get(1) {
                assert_eq!(*key, &this[head.key_start..head.key_start + head.key_len]);
            }
            let mut encoded = Vec::new();
            encode::command(&mut encoded, &arguments);
            assert_eq!(head.canonical, encoded == this);
        } else {
            assert_eq!(this.first(), Some(&b'#'));
        }
        rest = next;
    }
});
