//! Clients that wait for others: the file holds what they were served with.

use super::{assert_loads, info_number, send, stopped, wait_until, writing};
use crate::support::raw::Raw;

/// What waits, and keys of its own for each.
const WAITING: &str = "BLPOP a{n} b{n} 0|BRPOP a{n} b{n} 0|BLMOVE a{n} moved{n} LEFT RIGHT 0|BRPOPLPUSH b{n} moved{n} 0
    |BLMPOP 0 2 a{n} b{n} LEFT COUNT 2|BZPOPMIN y{n} z{n} 0|BZPOPMAX y{n} z{n} 0|BZMPOP 0 2 y{n} z{n} MIN COUNT 2
    |XREADGROUP GROUP g me COUNT 5 BLOCK 0 STREAMS s{n} t{n} > >|XREADGROUP GROUP g me NOACK BLOCK 0 STREAMS s{n} t{n} > >";
/// What they wait for.
const SERVING: &str = "RPUSH b{n} 1 2 3 4|ZADD z{n} 1 a 2 b 3 c 4 d|XADD t{n} * f v|RPUSH a{n} 5 6 7|ZADD y{n} 9 e|XADD s{n} * f w";
const ROUNDS: usize = 8;

#[test]
fn clients_that_wait() {
    let mut server = writing(&[]);
    let client = &mut Raw::of(&server);
    let forms: Vec<&str> = WAITING.split('|').map(str::trim).collect();
    let mut waiting: Vec<Raw> = forms.iter().map(|_| Raw::of(&server)).collect();
    for round in 0..ROUNDS {
        for (at, form) in forms.iter().enumerate() {
            let n = round * forms.len() + at;
            let line = |text: &str| text.replace("{n}", &n.to_string());
            send(client, &line("XGROUP CREATE s{n} g 0 MKSTREAM|XGROUP CREATE t{n} g $ MKSTREAM"));
            waiting[at].send_words(&line(form));
            wait_until("a client that waits", || info_number(&server, "blocked_clients") == 1);
            match round % 3 {
                0 => send(client, &line(SERVING)),
                1 => send(client, &line(&format!("MULTI|{SERVING}|EXEC"))),
                _ => {
                    let script = "for _, k in ipairs({'a', 'b', 'moved'}) do redis.call('RPUSH', k .. ARGV[1], 1, 2, 3) end
                        for _, k in ipairs({'y', 'z'}) do redis.call('ZADD', k .. ARGV[1], 1, 'a', 2, 'b') end
                        for _, k in ipairs({'s', 't'}) do redis.call('XADD', k .. ARGV[1], '*', 'f', 'v') end";
                    let reply = client.ask(&[&["EVAL", script, "0", &n.to_string()]]).remove(0);
                    assert!(!reply.failed(), "{reply:?}");
                }
            }
            let served = waiting[at].read();
            assert!(!served.failed(), "{form}: {served:?}");
        }
    }
    assert_loads(&stopped(&mut server));
}
