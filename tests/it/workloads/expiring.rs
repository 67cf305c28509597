//! Keys that expire and keys that are evicted: the file holds their deletion.

use super::{assert_loads, info_number, send, stopped, wait_until, writing};
use crate::support::raw::Raw;
use crate::support::wire;

#[test]
fn keys_that_expire() {
    let mut server = writing(&[]);
    let client = &mut Raw::of(&server);
    for n in 0..200 {
        send(
            client,
            &format!(
                "SET text:{n} {n} PX {}|RPUSH list:{n} 1 2|PEXPIRE list:{n} {}|SADD set:{n} a b|SETEX slow:{n} 100000 v
                |HSET hash:{n} f v|EXPIRE hash:{n} 100000|GETEX slow:{n} PX 200000000|SET slid:{n} v PX 40|PEXPIRE slid:{n} 90000000",
                5 + n,
                1 + n % 50
            ),
        );
    }
    wait_until("keys that have expired", || info_number(&server, "expired_keys") >= 300);
    // Written again and renamed, with the old deadline or a new one.
    for n in 0..200 {
        let line = format!(
            "APPEND text:{n} x|RPUSH list:{n} 3|COPY slid:{n} text:{} REPLACE|PEXPIRE set:{n} {} NX|PERSIST hash:{n}",
            (n + 7) % 200,
            3 + n % 9
        );
        send(client, &line);
    }
    wait_until("sets that have expired", || info_number(&server, "expired_keys") >= 500);
    // Their deadlines pass while the server is away.
    send(client, "SET late v PX 30|SADD later a|PEXPIRE later 60");
    assert_loads(&stopped(&mut server));
}

#[test]
fn keys_that_are_evicted() {
    let mut server = writing(&[]);
    let client = &mut Raw::of(&server);
    let room = info_number(&server, "used_memory") + (1 << 20);
    send(client, &format!("CONFIG SET maxmemory-policy allkeys-random|CONFIG SET maxmemory {room}"));
    let value = "v".repeat(2000);
    for n in 0..1500 {
        send(
            client,
            &format!("SET text:{n} {value}|APPEND text:{} more|RPUSH list:{} {value}", n / 2, n % 50),
        );
        if n % 10 == 0 {
            // In a transaction nothing is evicted between the two, which RENAME would answer with an error.
            send(client, &format!("MULTI|RPUSH from {n}|RENAME from to:{}|EXEC", n % 90));
            send(client, &format!("SUNIONSTORE sum set:{}", n % 7));
        }
    }
    assert!(info_number(&server, "evicted_keys") > 100, "memory was too large");
    send(client, "CONFIG SET maxmemory 0|SET after 1");
    assert_loads(&stopped(&mut server));
}

#[test]
fn fields_that_expire() {
    let mut server = writing(&[]);
    if !wire::knows(&mut server.conn(), "HPEXPIRE") {
        // Older servers write none, and the load of such commands is tested where it is refused.
        return;
    }
    let client = &mut Raw::of(&server);
    for n in 0..100 {
        send(
            client,
            &format!(
                "HSET hash:{n} f v g w h 1|HPEXPIRE hash:{n} {} FIELDS 1 f|HEXPIRE hash:{n} 100000 FIELDS 1 g",
                5 + n % 20
            ),
        );
    }
    wait_until("fields that have expired", || info_number(&server, "expired_subkeys") >= 100);
    for n in 0..100 {
        send(
            client,
            &format!(
                "HSET hash:{n} f again|HINCRBY hash:{n} h 5|HPERSIST hash:{n} FIELDS 1 g|RENAME hash:{n} moved:{n}"
            ),
        );
    }
    assert_loads(&stopped(&mut server));
}
