//! Commands written down as templates: those that servers never write but load, and those that fail.
//!
//! A word in braces is filled in: a kind of key (`{list}`), or something random (`{member}`). Keys of one command lie on
//! one shard unless ties are wanted.

use super::command::{Command, command};
use super::dice::{Dice, RELATIVE_UNIT_MS};
use super::keys::Kind;
use super::streams;

/// Blocking commands, which a loading server and a transaction carry out without waiting; and forms that the families
/// leave out.
const RARE: &str = "BLMOVE {list} {list} LEFT RIGHT 0|BLMOVE {list} {list} RIGHT LEFT 0|BRPOPLPUSH {list} {list} 0
    |BLPOP {list} 0|BLPOP {list} {list} 0|BLPOP {list} {list} {list} 0.5|BRPOP {list} {list} 0|BRPOP {list} {list} {list} 0
    |BLMPOP 0 2 {list} {list} LEFT COUNT 2|BLMPOP 0 1 {list} RIGHT|LMPOP 3 {list} {list} {list} RIGHT COUNT 2
    |BZPOPMIN {sorted} {sorted} 0|BZPOPMAX {sorted} {sorted} {sorted} 0|BZMPOP 0 2 {sorted} {sorted} MAX COUNT 2
    |BZMPOP 0 1 {sorted} MIN|ZMPOP 2 {sorted} {geo} MIN|LMOVE {list} {list} LEFT LEFT|RPOPLPUSH {list} {list}
    |SMOVE {set} {set} {member}|SMOVE {set} {set} {member}|SPOP {set} 100000|RENAMENX {any} {any}|RENAMENX {any} {any}
    |XREADGROUP GROUP group eve COUNT 2 STREAMS {stream} {stream} > >
    |XREADGROUP GROUP group eve COUNT 2 STREAMS {stream} {stream} > >
    |XREADGROUP GROUP group adam BLOCK 0 COUNT 1 STREAMS {stream} {stream} {stream} > > >
    |XREADGROUP GROUP group adam NOACK STREAMS {stream} >|XREADGROUP GROUP group eve COUNT 3 STREAMS {stream} >
    |XREADGROUP GROUP group eve COUNT 3 STREAMS {stream} 0|XREADGROUP GROUP group lilith COUNT 1 STREAMS {stream} >
    |XAUTOCLAIM {stream} group adam 0 0|XAUTOCLAIM {stream} group eve 0 {id} COUNT 2 JUSTID
    |XAUTOCLAIM {stream} group eve 3600000 0|XCLAIM {stream} group adam 0 {id}|XCLAIM {stream} group eve 0 {id} {id} JUSTID
    |XCLAIM {stream} group adam 0 {id} IDLE 500 RETRYCOUNT 3 FORCE|XCLAIM {stream} group eve 3600000 {id} FORCE
    |XGROUP SETID {stream} group 0 ENTRIESREAD 5|XGROUP CREATE {stream} group 0 MKSTREAM|XGROUP CREATE {stream} group $
    |XADD {stream} {ms}-* f v|XTRIM {stream} MAXLEN ~ 1|XTRIM {stream} MINID ~ {id}|XADD {stream} MAXLEN ~ 10 {ms}-1 f v
    |PFCOUNT {sketch} {sketch}|PFCOUNT {sketch}|PFMERGE {sketch} {sketch} {sketch}|PFDEBUG GETREG {sketch}
    |BITOP XOR {bits} {bits} {text}|BITOP NOT {bits} {bits}|BITOP AND {bits} {bits} {bits}|GETDEL {any}|GETEX {text} PXAT {far}
    |GEORADIUS {geo} 12 48.5 300 km STOREDIST {sorted}|GEORADIUSBYMEMBER {geo} {member} 300 km STOREDIST {sorted}
    |GEORADIUSBYMEMBER {geo} {member} 300 km STORE {geo}|GEORADIUS {geo} 12 48.5 300 km COUNT 2 ASC STORE {geo} STOREDIST {geo}
    |GEOSEARCHSTORE {geo} {geo} FROMMEMBER {member} BYRADIUS 400 km|GEOSEARCHSTORE {sorted} {geo} FROMLONLAT 12 48 BYRADIUS 500 km STOREDIST
    |SORT {list} BY nosort GET # LIMIT 0 5 STORE {list}|SORT {sorted} BY nosort STORE {list}|SORT {list} ALPHA STORE {list}
    |SORT {set} ALPHA STORE {set} STORE {list}|SINTERSTORE {set} {set} {set}|SDIFFSTORE {set} {set}|SUNIONSTORE {set} {set} {set} {set}
    |ZRANGESTORE {sorted} {sorted} 0 -1|ZRANGESTORE {sorted} {geo} -inf +inf BYSCORE LIMIT 1 3|ZUNIONSTORE {sorted} 2 {set} {geo} WEIGHTS 2 -1
    |ZINTERSTORE {sorted} 2 {sorted} {sorted} AGGREGATE MIN|ZDIFFSTORE {sorted} 2 {sorted} {set}|MSETNX {text} {value} {text} {value}
    |COPY {any} {any} REPLACE|COPY {any} {any} DB {db} REPLACE|MOVE {any} {db}|RENAME {any} {any}|HSETNX {hash} {member} {value}
    |EXPIRE {any} {seconds}|PEXPIRE {any} {millis}|EXPIRE {any} {seconds} NX|PEXPIRE {any} {millis} XX|EXPIRE {any} {seconds} GT
    |EXPIRE {any} {seconds} LT|SETEX {text} {seconds} {value}|PSETEX {text} {millis} {value}|SET {text} {value} EX {seconds}
    |SET {text} {value} PX {millis} XX|GETEX {text} EX {seconds}|GETEX {number} PERSIST|EXPIREAT {any} 4102444800 GT|PERSIST {any}
    |SETBIT {bits} {int} 1|LINSERT {list} BEFORE {member} x|LSET {list} 0 {value}|LREM {list} 0 {member}|RPUSHX {list} {value}
    |ZREMRANGEBYLEX {lexical} - [m4|ZREMRANGEBYLEX {lexical} (m2 +|ZREMRANGEBYSCORE {sorted} 0 10|ZREMRANGEBYRANK {sorted} 0 1
    |SETNX {text} {value}|GETSET {text} {value}|INCRBYFLOAT {number} 1.5|LPUSHX {list} {value}|PFDEBUG TODENSE {sketch}";

/// Deadlines of hash fields, for servers that know them.
const FIELDS: &str = "HSETEX {hash} PXAT {far} FIELDS 1 {field} {value}|HSETEX {hash} FNX EX {seconds} FIELDS 1 {field} {value}
    |HSETEX {hash} FXX KEEPTTL FIELDS 2 {field} {value} {field} {value}|HSETEX {hash} FIELDS 1 {field} {value}
    |HGETEX {hash} PXAT {far} FIELDS 1 {field}|HGETEX {hash} PERSIST FIELDS 2 {field} {field}|HGETEX {hash} PX {millis} FIELDS 1 {field}
    |HEXPIRE {hash} {seconds} FIELDS 1 {field}|HEXPIRE {hash} {seconds} NX FIELDS 2 {field} {field}
    |HPEXPIRE {hash} {millis} GT FIELDS 1 {field}|HPEXPIRE {hash} {millis} FIELDS 1 {field}
    |HEXPIREAT {hash} 4102444800 FIELDS 1 {field}|HEXPIREAT {hash} 4202444800 LT FIELDS 1 {field}
    |HPEXPIREAT {hash} {far} FIELDS 1 {field}|HPEXPIREAT {hash} {far} XX FIELDS 2 {field} {field}
    |HPEXPIREAT {hash} {far} FIELDS 1 {field}|HPEXPIREAT {text} {far} FIELDS 1 {field}|HPEXPIREAT {hash} -1 FIELDS 1 {field}
    |HPERSIST {hash} FIELDS 2 {field} {field}|HPERSIST {hash} FIELDS 1 {field}|HPERSIST {list} FIELDS 1 {field}";

/// A field read and deleted, without a deadline, for servers that know it.
const GETDEL: &str = "HGETDEL {hash} FIELDS 2 {field} {field}|HGETDEL {hash} FIELDS 1 {field}";

/// What fails, or does nothing: wrong types, syntax, numbers out of range, one key as both.
const EDGES: &str = "SET {text} {value} FOO|SET {text} {value} NX XX|SET {text} {value} EX 0|SET {text} {value} PX -5|SETEX {text} 0 {value}
    |PSETEX {text} -1 {value}|SET {list} {value} GET|INCR {list}|INCRBY {number} 9223372036854775807|INCRBY {number} 1.5
    |DECRBY {number} -9223372036854775808|INCRBYFLOAT {number} abc|INCRBYFLOAT {text} 1|APPEND {set} x|GETDEL {hash}|GETEX {list} PERSIST
    |SETRANGE {text} -1 x|SETRANGE {text} 0 {value}|SETBIT {bits} 5 2|BITFIELD {bits} SET u99 0 1
    |BITFIELD {hash} SET u8 0 1|MSET {text} {value} {text}|MSETNX {text} {value} {text}|HSET {hash} {member} {value} {member}
    |HSET {list} {member} {value}|HINCRBY {hash} {member} 9223372036854775807|HINCRBYFLOAT {hash} n1 nan|HDEL {set} {member}
    |LPOP {list} -1|LPOP {hash}|LSET {list} 99999 x|LINSERT {list} NEAR a b|LTRIM {list} a b|LPUSH {text} x|LREM {stream} 0 x
    |SADD {list} {member}|SREM {text} {member}|SPOP {list} 99999|SMOVE {set} {list} {member}|SMOVE {list} {set} {member}
    |ZADD {sorted} NX XX 1 a|ZADD {sorted} abc a|ZADD {sorted} GT LT 1 a|ZADD {sorted} INCR 1 a 2 b|ZADD {list} 1 a|ZINCRBY {sorted} nan a
    |ZINCRBY {sorted} -inf {member}|ZINCRBY {sorted} inf {member}|ZREMRANGEBYSCORE {sorted} a b|ZREMRANGEBYLEX {lexical} a b
    |ZUNIONSTORE {sorted} 0 {sorted}|ZUNIONSTORE {sorted} 5 {sorted}|ZUNIONSTORE {sorted} abc {sorted}|ZUNIONSTORE {sorted} 1 {list}
    |ZUNIONSTORE {sorted} 1 {sorted} WEIGHTS|ZINTERSTORE {sorted} 1 {sorted} WEIGHTS a|ZRANGESTORE {sorted} {list} 0 -1
    |ZRANGESTORE {sorted} {sorted} a b|LMPOP 0 {list} LEFT|LMPOP 3 {list} LEFT|LMPOP 1 {list} UP|LMPOP 1 {set} LEFT|ZMPOP 1 {list} MIN
    |BZMPOP -1 1 {sorted} MIN|BLPOP {list} {list} -1|BLPOP {list} {list} abc|BLPOP {list} {hash} {list} 0|BLMOVE {list} {list} UP LEFT 0
    |LMOVE {list} {set} LEFT LEFT|RPOPLPUSH {hash} {list}|RPOPLPUSH {list} {text}|COPY {any} {any} FOO|COPY {any} {any} DB abc
    |MOVE {any} abc|SWAPDB 0 abc|SELECT abc|SELECT -1|SINTERSTORE {set} {set} {list}|SUNIONSTORE {set} {text}|SDIFFSTORE {set} {list} {set}
    |BITOP NOT {bits} {bits} {bits}|BITOP FOO {bits} {bits}|BITOP AND {bits} {list}|PFADD {text} a|PFMERGE {sketch} {text}|PFMERGE {sketch} {list}
    |PFCOUNT {list}|PFCOUNT {sketch} {hash}|GEOADD {geo} 999 999 {member}|GEOADD {geo} NX XX 1 1 {member}|GEOADD {list} 1 1 {member}
    |GEORADIUS {geo} 12 48 abc km STORE {geo}|GEORADIUS {list} 12 48 10 km STORE {geo}|GEOSEARCHSTORE {geo} {geo} FROMLONLAT 1 1 BYRADIUS 5
    |GEORADIUSBYMEMBER {geo} nobody 10 km STORE {geo}|SORT {hash} STORE {list}|SORT {list} LIMIT a b STORE {list}|SORT {text} ALPHA STORE {list}
    |XADD {stream} 0-0 f v|XADD {stream} 5-5 f v|XADD {stream} abc f v|XADD {stream} MAXLEN -1 {ms}-1 f v|XADD {list} {ms}-1 f v
    |XADD {stream} {ms}-1 f v g|XTRIM {stream} MAXLEN abc|XTRIM {hash} MAXLEN 5|XDEL {stream} abc|XDEL {list} 1-1|XSETID {stream} 0-1
    |XSETID {list} 1-1|XACK {stream} nogroup 1-1|XACK {stream} group abc|XACK {text} group 1-1|XGROUP CREATE {list} group 0|XGROUP CREATE {stream} group abc
    |XGROUP SETID {stream} nogroup 0|XGROUP DESTROY {list} group|XGROUP DESTROY {stream} nogroup|XGROUP CREATECONSUMER {stream} nogroup eve
    |XGROUP DELCONSUMER {set} group eve|XCLAIM {stream} nogroup eve 0 1-1|XCLAIM {list} group eve 0 1-1|XAUTOCLAIM {stream} nogroup eve 0 0
    |XREADGROUP GROUP nogroup eve STREAMS {stream} {stream} > >|XREADGROUP GROUP group eve STREAMS {stream} {list} > >
    |XREADGROUP GROUP group eve STREAMS {stream} {stream} >|RESTORE {any} -1 x|EXPIRE {any} abc|EXPIRE {any} 5000000 FOO|EXPIRE {any} 5000000 NX XX
    |EXPIRE {any} 9223372036854775807|PEXPIRE {any} -1|EXPIRE {any} 0|EXPIRE {any} -100 LT|FLUSHDB FOO|FLUSHALL FOO|EXEC|DISCARD|UNLINK nothing
    |FUNCTION DELETE nothing|FUNCTION LOAD nonsense|PERSIST nothing|RENAME nothing {any}|RENAMENX nothing {any}|COPY nothing {any}";

/// One of them that the servers know.
pub(super) fn one(dice: &mut Dice) -> Option<Command> {
    let list = match dice.below(16) {
        0..4 => EDGES,
        4..6 if dice.options.fields => FIELDS,
        6 if dice.knows("HGETDEL") => GETDEL,
        _ => RARE,
    };
    let templates: Vec<&str> = list.split('|').map(str::trim).collect();
    let template = dice.pick(&templates);
    let mut made = filled(dice, template);
    // A DISCARD inside a transaction ends a loading server.
    let inside = dice.in_transaction && matches!(template, "EXEC" | "DISCARD");
    let relative = template.contains("{seconds}") || template.contains("{millis}");
    // A name of no shard in particular.
    let stray = !dice.options.tied && template.contains("nothing {any}");
    if inside || stray || (relative && !dice.options.relative_deadlines) {
        return None;
    }
    if dice.one_in(60) && ["BLPOP", "LMPOP", "PFCOUNT", "COPY"].contains(&template.split(' ').next()?) {
        made[0].make_ascii_lowercase();
    }
    Some(made)
}

fn filled(dice: &mut Dice, template: &str) -> Command {
    let kinds: Vec<Kind> = template.split_whitespace().filter_map(|word| kind(dice, word)).collect();
    let mut keys = dice.keys_together(&kinds).into_iter();
    let mut last = Vec::new();
    let mut made = Command::new();
    for word in template.split_whitespace() {
        made.push(match word {
            "{member}" => dice.member(),
            // Of few, the numbers of [`super::hashes`], so that deadlines meet.
            "{field}" if dice.one_in(4) => dice.member(),
            "{field}" => format!("n{}", dice.below(4)).into_bytes(),
            "{value}" => dice.value(),
            "{int}" => dice.between(0, 4000).to_string().into_bytes(),
            "{db}" => dice.any_database().to_string().into_bytes(),
            "{far}" => dice.far_ms().to_string().into_bytes(),
            "{seconds}" => (dice.between(1, 9) * RELATIVE_UNIT_MS / 1000).to_string().into_bytes(),
            "{millis}" => (dice.between(1, 9) * RELATIVE_UNIT_MS).to_string().into_bytes(),
            "{id}" => streams::known_id(dice, &last).into_bytes(),
            _ if word.starts_with("{ms}") => {
                word.replace("{ms}", &streams::next_ms(dice).to_string()).into_bytes()
            }
            _ if word.starts_with('{') => {
                last = keys.next().expect("a key for each of its words");
                last.clone()
            }
            _ => word.as_bytes().to_vec(),
        });
    }
    made
}

fn kind(dice: &mut Dice, word: &str) -> Option<Kind> {
    let name = word.strip_prefix('{')?.strip_suffix('}')?;
    if name == "any" {
        // One at random for each; the kinds that do not mix stay out.
        return Some(dice.pick(&Kind::ALL[..Kind::ALL.len() - 1]));
    }
    Kind::ALL.into_iter().find(|kind| format!("{kind:?}").eq_ignore_ascii_case(name))
}

/// FUNCTION RESTORE of what another server dumped, and what empties libraries and caches.
pub(super) fn libraries(dice: &mut Dice) -> Option<Command> {
    match dice.below(9) {
        0 | 1 => Some(command!["SCRIPT", dice.keyword("LOAD"), super::scripts::body(dice)]),
        2 => Some(command!["SCRIPT", dice.keyword("FLUSH")]),
        3 => Some(command!["FUNCTION", dice.keyword("FLUSH")]),
        4 => Some(command!["FUNCTION", dice.keyword("DELETE"), "dumped"]),
        _ => {
            let payload = dice.payloads.functions()?;
            let mut made = command!["FUNCTION", dice.keyword("RESTORE"), payload];
            if !dice.one_in(4) {
                let how = dice.pick(&["FLUSH", "APPEND", "REPLACE"]);
                made.extend(command![dice.keyword(how)]);
            }
            Some(made)
        }
    }
}
