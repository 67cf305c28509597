//! Asking a server many things at once, and taking its replies apart.

use super::aof;
use redis::{Connection, ConnectionLike, Value};

/// Commands sent in one go; bounds what a server buffers for us.
const PIPELINED_MAX: usize = 200;

/// Sends all commands pipelined. Errors come back as values, in place, so that one does not hide the rest.
pub fn pipeline(conn: &mut Connection, commands: &[Vec<&[u8]>]) -> Vec<Value> {
    let mut replies = Vec::with_capacity(commands.len());
    for chunk in commands.chunks(PIPELINED_MAX) {
        let mut bytes = Vec::new();
        for command in chunk {
            aof::push(&mut bytes, command);
        }
        replies
            .extend(conn.req_packed_commands(&bytes, 0, chunk.len()).expect("the server answers a pipeline"));
    }
    replies
}

/// One command.
pub fn ask(conn: &mut Connection, command: &[&[u8]]) -> Value {
    pipeline(conn, &[command.to_vec()]).remove(0)
}

/// A reply that is text, a number or a status, as bytes; panics on anything else, naming it.
pub fn bytes(value: &Value) -> Vec<u8> {
    match value {
        Value::BulkString(bytes) => bytes.clone(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => text.clone().into_bytes(),
        Value::Int(number) => number.to_string().into_bytes(),
        Value::Okay => b"OK".to_vec(),
        other => panic!("expected a string reply, got {other:?}"),
    }
}

/// The same as text, for names that the server chose.
pub fn text(value: &Value) -> String {
    String::from_utf8_lossy(&bytes(value)).into_owned()
}

/// An integer reply; `None` for nil.
pub fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::Nil => None,
        other => panic!("expected an integer reply, got {other:?}"),
    }
}

/// The elements of an array reply; none when it is something else (nil, an error).
pub fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) | Value::Set(items) => items,
        _ => &[],
    }
}

/// The field of a flat name, value, name, value array.
pub fn field<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    items(value).chunks_exact(2).find(|pair| bytes(&pair[0]) == name.as_bytes()).map(|pair| &pair[1])
}

/// Whether the server knows a command.
pub fn knows(conn: &mut Connection, command: &str) -> bool {
    let reply = ask(conn, &[b"COMMAND", b"INFO", command.as_bytes()]);
    items(&reply).first().is_some_and(|info| !matches!(info, Value::Nil))
}
