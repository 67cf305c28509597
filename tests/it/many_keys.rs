//! Targets of so many keys that the loader has the server look at them ahead.
//!
//! The bug: what is sent beside the commands themselves changes something, or its replies are taken for theirs.
//! Its mechanism: EXISTS stands between the commands of a transaction, and commands change places around it.
//! The guard: it reads only, and is told from the commands wherever replies are counted.

use crate::kill::run_and_kill;
use crate::scene::{self, Scene};
use crate::support::aof;
use crate::support::compare::assert_same;
use crate::support::server::Server;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::path::Path;

/// Of one target, more than the loader takes for few.
const KEYS: usize = 260_000;

/// Each key once, and as many commands again on random ones, in two databases and now and then in transactions.
fn source(seed: u64) -> Vec<u8> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut out = Vec::new();
    let mut open = false;
    for number in 0..2 * KEYS {
        let key = if number < KEYS { number } else { rng.random_range(0..KEYS) };
        if rng.random_ratio(1, 5_000) {
            aof::push_words(&mut out, if open { "EXEC" } else { "MULTI" });
            open = !open;
        }
        if rng.random_ratio(1, 20_000) {
            aof::push_words(&mut out, ["SELECT 0", "SELECT 1"][rng.random_range(0..2)]);
        }
        let command = match rng.random_range(0..10) {
            0..4 => format!("SET k:{key} {number}"),
            4 => format!("INCR k:{key}"),
            5 => format!("APPEND k:{key} {number}"),
            6 => format!("RPUSH k:{key} {number}"),
            7 => format!("HSET k:{key} f {number}"),
            8 => format!("DEL k:{key}"),
            _ => format!("MSET k:{key} a k:{} b", key / 2),
        };
        aof::push_words(&mut out, &command);
    }
    if open {
        aof::push_words(&mut out, "EXEC");
    }
    out
}

fn calls_of_exists(target: &Server) -> u64 {
    let stats = target.info("cmdstat_exists").unwrap_or_default();
    let calls = stats.split(',').find_map(|field| field.strip_prefix("calls=")).unwrap_or("0");
    calls.parse().expect("a number of calls")
}

fn load(scene: &Scene, path: &Path, target: &Server) {
    scene.load(path, std::slice::from_ref(target)).run_ok();
}

#[test]
fn keys_looked_at_ahead_are_loaded_like_others() {
    let (scene, targets) = (Scene::new(), scene::servers(1));
    let path = scene.file("dump.aof", source(1));
    let target = &targets[0];
    let loader = scene.load(&path, &targets);
    let keys = || target.cmd(&["DBSIZE"]).ok().and_then(|keys| redis::from_redis_value::<u64>(keys).ok());
    assert!(run_and_kill(&loader, || keys().is_some_and(|keys| keys > KEYS as u64 / 4)), "it ended too soon");
    load(&scene, &path, target);
    assert!(calls_of_exists(target) > 1_000, "{} looks", calls_of_exists(target));
    assert_same(&Server::loading(&path).expect("a sound source"), &targets);
}

/// Loading goes on for a user whose commands are listed one by one.
#[test]
fn who_is_not_permitted_to_look_ahead_loads_all_the_same() {
    let (scene, targets) = (Scene::new(), scene::servers(1));
    let path = scene.file("dump.aof", source(2));
    let target = &targets[0];
    let rules = ["on", ">secret", "~*", "+@all", "-exists"];
    target.cmd(&[&["ACL", "SETUSER", "writer"], rules.as_slice()].concat()).expect("a user");
    let topology = format!(
        "[[replica_set]]\nmaster = \"{}\"\nusername = \"writer\"\npassword_env = \"SECRET\"\n",
        target.addr()
    );
    scene.loader().arg(&path).topology(&topology).env("SECRET", "secret").run_ok();
    assert_eq!(calls_of_exists(target), 0);
    assert_same(&Server::loading(&path).expect("a sound source"), &targets);
}
