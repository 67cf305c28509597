//! Values as DUMP gives them, for RESTORE.

use super::command::{Command, command};
use super::dice::Dice;
use super::keys::Kind;
use crate::support::aof;
use crate::support::server::Server;
use crate::support::wire;
use redis::Value;

/// Dumped values, each with the type it is of.
#[derive(Clone, Debug, Default)]
pub struct Payloads {
    values: Vec<(Kind, Vec<u8>)>,
    functions: Option<Vec<u8>>,
}

/// How the dumped values are made, each in the key `it`; small and large, since encodings differ.
const VALUES: [(Kind, &str); 12] = [
    (Kind::Text, "SET it restored"),
    (Kind::Number, "SET it 12345"),
    (Kind::Bits, "SETBIT it 5000 1"),
    (Kind::Sketch, "PFADD it a b c"),
    (Kind::List, "RPUSH it a 2 c"),
    (Kind::Set, "SADD it 1 2 3"),
    (Kind::Set, "SADD it m1 m2 m3"),
    (Kind::Hash, "HSET it m1 v m2 v n1 5"),
    (Kind::Sorted, "ZADD it 1.5 m1 -2 m2 inf m3"),
    (Kind::Geo, "GEOADD it 12.5 48.5 m1"),
    (Kind::Stream, "XADD it 1500000000000-1 f v"),
    (Kind::Stream, "XGROUP CREATE it group 0 MKSTREAM"),
];

/// Elements beyond which collections leave their compact encoding.
const LARGE: usize = 600;

impl Payloads {
    /// Dumps some values of every type on `server`, in its database 63, which is empty again afterwards.
    pub fn of(server: &Server) -> Self {
        let conn = &mut server.conn();
        let mut values: Vec<(Kind, Vec<u8>)> =
            VALUES.iter().map(|(kind, line)| (*kind, aof::of_lines(line))).collect();
        let list: Vec<String> = (0..LARGE).map(|n| format!("element{n}")).collect();
        let pairs: Vec<String> = (0..LARGE).map(|n| format!("{n} member{n}")).collect();
        values.push((Kind::List, aof::of_lines(&format!("RPUSH it {}", list.join(" ")))));
        values.push((Kind::Set, aof::of_lines(&format!("SADD it {}", list.join(" ")))));
        values.push((Kind::Sorted, aof::of_lines(&format!("ZADD it {}", pairs.join(" ")))));
        values.push((Kind::Hash, aof::of_lines(&format!("HSET it {}", pairs.join(" ")))));
        wire::ask(conn, &[b"SELECT", b"63"]);
        for (_, bytes) in &mut values {
            let made = redis::ConnectionLike::req_packed_command(conn, bytes).expect("the value can be made");
            assert!(!matches!(made, Value::ServerError(_)), "{made:?}");
            *bytes = wire::bytes(&wire::ask(conn, &[b"DUMP", b"it"]));
            wire::ask(conn, &[b"DEL", b"it"]);
        }
        let code = "#!lua name=dumped\nredis.register_function('f_dumped', function() return 1 end)";
        // Servers before 7.0 have none.
        let made = wire::ask(conn, &[b"FUNCTION", b"LOAD", b"REPLACE", code.as_bytes()]);
        let functions = (!matches!(made, Value::ServerError(_)))
            .then(|| wire::bytes(&wire::ask(conn, &[b"FUNCTION", b"DUMP"])));
        if functions.is_some() {
            wire::ask(conn, &[b"FUNCTION", b"DELETE", b"dumped"]);
        }
        Self { values, functions }
    }

    /// What FUNCTION DUMP said of a library; none without a server.
    pub(super) fn functions(&self) -> Option<Vec<u8>> {
        self.functions.clone()
    }
}

/// A RESTORE as servers write it; `None` without payloads.
pub(super) fn restore(dice: &mut Dice) -> Option<Command> {
    let count = dice.payloads.values.len();
    if count == 0 {
        return None;
    }
    let at = dice.below(count);
    let (kind, payload) = dice.payloads.values[at].clone();
    let key = dice.key(kind);
    let name = dice.pick(&["RESTORE", "RESTORE", "RESTORE-ASKING"]);
    let relative = dice.options.relative_deadlines && dice.one_in(3);
    let deadline = match dice.below(3) {
        _ if relative => dice.relative(false),
        0 => 0,
        _ => dice.deadline_ms(),
    };
    let mut made = command![name, key, deadline, payload];
    if !dice.one_in(4) {
        made.extend(command![dice.keyword("REPLACE")]);
    }
    if !relative {
        made.extend(command![dice.keyword("ABSTTL")]);
    }
    if dice.one_in(5) {
        made.extend(command![dice.keyword("IDLETIME"), dice.between(0, 1000)]);
    }
    Some(made)
}
