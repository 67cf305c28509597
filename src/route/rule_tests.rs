//! Tests of the routing rules on single commands.

use super::*;
use crate::rdb::Product;
use crate::resp::{encode, frame};

fn rules(shards: usize) -> Rules {
    Rules {
        routing: Routing::new(shards),
        live: vec![Some(Takes::anything(Product::Redis)); shards],
        marker_key: b"marker".to_vec(),
        clock: deadline::Clock { now_ms: 1, offset_ms: deadline::OFFSET_FAR_MS },
        touches: None,
        scripts: None,
    }
}

fn route_with(rules: &Rules, text: &str) -> Routed {
    let mut bytes = Vec::new();
    encode::command(&mut bytes, &text.split(' ').collect::<Vec<_>>());
    match frame::record(&bytes) {
        Ok((_, frame::Record::Command(head))) => {
            rules.route(&Command { bytes: &bytes, head, db: 0, ordinal: 1 }, false)
        }
        other => panic!("{other:?}"),
    }
}

/// The routed command without its reach.
fn route(text: &str) -> Routed {
    plain(route_with(&rules(2), text))
}

fn plain(routed: Routed) -> Routed {
    match routed {
        Routed::Lane(lane, form, _) => Routed::Lane(lane, form, Reach::All),
        other => other,
    }
}

/// crc32("a") % 2 is 1, crc32("d") and crc32("e") are even.
#[test]
fn lanes_are_red_clusters() {
    for key in ["a", "d", "e", "user:1"] {
        let lane = (crc32fast::hash(key.as_bytes()) % 2) as usize;
        assert_eq!(route(&format!("SET {key} v")), Routed::Lane(lane, Form::Verbatim, Reach::All));
    }
    assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926, "the crc32 of zlib and Ruby");
}

#[test]
fn classes_decide() {
    let cases = [
        ("MSET a 1 d 2", Routed::Parts),
        ("DEL a d", Routed::Parts),
        ("DEL a", Routed::Lane(1, Form::Verbatim, Reach::All)),
        ("MSET a 1 d", Routed::Lane(1, Form::Verbatim, Reach::All)),
        ("RENAME a d", Routed::Tied),
        ("RENAME d e", Routed::Lane(0, Form::Verbatim, Reach::All)),
        ("SORT d BY w_* STORE e", Routed::Refused(Refusal::Pattern)),
        ("SORT d", Routed::Nowhere),
        ("GEORADIUS a 1 2 3 km", Routed::Nowhere),
        ("PFCOUNT a d", Routed::Nowhere),
        ("PFCOUNT a", Routed::Lane(1, Form::Verbatim, Reach::All)),
        ("GET a", Routed::Nowhere),
        ("PING", Routed::Nowhere),
        ("FLUSHALL", Routed::Every(Form::Verbatim)),
        ("FUNCTION DELETE lib", Routed::Every(Form::Verbatim)),
        ("FUNCTION NOSUCH lib", Routed::Refused(Refusal::Unknown)),
        ("XGROUP CREATE a g 0", Routed::Lane(1, Form::Verbatim, Reach::All)),
        ("EVAL x 0", Routed::Refused(Refusal::Script)),
        ("SELECT 3", Routed::State(State::Select(Some(3)))),
        ("SELECT x", Routed::State(State::Select(None))),
        ("SET a", Routed::Refused(Refusal::Arity)),
        ("SET marker v", Routed::Refused(Refusal::MarkerKey)),
        ("DEL a marker", Routed::Refused(Refusal::MarkerKey)),
        ("SET a v PXAT 5", Routed::Lane(1, Form::Rewritten, Reach::All)),
        ("XADD a 1-1 f v", Routed::Lane(1, Form::Rewritten, Reach::All)),
        ("PEXPIREAT a 4000000000000000000", Routed::Refused(Refusal::Deadline)),
        ("HSETEX a PX 5 FIELDS 1 f v", Routed::Lane(1, Form::Rewritten, Reach::All)),
        ("HSETEX a KEEPTTL FIELDS 1 f v", Routed::Lane(1, Form::Verbatim, Reach::All)),
        ("HPEXPIREAT a 35000000000000 FIELDS 1 f", Routed::Refused(Refusal::FieldDeadline)),
        ("HPEXPIREAT a 70000000000000 FIELDS 1 f", Routed::Lane(1, Form::Rewritten, Reach::All)),
        ("ZUNIONSTORE a x d", Routed::Lane(1, Form::Verbatim, Reach::All)),
    ];
    for (text, expected) in cases {
        assert_eq!(route(text), expected, "{text}");
    }
}

#[test]
fn payloads_that_a_target_does_not_know_are_refused() {
    let takes = |rdb_version, product| Takes {
        rdb_version,
        product,
        argument_bytes_max: 1 << 20,
        ..Takes::anything(product)
    };
    let payload = crate::rdb::payload::payload(Kind::HashFieldsValkey, b"\x01\x01f\x01v\x07\0\0\0\0\0\0\0");
    let mut bytes = Vec::new();
    encode::command(&mut bytes, &[b"RESTORE", b"a".as_slice(), b"0", &payload]);
    let Ok((_, frame::Record::Command(head))) = frame::record(&bytes) else { panic!("a command") };
    let command = Command { bytes: &bytes, head, db: 0, ordinal: 1 };
    let lacks = Routed::Refused(Refusal::TargetLacks(Kind::HashFieldsValkey));
    for (takes, expected) in [
        (takes(11, Product::Redis), lacks),
        (takes(12, Product::Redis), lacks),
        (takes(80, Product::Valkey), Routed::Lane(1, Form::Rewritten, Reach::All)),
    ] {
        let rules = Rules { live: vec![Some(takes); 2], ..rules(2) };
        assert_eq!(plain(rules.route(&command, false)), expected, "{takes:?}");
    }
}

#[test]
fn the_last_command_on_a_hash_keeps_its_deadline() {
    let touches = Touches::new(10);
    touches.key(0, crc32fast::hash(b"a"), 1);
    let rules = Rules { touches: Some(Arc::new(touches)), ..rules(2) };
    for (text, form) in [
        ("HPEXPIREAT a 5 FIELDS 1 f", Form::Verbatim),
        ("HPEXPIREAT a 5 NX FIELDS 1 f", Form::Verbatim),
        ("HPEXPIREAT a 5 GT FIELDS 1 f", Form::Rewritten),
        ("HPEXPIREAT a 5 lt FIELDS 1 f", Form::Rewritten),
        ("HPEXPIRE a 5 FIELDS 1 f", Form::Absolute),
        ("HSETEX a EX 5 FIELDS 1 f v", Form::Absolute),
        ("HSETEX a PXAT 5 FIELDS 1 f v", Form::Verbatim),
        ("HPEXPIREAT b 5 FIELDS 1 f", Form::Rewritten),
    ] {
        assert!(matches!(route_with(&rules, text), Routed::Lane(_, found, _) if found == form), "{text}");
    }
}

#[test]
fn accepted_scripts_run_where_their_keys_are() {
    let script = |lanes: usize, text: &str| {
        let rules = Rules { scripts: Some(Arc::default()), ..rules(lanes) };
        route_with(&rules, text)
    };
    let cases = [
        ("EVAL x 1 a arg", Routed::Lane(1, Form::Verbatim, Reach::All)),
        ("EVALSHA x 2 d e a", Routed::Lane(0, Form::Body, Reach::All)),
        ("FCALL f 1 d", Routed::Lane(0, Form::Verbatim, Reach::All)),
        ("EVAL x 2 a d", Routed::Tied),
        ("EVAL x 1 marker", Routed::Refused(Refusal::MarkerKey)),
        ("EVAL x 0 a", Routed::Refused(Refusal::KeylessScript)),
        ("FCALL f 0", Routed::Refused(Refusal::KeylessScript)),
        ("EVAL_RO x 1 a", Routed::Nowhere),
    ];
    for (text, expected) in cases {
        assert_eq!(script(2, text), expected, "{text}");
        let refused = if text.starts_with("EVAL_RO") { expected } else { Routed::Refused(Refusal::Script) };
        assert_eq!(route_with(&rules(2), text), refused, "{text}");
    }
    assert_eq!(script(1, "EVAL x 0 a"), Routed::Lane(0, Form::Verbatim, Reach::All));
    assert_eq!(script(1, "EVALSHA x 0"), Routed::Lane(0, Form::Body, Reach::All));
    // Rejected by the server, wherever it is.
    for text in ["EVAL a 2 d", "EVAL a x d", "EVAL a -1 d"] {
        assert!(matches!(script(2, text), Routed::Lane(1, Form::Verbatim, _)), "{text}");
    }
}

#[test]
fn files_get_commands_as_they_stand() {
    let rules = Rules { live: vec![None; 2], ..rules(2) };
    assert_eq!(plain(route_with(&rules, "SET a v PXAT 5")), Routed::Lane(1, Form::Verbatim, Reach::All));
    assert_eq!(
        plain(route_with(&rules, "HSETEX a PX 5 FIELDS 1 f v")),
        Routed::Lane(1, Form::Verbatim, Reach::All)
    );
}

#[test]
fn reach_names_all_that_a_command_touches() {
    let hash = crc32fast::hash(b"d");
    let reach = |text: &str| match route_with(&rules(2), text) {
        Routed::Lane(_, _, reach) => reach,
        other => panic!("{other:?}"),
    };
    assert_eq!(reach("SET d v"), Reach::Set(hash));
    assert_eq!(reach("SET d v NX"), Reach::Key(hash));
    assert_eq!(reach("INCR d"), Reach::Key(hash));
    assert_eq!(reach("DEL d"), Reach::Key(hash));
    assert_eq!(reach("DEL d d"), Reach::Arguments);
    assert_eq!(reach("RENAME d e"), Reach::Arguments);
    assert_eq!(reach("SORT d BY nosort STORE e"), Reach::All);
}
