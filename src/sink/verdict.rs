//! What an error reply of a target means: the one place that decides.
//!
//! Two questions, because a reply means something else before and inside an EXEC. [`refusal`] is for the
//! replies to connect commands, to WATCH and GET, to commands being queued and to EXEC as a whole: nothing
//! of the batch was applied, and the question is what to do next. [`executed`] is for an error that
//! stands as an element inside an EXEC's reply: the rest of the batch *was* applied, and the question is
//! whether a redis-server that loads the same source from disk would have met this error too, logged
//! it and gone on.
//!
//! The texts were read in the sources of Redis 5.0 to 8.0 and Valkey 8.0 and 8.1 (and the hash commands
//! of Valkey 9). Then some 1,300 commands, most of them failing, were run inside MULTI/EXEC and once more
//! out of an AOF, on Redis 6.2, 7.0, 8.0 and Valkey 8.1: each error that came up and is ignored here was
//! logged by the loading server for the same command, and each that only the live server gave is a
//! divergence; a sixth of the texts below did not come up and rests on the reading alone. Wordings change
//! (`in set`, `in 'set' command`; `m, km`, `M, KM`), so only the stable beginning of a text is compared.
//! A text that is not listed is never guessed at: it stops the load.
//!
//! Two doubts. A server never logs a command that failed, so on a server as new as its own a sound source
//! brings none of the ignored errors; an *older* target answers `syntax error`, `wrong arity`, `wrong
//! count` or `unknown subcommand` to what it does not know yet, just as it would when it loads the file
//! itself, and whoever reports the counts should name these loudly. And a loading server of 7.0 or later
//! crashes on a script that ends in the error of one of its commands (seen on 7.0.15, 8.0.2 and Valkey
//! 8.1.1); such an error is judged by its text like any other, as 6.2 would go on, while errors that a
//! script makes up itself are divergences, because a script that misses its keys makes them too.

/// What to do after an error reply that came instead of doing anything: nothing of the batch was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It passes by itself: back off, then send the batch again from the marker. Holds a short stable
    /// name of the condition, for reports and for limits per condition.
    Wait(&'static str),
    /// Another server is, or may be, responsible, or the connection's state on the server is gone: ask the
    /// topology who is master, connect anew, read the marker.
    Rediscover,
    /// Waiting does not help.
    Stop {
        /// What the operator can do before running the same command again: a phrase without a full stop.
        remedy: &'static str,
    },
    /// EXEC was refused because a command was refused while it was queued: the first of those errors
    /// decides.
    Aborted,
}

/// What an error element inside an EXEC's reply means: the rest of the batch, with its marker, was applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Executed {
    /// A server that loads the source from disk meets the same error and goes on. Holds a short stable
    /// label to count by.
    Ignored(&'static str),
    /// Only a live server says this, or nobody knows: the target no longer holds what the source says.
    Divergence,
}

use Executed::{Divergence, Ignored};
use Refusal::{Aborted, Rediscover, Stop, Wait};

/// What to do after an error reply (the bytes after `-`, without CRLF) to a connect command, to WATCH or GET, to
/// a command while it was queued, or to EXEC itself.
pub fn refusal(error: &[u8]) -> Refusal {
    // 6.0 and later put the reason that arose between queueing and EXEC into EXEC's own reply.
    let error = error.strip_prefix(b"EXECABORT Transaction discarded because of: ").unwrap_or(error);
    let error = cause(error);
    let (code, message) = code_and_message(error);
    // The scripts of 6.2 report some errors without any code, so the whole text is a message as well.
    let message = if code == b"ERR" { message } else { error };
    equal(REFUSED_CODES, code).or_else(|| longest_prefix(REFUSED_MESSAGES, message)).unwrap_or(UNEXPECTED)
}

/// As much of an error reply as stands in the tables below, which is judged like the whole of it: without what a server
/// may repeat of a command, a password for one.
pub fn known_part(error: &[u8]) -> String {
    let (code, message) = code_and_message(error);
    if code == b"ERR" {
        let known = REFUSED_MESSAGES.iter().map(|(text, _)| *text);
        let longest = known.filter(|text| message.starts_with(text.as_bytes())).max_by_key(|text| text.len());
        return longest.map_or_else(|| "ERR".to_owned(), |text| format!("ERR {text}"));
    }
    let known = REFUSED_CODES.iter().find(|(known, _)| known.as_bytes() == code);
    known.map_or("an error that is not known here", |(code, _)| code).to_owned()
}

/// What an error element (the bytes after `-`, without CRLF) inside an EXEC's reply means.
///
/// A reply may hold its error deeper inside (HPERSIST on a string in Valkey 9 answers an array that holds
/// WRONGTYPE), so the caller has to look into nested elements too.
pub fn executed(error: &[u8]) -> Executed {
    let (code, message) = code_and_message(cause(error));
    // Without `ERR` a message is a user's own, out of a script.
    let verdict = match code {
        b"ERR" => longest_prefix(EXECUTED_MESSAGES, message),
        _ => equal(EXECUTED_CODES, code),
    };
    verdict.unwrap_or(Divergence)
}

/// The error inside the wrappers that scripts and functions put around it, or the error itself:
/// `ERR Error running script (call to f_<sha1>): @user_script:1: @user_script: 1: -OOM …` up to 6.2,
/// `ERR Error registering functions: ERR …` in 7.0 and later. What 7.0 and later append to a script's
/// error (` script: <sha1>, on @user_script:1.`) is behind the part that is compared.
fn cause(error: &[u8]) -> &[u8] {
    const SHA1_HEX_BYTES: usize = 40;
    let called = error
        .strip_prefix(b"ERR Error running script (call to f_")
        .and_then(|rest| rest.get(SHA1_HEX_BYTES..))
        .and_then(|rest| rest.strip_prefix(b"): "));
    let registered = error.strip_prefix(b"ERR Error registering functions: ");
    let mut inner = called.or(registered).unwrap_or(error);
    while let Some(rest) = past_position(inner) {
        inner = rest;
    }
    inner.strip_prefix(b"-").unwrap_or(inner)
}

/// What follows `@user_script:<line>: ` or `@user_script: <line>: `, each of which 6.2 may write.
fn past_position(text: &[u8]) -> Option<&[u8]> {
    let line = text.strip_prefix(b"@user_script:")?.trim_ascii_start();
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    line.get(digits..)?.strip_prefix(b": ")
}

/// Splits at the first space: `ERR no such key` into `ERR` and `no such key`.
fn code_and_message(error: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = error.splitn(2, |byte| *byte == b' ');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// The entry of a sorted table whose text is exactly `text`.
fn equal<V: Copy>(table: &[(&str, V)], text: &[u8]) -> Option<V> {
    let found = table.binary_search_by(|(entry, _)| entry.as_bytes().cmp(text)).ok()?;
    table.get(found).map(|(_, value)| *value)
}

/// The entry of a sorted table with the longest text that `text` begins with.
fn longest_prefix<V: Copy>(table: &[(&str, V)], text: &[u8]) -> Option<V> {
    // Of two prefixes of one text the longer sorts later, and both sort at or before the text.
    let end = table.partition_point(|(entry, _)| entry.as_bytes() <= text);
    let mut candidates = table.iter().take(end).rev();
    candidates.find(|(entry, _)| text.starts_with(entry.as_bytes())).map(|(_, value)| *value)
}

// The remedies are phrases without a full stop and without "run the same command again": whoever shows
// them says that.
const UNEXPECTED: Refusal = Stop {
    remedy: "the target answered something unexpected: look the answer up in its documentation and its log, \
             and put it right",
};
const AUTHENTICATE: Refusal =
    Stop { remedy: "the target wants a user and password, or other ones than were given: check both" };
const NO_PASSWORD_SET: Refusal = Stop {
    remedy: "the target has no password for this user: leave the password out, or set it on the target",
};
const PERMIT: Refusal = Stop {
    remedy: "give the user on the target (ACL SETUSER) all keys and every command of the source, together \
             with MULTI, EXEC, WATCH, GET, SET, DEL, MSET, SELECT, and RESTORE for RDB parts (the README lists all)",
};
const DISK_FAILS: Refusal = Stop {
    remedy: "the target cannot write its RDB or AOF file and refuses writes: look at its log, give it disk \
             space and access to its directory",
};
const TOO_OLD: Refusal = Stop {
    remedy: "the target does not know a command or a value of the source, or knows it in another form: load \
             into servers at least as new as the one that wrote the source, all of one version, with its \
             modules and without renamed commands",
};
const ONE_DATABASE: Refusal = Stop {
    remedy: "a cluster has database 0 only: load a source with several databases into replica sets without \
             cluster mode",
};
const MORE_DATABASES: Refusal =
    Stop { remedy: "set `databases` in the target's configuration to at least what the source's server had" };
const NOT_A_CLUSTER: Refusal = Stop {
    remedy: "the target runs without cluster mode: name it as a replica set in the topology, or start it with \
             `cluster-enabled yes`",
};
const SLOT_MIX: Refusal = Stop {
    remedy: "a transaction named keys of several cluster slots, which is a fault of this program: please \
             report it; a target without cluster mode takes the source as it is",
};
const MARKER_TAKEN: Refusal = Stop {
    remedy: "a key of this program's own holds a value of another type that somebody else wrote: load into \
             empty targets, or delete that key",
};
const PROTECTED: Refusal = Stop {
    remedy: "the target runs in protected mode: set a password on it, or run this program on its own machine",
};
const LONGER_ARGUMENTS: Refusal = Stop {
    remedy: "an argument is longer than the target takes: raise `proto-max-bulk-len` on the target (CONFIG SET)",
};
const NOT_TRANSPARENT: Refusal = Stop {
    remedy: "the connection does not keep to the protocol or to transactions: connect to redis-server itself, \
             without a proxy in between, and with TLS exactly where the target has it",
};

/// By the reply's code, sorted.
const REFUSED_CODES: &[(&str, Refusal)] = &[
    // The slot is being moved: once it has arrived the answer is MOVED.
    ("ASK", Wait("ASK")),
    ("BUSY", Wait("BUSY")),
    ("CLUSTERDOWN", Wait("CLUSTERDOWN")),
    ("CROSSSLOT", SLOT_MIX),
    ("DENIED", PROTECTED),
    ("EXECABORT", Aborted),
    ("LOADING", Wait("LOADING")),
    ("MASTERDOWN", Rediscover),
    ("MISCONF", DISK_FAILS),
    ("MOVED", Rediscover),
    ("NOAUTH", AUTHENTICATE),
    ("NOPERM", PERMIT),
    ("NOPROTO", NOT_TRANSPARENT),
    ("NOREPLICAS", Wait("NOREPLICAS")),
    // The script cache was emptied.
    ("NOSCRIPT", Rediscover),
    // Other clients may free memory; the retry limit bounds the wait.
    ("OOM", Wait("OOM")),
    ("READONLY", Rediscover),
    ("REDIRECT", Rediscover),
    ("TRYAGAIN", Wait("TRYAGAIN")),
    // A blocked or paused client, when the server became a replica.
    ("UNBLOCKED", Rediscover),
    ("WRONGPASS", AUTHENTICATE),
    ("WRONGTYPE", MARKER_TAKEN),
];

/// By how the message after `ERR ` begins, sorted.
const REFUSED_MESSAGES: &[(&str, Refusal)] = &[
    ("ACL failure in script", PERMIT),
    ("AUTH <password> called without any password configured", NO_PASSWORD_SET),
    ("Bad data format", TOO_OLD),
    ("Client sent AUTH, but no password is set", NO_PASSWORD_SET),
    ("Command not allowed inside a transaction", NOT_TRANSPARENT),
    ("DB index is out of range", MORE_DATABASES),
    ("DISCARD without MULTI", NOT_TRANSPARENT),
    ("DUMP payload version or checksum are wrong", TOO_OLD),
    ("EXEC without MULTI", NOT_TRANSPARENT),
    ("MULTI calls can not be nested", NOT_TRANSPARENT),
    ("Protocol error", NOT_TRANSPARENT),
    ("Protocol error: invalid bulk length", LONGER_ARGUMENTS),
    ("Protocol error: unauthenticated", AUTHENTICATE),
    ("SELECT is not allowed in cluster mode", ONE_DATABASE),
    ("Script killed by user", Wait("script killed")),
    ("The user executing the script can't", PERMIT),
    ("This instance has cluster support disabled", NOT_A_CLUSTER),
    ("Transaction contains write commands but instance is now a read-only", Rediscover),
    ("Unknown subcommand", TOO_OLD),
    ("WATCH inside MULTI is not allowed", NOT_TRANSPARENT),
    ("invalid password", AUTHENTICATE),
    ("max number of clients", Wait("max clients")),
    ("unknown command", TOO_OLD),
    ("unknown subcommand", TOO_OLD),
    ("wrong number of arguments", TOO_OLD),
];

/// By the code, sorted. A loading server meets these for the same command and data.
const EXECUTED_CODES: &[(&str, Executed)] = &[
    ("BUSYGROUP", Ignored("BUSYGROUP")),
    ("BUSYKEY", Ignored("BUSYKEY")),
    ("INVALIDOBJ", Ignored("INVALIDOBJ")),
    ("NOGROUP", Ignored("NOGROUP")),
    ("NOSCRIPT", Ignored("NOSCRIPT")),
    ("WRONGTYPE", Ignored("WRONGTYPE")),
];

/// By how the message after `ERR ` begins, sorted. The divergences that are spelled out are those that look
/// like their neighbours: a loading server has no size limits of `proto-max-bulk-len` (strings, bit
/// offsets), accepts `LIMIT` on exact trimming and gives FUNCTION LOAD all the time it takes; and the
/// target alone decides about databases, cluster slots, memory and the versions of RESTORE's payloads.
const EXECUTED_MESSAGES: &[(&str, Executed)] = &[
    ("BITOP NOT must be called with a single source key", Ignored("syntax error")),
    ("BY option of SORT denied", Divergence),
    ("Bad data format", Divergence),
    ("Bad number of keys provided", Ignored("wrong count")),
    ("COUNT must be > 0", Ignored("wrong count")),
    ("Copying to another database is not allowed", Divergence),
    ("DB index is out of range", Divergence),
    ("DUMP payload version or checksum are wrong", Divergence),
    ("Element too large", Ignored("too large")),
    ("Elements are too large to be stored", Ignored("too large")),
    ("Error compiling function: ", Ignored("function")),
    ("Error compiling script ", Ignored("script does not compile")),
    ("FUNCTION FLUSH only supports", Ignored("syntax error")),
    ("FUNCTION LOAD timeout", Divergence),
    ("Function ", Ignored("function")),
    ("GEOSEARCHSTORE is not compatible", Ignored("geo argument")),
    ("GET option of SORT denied", Divergence),
    ("GT and LT options at the same time", Ignored("syntax error")),
    ("GT, LT, and/or NX options at the same time", Ignored("syntax error")),
    ("HLL encoding is not sparse", Ignored("PFDEBUG")),
    ("INCR option supports a single increment-element pair", Ignored("syntax error")),
    ("Input dimension mismatch for projection", Ignored("vector set")),
    ("Insufficient memory", Divergence),
    ("Invalid FREQ value", Ignored("syntax error")),
    ("Invalid IDLE option argument for XCLAIM", Ignored("stream option")),
    ("Invalid IDLETIME value", Ignored("syntax error")),
    ("Invalid OVERFLOW type specified", Ignored("syntax error")),
    ("Invalid RETRYCOUNT option argument for XCLAIM", Ignored("stream option")),
    ("Invalid TIME option argument for XCLAIM", Ignored("stream option")),
    ("Invalid TTL value", Ignored("invalid expire time")),
    ("Invalid bitfield type", Ignored("syntax error")),
    ("Invalid library metadata", Ignored("library")),
    ("Invalid metadata value", Ignored("library")),
    ("Invalid min-idle-time argument for ", Ignored("stream option")),
    ("Invalid stream ID specified", Ignored("stream id")),
    ("Library ", Ignored("library")),
    ("MOVE is not allowed in cluster mode", Divergence),
    ("Mandatory argument FIELDS is missing", Ignored("syntax error")),
    ("Missing GROUP option for XREADGROUP", Ignored("stream option")),
    ("Missing library metadata", Ignored("library")),
    ("NX and XX, GT or LT options at the same time", Ignored("syntax error")),
    ("No functions registered", Ignored("function")),
    ("Number of fields must be a positive integer", Ignored("wrong count")),
    ("Number of keys can't be ", Ignored("wrong count")),
    ("One or more scores can't be converted into double", Ignored("not a float")),
    ("Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments", Ignored("syntax error")),
    ("Only one of FXX or FNX arguments", Ignored("syntax error")),
    ("Parameter `numFields` should be greater than 0", Ignored("wrong count")),
    ("SCRIPT FLUSH only support", Ignored("syntax error")),
    ("SELECT is not allowed in cluster mode", Divergence),
    ("STORE option in GEORADIUS is not compatible", Ignored("geo argument")),
    ("SWAPDB is not allowed in cluster mode", Divergence),
    ("The $ ID is meaningless", Ignored("stream id")),
    ("The + ID is meaningless", Ignored("stream id")),
    ("The > ID can be specified only", Ignored("stream id")),
    ("The ID specified in XADD is equal or smaller", Ignored("stream id")),
    ("The ID specified in XADD must be greater than 0-0", Ignored("stream id")),
    ("The ID specified in XSETID is smaller", Ignored("stream id")),
    ("The LIMIT argument must be >= 0", Ignored("stream option")),
    ("The MAXLEN argument must be >= 0", Ignored("stream option")),
    ("The XGROUP subcommand requires the key to exist", Ignored("no such key")),
    ("The `numfields` parameter must match", Ignored("wrong count")),
    ("The bit argument must be 1 or 0", Ignored("not an integer")),
    ("The entries_added specified in XSETID is smaller", Ignored("stream option")),
    ("The specified key does not exist", Ignored("PFDEBUG")),
    ("The stream has exhausted the last possible ID", Ignored("stream id")),
    ("Unbalanced ", Ignored("stream id")),
    ("Unknown PFDEBUG subcommand", Ignored("PFDEBUG")),
    ("Unknown option given: ", Ignored("syntax error")),
    ("Unknown subcommand or wrong number of arguments for ", Ignored("unknown subcommand")),
    ("Unrecognized XCLAIM option ", Ignored("stream option")),
    ("Unsupported option ", Ignored("syntax error")),
    ("Vector dimension mismatch", Ignored("vector set")),
    ("Wrong number of arguments for the '", Ignored("PFDEBUG")),
    ("Wrong restore policy given", Ignored("syntax error")),
    ("XTRIM called without an option to trim", Ignored("stream option")),
    ("XX and NX options at the same time", Ignored("syntax error")),
    ("asked M value mismatch with existing vector set", Ignored("vector set")),
    ("asked quantization mismatch with existing vector set", Ignored("vector set")),
    ("at least 1 input key is needed for ", Ignored("wrong count")),
    ("bit is not an integer or out of range", Ignored("not an integer")),
    ("bit offset is not an integer or out of range", Divergence),
    ("cannot add projection to existing set", Ignored("vector set")),
    ("could not decode requested zset member", Ignored("geo argument")),
    ("count should be greater than 0", Ignored("wrong count")),
    ("decrement would overflow", Ignored("overflow")),
    ("entries_added must be positive", Ignored("stream option")),
    ("exactly one of ", Ignored("geo argument")),
    ("failed loading the given functions payload", Divergence),
    ("hash value is not a float", Ignored("not a float")),
    ("hash value is not an integer", Ignored("not an integer")),
    ("height or width cannot be negative", Ignored("geo argument")),
    ("increment or decrement would overflow", Ignored("overflow")),
    ("increment would produce NaN or Infinity", Ignored("overflow")),
    ("index out of range", Ignored("out of range")),
    ("invalid EF", Ignored("vector set")),
    ("invalid M", Ignored("vector set")),
    ("invalid end ID for the interval", Ignored("stream id")),
    ("invalid expire time", Ignored("invalid expire time")),
    ("invalid first DB index", Ignored("not an integer")),
    ("invalid longitude,latitude pair ", Ignored("geo argument")),
    ("invalid number of fields", Ignored("wrong count")),
    ("invalid option after element", Ignored("vector set")),
    ("invalid second DB index", Ignored("not an integer")),
    ("invalid start ID for the interval", Ignored("stream id")),
    ("invalid vector dimension", Ignored("vector set")),
    ("invalid vector specification", Ignored("vector set")),
    ("library name argument was not given", Ignored("library")),
    ("min or max is not a float", Ignored("not a float")),
    ("min or max not valid string range item", Ignored("invalid range")),
    ("missing expire time", Ignored("invalid expire time")),
    ("need numeric ", Ignored("geo argument")),
    ("no such key", Ignored("no such key")),
    ("numfields should be greater than 0 and match", Ignored("wrong count")),
    ("numkeys should be greater than 0", Ignored("wrong count")),
    ("offset is out of range", Ignored("out of range")),
    ("radius cannot be negative", Ignored("geo argument")),
    ("resulting score is not a number (NaN)", Ignored("overflow")),
    ("source and destination objects are the same", Ignored("same object")),
    ("string exceeds maximum allowed size", Divergence),
    ("syntax error", Ignored("syntax error")),
    ("syntax error, LIMIT cannot be used without the special ~ option", Divergence),
    ("the ANY argument requires COUNT argument", Ignored("geo argument")),
    ("timeout is ", Ignored("bad timeout")),
    ("unable to create a Vector Set", Divergence),
    ("unknown argument: ", Ignored("syntax error")),
    ("unknown subcommand or wrong number of arguments for ", Ignored("unknown subcommand")),
    ("unsupported unit provided", Ignored("geo argument")),
    ("value for ENTRIESREAD must be positive or -1", Ignored("stream option")),
    ("value is NaN or Infinity", Ignored("not a float")),
    ("value is not a valid float", Ignored("not a float")),
    ("value is not an integer or out of range", Ignored("not an integer")),
    ("value is out of range", Ignored("out of range")),
    ("weight value is not a float", Ignored("not a float")),
    ("wrong number of arguments for ", Ignored("wrong arity")),
];

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
