//! Replies that real servers gave (Redis 6.2.14, 7.0.15, 8.0.2, Valkey 8.1.1), and what they mean.

use super::*;

const SHA1: &str = "87392ffa2dc19495f8ba5ba0dd1fd496bbd925a3";

fn sorted_and_unique<V>(table: &[(&str, V)]) -> bool {
    table.is_sorted_by(|(a, _), (b, _)| a.as_bytes() < b.as_bytes())
}

#[test]
fn tables_are_sorted_and_without_repeats() {
    assert!(sorted_and_unique(REFUSED_CODES));
    assert!(sorted_and_unique(REFUSED_MESSAGES));
    assert!(sorted_and_unique(EXECUTED_CODES));
    assert!(sorted_and_unique(EXECUTED_MESSAGES));
}

#[test]
fn every_entry_is_found_by_its_own_text_and_with_a_tail() {
    for (text, verdict) in EXECUTED_MESSAGES {
        assert_eq!(executed(format!("ERR {text}").as_bytes()), *verdict, "{text}");
        assert_eq!(executed(format!("ERR {text}~").as_bytes()), *verdict, "{text}~");
    }
    for (text, verdict) in REFUSED_MESSAGES {
        assert_eq!(refusal(format!("ERR {text}~").as_bytes()), *verdict, "{text}~");
    }
    for (code, verdict) in EXECUTED_CODES {
        assert_eq!(executed(format!("{code} any").as_bytes()), *verdict, "{code}");
        assert_eq!(executed(format!("{code}S any").as_bytes()), Divergence, "{code}S");
    }
    for (code, verdict) in REFUSED_CODES {
        assert_eq!(refusal(code.as_bytes()), *verdict, "{code}");
        assert_eq!(refusal(format!("{code}S any").as_bytes()), UNEXPECTED, "{code}S");
    }
}

#[test]
fn a_loading_server_meets_these_too() {
    let cases = [
        ("BUSYGROUP Consumer Group name already exists", "BUSYGROUP"),
        ("BUSYKEY Target key name already exists.", "BUSYKEY"),
        ("INVALIDOBJ Corrupted HLL object detected", "INVALIDOBJ"),
        ("NOGROUP No such consumer group 'g' for key name 'x'", "NOGROUP"),
        ("NOGROUP No such key 'x' or consumer group 'g'", "NOGROUP"),
        ("NOSCRIPT No matching script. Please use EVAL.", "NOSCRIPT"),
        ("NOSCRIPT No matching script.", "NOSCRIPT"),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", "WRONGTYPE"),
        ("WRONGTYPE Key is not a valid HyperLogLog string value.", "WRONGTYPE"),
        ("ERR no such key", "no such key"),
        ("ERR value is not an integer or out of range", "not an integer"),
        ("ERR value is not a valid float", "not a float"),
        ("ERR value is out of range, must be positive", "out of range"),
        ("ERR value is out of range, value must between -2147483648 and 2147483647", "out of range"),
        ("ERR index out of range", "out of range"),
        ("ERR decrement would overflow", "overflow"),
        ("ERR increment would produce NaN or Infinity", "overflow"),
        ("ERR source and destination objects are the same", "same object"),
        ("ERR invalid expire time in set", "invalid expire time"),
        ("ERR invalid expire time in 'set' command", "invalid expire time"),
        ("ERR invalid expire time, must be >= 0", "invalid expire time"),
        ("ERR syntax error", "syntax error"),
        ("ERR syntax error, LIMIT cannot be used without specifying a trimming strategy", "syntax error"),
        ("ERR Unsupported option FOO", "syntax error"),
        ("ERR wrong number of arguments for 'hset' command", "wrong arity"),
        ("ERR wrong number of arguments for MSET", "wrong arity"),
        (
            "ERR Unknown subcommand or wrong number of arguments for 'CREATE'. Try XGROUP HELP.",
            "unknown subcommand",
        ),
        (
            "ERR unknown subcommand or wrong number of arguments for 'CREATE'. Try XGROUP HELP.",
            "unknown subcommand",
        ),
        ("ERR at least 1 input key is needed for 'zunionstore' command", "wrong count"),
        ("ERR at least 1 input key is needed for ZUNIONSTORE/ZINTERSTORE", "wrong count"),
        ("ERR numfields should be greater than 0 and match the provided number of fields", "wrong count"),
        ("ERR The ID specified in XADD is equal or smaller than the target stream top item", "stream id"),
        ("ERR Invalid stream ID specified as stream command argument", "stream id"),
        ("ERR min or max is not a float", "not a float"),
        ("ERR min or max not valid string range item", "invalid range"),
        ("ERR invalid longitude,latitude pair 181.000000,38.000000", "geo argument"),
        ("ERR unsupported unit provided. please use M, KM, FT, MI", "geo argument"),
        ("ERR Library 'lib1' already exists", "library"),
        ("ERR Function f1 already exists", "function"),
        ("ERR Vector dimension mismatch - got 3 but set has 2", "vector set"),
    ];
    for (reply, label) in cases {
        assert_eq!(executed(reply.as_bytes()), Ignored(label), "{reply}");
    }
}

#[test]
fn only_a_live_server_says_these() {
    let cases = [
        // A loading server executed the same command without an error.
        "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
        "ERR string exceeds maximum allowed size (512MB)",
        "ERR bit offset is not an integer or out of range",
        "ERR syntax error, LIMIT cannot be used without the special ~ option",
        // Memory, permissions, roles, slots, databases and payload versions are the target's.
        "OOM command not allowed when used memory > 'maxmemory'.",
        "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call.",
        "READONLY You can't write against a read only replica.",
        "MISCONF Errors writing to the AOF file: No space left on device",
        "ERR Bad data format",
        "ERR DUMP payload version or checksum are wrong",
        "ERR DB index is out of range",
        "ERR SWAPDB is not allowed in cluster mode",
        "ERR Copying to another database is not allowed in cluster mode",
        "ERR BY option of SORT denied in Cluster mode when keys formed by the pattern may be in different slots.",
        "ERR Insufficient memory, failed allocating transient memory, too many args.",
        // Nobody knows.
        "ERR something new",
        "ERR",
        "",
        " ",
        "wrongtype operation against a key holding the wrong kind of value",
        "ERR No such key",
        "no such key",
        "MYERR out of stock",
    ];
    for reply in cases {
        assert_eq!(executed(reply.as_bytes()), Divergence, "{reply}");
    }
}

#[test]
fn errors_inside_scripts_are_judged_by_their_cause() {
    let old = |inner: &str| format!("ERR Error running script (call to f_{SHA1}): @user_script:1: {inner}");
    let new = |inner: &str| format!("{inner} script: {SHA1}, on @user_script:1.");
    let oom = "OOM command not allowed when used memory > 'maxmemory'.";
    for wrapped in [old(&format!("@user_script: 1: -{oom}")), new(oom)] {
        assert_eq!(executed(wrapped.as_bytes()), Divergence, "{wrapped}");
        assert_eq!(refusal(wrapped.as_bytes()), Wait("OOM"), "{wrapped}");
    }
    for wrapped in [old("ERR index out of range"), new("ERR index out of range")] {
        assert_eq!(executed(wrapped.as_bytes()), Ignored("out of range"), "{wrapped}");
        assert_eq!(refusal(wrapped.as_bytes()), UNEXPECTED, "{wrapped}");
    }
    assert_eq!(
        refusal(b"@user_script: 1: -READONLY You can't write against a read only replica."),
        Rediscover
    );
    let forbidden =
        old("@user_script: 1: The user executing the script can't run this command or subcommand");
    assert_eq!(refusal(forbidden.as_bytes()), PERMIT);
    for made_up in [old("user_script:1: boom"), new("ERR user_script:1: boom"), old(""), old("@user_script:")]
    {
        assert_eq!(executed(made_up.as_bytes()), Divergence, "{made_up}");
    }
    assert_eq!(executed(b"ERR Error running script (call to f_short): ERR no such key"), Divergence);
    let registering = |inner: &str| format!("ERR Error registering functions: {inner}");
    let twice = registering("ERR Function already exists in the library");
    assert_eq!(executed(twice.as_bytes()), Ignored("function"));
    assert_eq!(executed(registering("ERR FUNCTION LOAD timeout").as_bytes()), Divergence);
}

#[test]
fn what_passes_by_itself_is_waited_out() {
    let cases = [
        ("LOADING Redis is loading the dataset in memory", "LOADING"),
        ("LOADING Valkey is loading the dataset in memory", "LOADING"),
        ("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", "BUSY"),
        ("NOREPLICAS Not enough good replicas to write.", "NOREPLICAS"),
        ("OOM command not allowed when used memory > 'maxmemory'.", "OOM"),
        ("TRYAGAIN Multiple keys request during rehashing of slot", "TRYAGAIN"),
        ("CLUSTERDOWN Hash slot not served", "CLUSTERDOWN"),
        ("ASK 5061 127.0.0.1:3602", "ASK"),
        ("ERR max number of clients reached", "max clients"),
        ("ERR max number of clients + cluster connections reached", "max clients"),
        (
            "EXECABORT Transaction discarded because of: OOM command not allowed when used memory > 'maxmemory'.",
            "OOM",
        ),
        (
            "EXECABORT Transaction discarded because of: NOREPLICAS Not enough good replicas to write.",
            "NOREPLICAS",
        ),
    ];
    for (reply, label) in cases {
        assert_eq!(refusal(reply.as_bytes()), Wait(label), "{reply}");
    }
}

#[test]
fn a_server_that_is_not_the_master_sends_us_looking() {
    let cases = [
        "READONLY You can't write against a read only replica.",
        "READONLY You can't write against a read only slave.",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "MOVED 12182 127.0.0.1:3602",
        "REDIRECT 127.0.0.1:6380",
        "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
        "EXECABORT Transaction discarded because of: READONLY You can't write against a read only replica.",
        "ERR Transaction contains write commands but instance is now a read-only slave. EXEC aborted.",
        "NOSCRIPT No matching script. Please use EVAL.",
    ];
    for reply in cases {
        assert_eq!(refusal(reply.as_bytes()), Rediscover, "{reply}");
    }
}

#[test]
fn what_an_operator_must_put_right_names_the_remedy() {
    let cases = [
        (
            "MISCONF Valkey is configured to save RDB snapshots, but it's currently unable to persist to disk.",
            DISK_FAILS,
        ),
        ("MISCONF Errors writing to the AOF file: No space left on device", DISK_FAILS),
        ("EXECABORT Transaction discarded because of: MISCONF Errors writing to the AOF file: x", DISK_FAILS),
        ("NOAUTH Authentication required.", AUTHENTICATE),
        ("EXECABORT Transaction discarded because of: NOAUTH Authentication required.", AUTHENTICATE),
        ("WRONGPASS invalid username-password pair or user is disabled.", AUTHENTICATE),
        ("ERR Protocol error: unauthenticated bulk length", AUTHENTICATE),
        ("ERR invalid password", AUTHENTICATE),
        ("ERR Client sent AUTH, but no password is set", NO_PASSWORD_SET),
        ("NOPERM this user has no permissions to run the 'eval' command", PERMIT),
        ("ERR ACL failure in script: User u has no permissions to run the 'set' command", PERMIT),
        ("CROSSSLOT Keys in request don't hash to the same slot", SLOT_MIX),
        ("ERR unknown command 'HPEXPIREAT', with args beginning with: 'h' '1' ", TOO_OLD),
        ("ERR unknown command `NOSUCH`, with args beginning with: `a`, ", TOO_OLD),
        ("ERR unknown subcommand 'FOO'. Try XGROUP HELP.", TOO_OLD),
        ("ERR wrong number of arguments for 'pexpireat' command", TOO_OLD),
        ("ERR DUMP payload version or checksum are wrong", TOO_OLD),
        ("ERR Protocol error: invalid bulk length", LONGER_ARGUMENTS),
        ("ERR Protocol error: expected '$', got ':'", NOT_TRANSPARENT),
        ("ERR EXEC without MULTI", NOT_TRANSPARENT),
        ("ERR DB index is out of range", MORE_DATABASES),
        ("ERR SELECT is not allowed in cluster mode", ONE_DATABASE),
        ("ERR This instance has cluster support disabled", NOT_A_CLUSTER),
        ("DENIED Redis is running in protected mode because protected mode is enabled", PROTECTED),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", MARKER_TAKEN),
        ("ERR something new", UNEXPECTED),
        ("EXECABORT Transaction discarded because of: something new", UNEXPECTED),
        ("BUSYKEY Target key name already exists.", UNEXPECTED),
        ("", UNEXPECTED),
    ];
    for (reply, verdict) in cases {
        assert_eq!(refusal(reply.as_bytes()), verdict, "{reply}");
        assert!(
            matches!(verdict, Stop { remedy } if remedy.len() > 40 && !remedy.contains("  ") && !remedy.ends_with('.')),
            "{reply}"
        );
    }
}

#[test]
fn what_is_shown_of_a_login_repeats_nothing_and_is_judged_alike() {
    let cases = [
        ("WRONGPASS invalid username-password pair or user is disabled.", "WRONGPASS"),
        ("NOAUTH Authentication required.", "NOAUTH"),
        (
            "ERR AUTH <password> called without any password configured for the default user. Are you sure?",
            "ERR AUTH <password> called without any password configured",
        ),
        ("ERR unknown command 'AUTH', with args beginning with: 'hunter2' ", "ERR unknown command"),
        ("ERR hunter2 is wrong", "ERR"),
        ("hunter2 is wrong", "an error that is not known here"),
        ("", "an error that is not known here"),
    ];
    for (reply, shown) in cases {
        assert_eq!(known_part(reply.as_bytes()), shown);
        assert_eq!(refusal(shown.as_bytes()), refusal(reply.as_bytes()), "{reply}");
    }
}

#[test]
fn an_aborted_exec_points_to_the_first_queued_error() {
    assert_eq!(refusal(b"EXECABORT Transaction discarded because of previous errors."), Aborted);
}

#[test]
fn a_reply_cut_at_any_byte_gets_an_answer() {
    let wrapped =
        format!("ERR Error running script (call to f_{SHA1}): @user_script:1: @user_script: 1: -OOM x");
    for end in 0..wrapped.len() {
        let cut = wrapped.as_bytes().get(..end).unwrap_or_default();
        assert_eq!(executed(cut), Divergence, "{end}");
        assert!(matches!(refusal(cut), UNEXPECTED | Wait("OOM")), "{end}");
    }
    assert_eq!(executed(b"WRONGTYPE"), Ignored("WRONGTYPE"));
    assert_eq!(executed(b"ERR syntax error, LIMIT cannot be used without th"), Ignored("syntax error"));
}
