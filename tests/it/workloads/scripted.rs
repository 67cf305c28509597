//! Scripts and functions: servers since 7.0 write what they did, and the libraries.

use super::{assert_loads, send, stopped, writing};
use crate::support::raw::Raw;

const SCRIPT: &str = "redis.call('SET', KEYS[1], ARGV[1], 'EX', 100000)
    redis.call('RPUSH', KEYS[2], ARGV[1], redis.call('TIME')[1])
    if tonumber(ARGV[1]) % 5 == 0 then redis.call('RENAME', KEYS[1], KEYS[3]) end
    if tonumber(ARGV[1]) % 7 == 0 then redis.call('LMOVE', KEYS[2], KEYS[4], 'LEFT', 'RIGHT') end
    redis.call('SADD', KEYS[5], math.random(1000), ARGV[1])
    redis.call('SPOP', KEYS[5])
    return redis.call('SUNIONSTORE', KEYS[6], KEYS[5], KEYS[6])";
const LIBRARY: &str = "#!lua name=books
redis.register_function('lend', function(keys, args)
    redis.call('SMOVE', keys[1], keys[2], args[1])
    redis.call('HINCRBY', keys[3], args[1], 1)
    redis.call('XADD', keys[4], '*', 'book', args[1])
    return 1
end)";

fn ask(client: &mut Raw, command: &[&str]) {
    let reply = client.ask(&[command]).remove(0);
    assert!(!reply.failed(), "{command:?}: {reply:?}");
}

#[test]
fn scripts_and_functions() {
    let mut server = writing(&[]);
    let client = &mut Raw::of(&server);
    ask(client, &["FUNCTION", "LOAD", LIBRARY]);
    ask(
        client,
        &["FUNCTION", "LOAD", "#!lua name=idle\nredis.register_function('idle', function() return 1 end)"],
    );
    for n in 0..300 {
        let key = |name: &str, of: usize| format!("{name}:{}", n % of);
        let keys = [
            key("text", 50),
            key("list", 9),
            key("moved", 40),
            key("list", 8),
            key("set", 6),
            key("sum", 11),
        ];
        let number = n.to_string();
        let mut command = vec!["EVAL", SCRIPT, "6"];
        command.extend(keys.iter().map(String::as_str));
        command.push(&number);
        ask(client, &command);
        let book = format!("book{}", n % 30);
        send(client, &format!("SADD shelf:{} {book}", n % 4));
        let keys = [key("shelf", 4), key("reader", 13), key("count", 3), key("log", 2)];
        let mut command = vec!["FCALL", "lend", "4"];
        command.extend(keys.iter().map(String::as_str));
        command.push(&book);
        ask(client, &command);
        if n == 150 {
            crate::support::rdb::rewrite(&server);
        }
    }
    ask(client, &["FUNCTION", "LOAD", "REPLACE", &LIBRARY.replace("return 1", "return 2")]);
    ask(client, &["FUNCTION", "DELETE", "idle"]);
    assert_loads(&stopped(&mut server));
}
