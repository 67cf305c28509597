use super::*;
use crate::topology::{Credentials, Secret};

fn environment(name: &str) -> Option<OsString> {
    match name {
        "SET" => Some("from-env".into()),
        "EMPTY" => Some("".into()),
        #[cfg(unix)]
        "BYTES" => Some(std::os::unix::ffi::OsStringExt::from_vec(vec![0xff])),
        _ => None,
    }
}

fn parsed(text: &str) -> Topology {
    parse(text, Path::new("sets.toml"), &environment).unwrap()
}

/// The error of `text` without the two lines that every one of them has: file and remedy.
fn refused(text: &str) -> String {
    let error = parse(text, Path::new("sets.toml"), &environment).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage, "{text}");
    let shown = error.to_string();
    assert!(shown.contains("\n  file: sets.toml\n"), "{shown}");
    assert!(!shown.contains("hunter2"), "a secret is shown: {shown}");
    let (rest, remedy) = shown.split_once("\n  what to do: ").unwrap_or((&shown, ""));
    assert!(!remedy.is_empty() || rest.contains("not TOML"), "no remedy: {shown}");
    rest.replace("\n  file: sets.toml", "").replace("\n  line: ", " @ ").replace(", column ", ":")
}

fn tcp(host: &str, port: u16) -> Endpoint {
    Endpoint::tcp(host, port).unwrap()
}

fn login(set: &ReplicaSet) -> Option<(Option<&str>, &str)> {
    let Target::Server(Members { credentials, .. }) = &set.target else { return None };
    credentials.as_ref().map(|found| (found.username.as_deref(), found.password.expose()))
}

#[test]
fn every_form_is_read() {
    let topology = parsed(
        r#"
[routing]
hash = "crc32"

[[replica_set]]
master   = "10.0.0.1:6380"
replicas = ["10.0.0.2", { host = "::1", port = 0x1_0 }, "unix:/run/r.sock"]
username = "loader"
password = "pw"

[[replica_set]]
master = { host = "Example.org" }
slaves = ["[::1]:7001"]

[[replica_set]]
aof = "out/shard-2"
"#,
    );
    assert_eq!(topology.sets.iter().map(|set| set.line).collect::<Vec<_>>(), [5, 11, 15]);
    let targets: Vec<_> = topology.sets.into_iter().map(|set| set.target).collect();
    assert_eq!(
        targets,
        [
            Target::Server(Members {
                master: tcp("10.0.0.1", 6380),
                replicas: vec![tcp("10.0.0.2", 6379), tcp("::1", 16), Endpoint::Unix("/run/r.sock".into())],
                credentials: Some(Credentials {
                    username: Some("loader".into()),
                    password: Secret::new("pw"),
                }),
            }),
            Target::Server(Members {
                master: tcp("example.org", 6379),
                replicas: vec![tcp("::1", 7001)],
                credentials: None,
            }),
            Target::Aof { directory: "out/shard-2".into() },
        ]
    );
}

#[test]
fn login_comes_from_the_set_then_auth_then_the_environment() {
    let two = "[[replica_set]]\nmaster = 'a'\n[[replica_set]]\nmaster = 'b'\npassword_env = 'SET'\n";
    let sets = parsed(&format!("[auth]\nusername = 'u'\npassword = 'p'\n{two}")).sets;
    assert_eq!(login(&sets[0]), Some((Some("u"), "p")));
    assert_eq!(login(&sets[1]), Some((Some("u"), "from-env")));

    let fallback = |name: &str| match name {
        PASSWORD_VARIABLE => Some(OsString::from("fallback")),
        USERNAME_VARIABLE => Some(OsString::from("")),
        other => environment(other),
    };
    let sets = parse(two, Path::new("sets.toml"), &fallback).unwrap().sets;
    assert_eq!(login(&sets[0]), Some((None, "fallback")));
    assert_eq!(login(&sets[1]), Some((None, "from-env")));
    assert_eq!(login(&parsed(two).sets[0]), None);
}

#[test]
fn a_password_file_loses_one_line_end_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pw");
    let text = format!("[[replica_set]]\nmaster = 'a'\npassword_file = '{}'\n", path.display());
    for (content, password) in [("pw", "pw"), ("pw\n", "pw"), ("pw\r\n", "pw"), (" pw \n\n", " pw \n")] {
        std::fs::write(&path, content).unwrap();
        assert_eq!(login(&parsed(&text).sets[0]), Some((None, password)));
    }
    for (content, fault) in [
        ("\n".into(), format!("the password file `{}` is empty @ 3:17", path.display())),
        (
            "x".repeat(70_000),
            format!(
                "cannot read the password file `{}`: it is larger than 65536 bytes @ 3:17",
                path.display()
            ),
        ),
    ] {
        std::fs::write(&path, content).unwrap();
        assert_eq!(refused(&text), fault);
    }
}

/// What is written, with `H` for the head of a set, and the message with ` @ line:column`.
const ERRORS: &[(&str, &str)] = &[
    ("", "the topology file names 0 replica sets"),
    ("replica_set = []", "the topology file names 0 replica sets"),
    ("[replica_set]\nmaster = 'a'", "`replica_set` in the topology file is a table @ 1:1"),
    ("replica_set = [1]", "`replica_set` in the topology file is a number @ 1:16"),
    ("[replica_sets]", "unknown field `replica_sets` in the topology file @ 1:2"),
    ("tls = true", "TLS is not supported yet @ 1:1"),
    ("[routing]\nhash = 'crc16'", "unknown hash `crc16` in [routing] @ 2:8"),
    ("[routing]\nhash = 1", "`hash` in [routing] is a number @ 2:8"),
    ("[routing]\nhsah = 'crc32'", "unknown field `hsah` in [routing] @ 2:1"),
    ("auth = 'hunter2'", "`auth` in the topology file is a string @ 1:8"),
    ("[auth]\npassword = ['hunter2']", "`password` in [auth] is an array @ 2:12"),
    ("[auth]\npassword = ''", "`password` in [auth] is empty @ 2:12"),
    (
        "[auth]\npassword_env = 'GONE'",
        "the environment variable `GONE` that holds the password is not set @ 2:16",
    ),
    (
        "[auth]\npassword_env = 'EMPTY'",
        "the environment variable `EMPTY` that holds the password is empty @ 2:16",
    ),
    ("[auth]\npassword_env = 'BYTES'", "the environment variable `BYTES` is not UTF-8 @ 2:16"),
    (
        "[auth]\npassword_env = 'hunter2!'",
        "`password_env` in [auth] is not the name of an environment variable @ 2:16",
    ),
    (
        "[auth]\npassword_file = '/nowhere/pw'",
        "cannot read the password file `/nowhere/pw`: No such file or directory (os error 2) @ 2:17",
    ),
    (
        "[auth]\npassword = 'hunter2'\npassword_env = 'SET'",
        "[auth] has both `password_env` and `password` @ 2:12",
    ),
    ("[[replica_set]]", "a [[replica_set]] has neither `master` nor `aof` @ 1:1"),
    ("H master = 'a'\naof = 'b'", "a [[replica_set]] has both `master` and `aof` @ 3:7"),
    ("H aof = 'a'\nreplicas = ['b']", "`replicas` stands in a [[replica_set]] with `aof` @ 3:12"),
    ("H aof = 'a'\npassword = 'hunter2'", "`password` stands in a [[replica_set]] with `aof` @ 3:12"),
    ("H aof = ''", "`aof` in [[replica_set]] is empty @ 2:8"),
    ("H mastr = 'a'", "unknown field `mastr` in [[replica_set]] @ 2:2"),
    ("H master = 'a'\ntls_ca = 'x'", "TLS is not supported yet @ 3:1"),
    ("H master = 'rediss://:hunter2@a'", "TLS is not supported yet @ 2:11"),
    ("H master = 'redis://:hunter2@a'", "a URL is not accepted as an address @ 2:11"),
    ("H master = ''", "the host of an address is empty @ 2:11"),
    ("H master = ':1'", "the host of an address is empty @ 2:11"),
    ("H master = 'a:0'", "`0` is not a port number @ 2:11"),
    ("H master = 'a:65536'", "`65536` is not a port number @ 2:11"),
    ("H master = 6379", "`master` in [[replica_set]] is a number @ 2:11"),
    ("H master = { port = 1 }", "`master` has no `host` @ 2:11"),
    ("H master = { host = '' }", "`host` in an address is empty @ 2:20"),
    ("H master = { host = 'a', port = 65536 }", "`65536` is not a port number @ 2:32"),
    ("H master = { host = 'a', port = -1 }", "`-1` is not a port number @ 2:32"),
    ("H master = { host = 'a', port = '1' }", "`port` in an address is a string @ 2:32"),
    ("H master = { host = 'a', prot = 1 }", "unknown field `prot` in an address @ 2:25"),
    ("H master = { host = 'u:hunter2@a' }", "an address cannot hold a user name or a password @ 2:20"),
    ("H master = 'a'\nreplicas = 'b'", "`replicas` in [[replica_set]] is a string @ 3:12"),
    ("H master = 'a'\nreplicas = ['b', 'c:']", "an address ends in a colon without a port @ 3:18"),
    (
        "H master = 'a'\nreplicas = []\nslaves = []",
        "a [[replica_set]] has both `replicas` and `slaves` @ 4:10",
    ),
    ("H master = 'a'\nusername = 'u'", "a [[replica_set]] has a user name but no password @ 1:1"),
    (
        "H master = 'a'\nH master = 'A:6379'",
        "a:6379 is named twice, in the replica sets of lines 1 and 3 @ 3",
    ),
    (
        "H master = 'a'\nreplicas = ['a']",
        "a:6379 is named twice, as master and as replica, in the replica set of line 1 @ 1",
    ),
    ("H aof = '/x/y'\nH aof = '/x/./y/'", "/x/y is named twice, in the replica sets of lines 1 and 3 @ 3"),
    (
        "H master = ",
        "the topology file is not TOML: string values must be quoted, expected literal string @ 2:11",
    ),
    (
        "[auth]\npassword = hunter2",
        "the topology file is not TOML: string values must be quoted, expected literal string @ 2:12",
    ),
    (
        "[auth]\npassword = 'hunter2",
        "the topology file is not TOML: invalid literal string, expected `'` @ 2:20",
    ),
    (
        "[auth]\npassword = 'hunter2' x",
        "the topology file is not TOML: unexpected key or value, expected newline, `#` @ 2:22",
    ),
    ("H master = 'a'\nmaster = 'b'", "the topology file is not TOML: duplicate key @ 3:1"),
];

#[test]
fn every_error_is_one_sentence_with_its_line() {
    for (text, message) in ERRORS {
        assert_eq!(refused(&text.replace("H ", "[[replica_set]]\n ")), *message, "{text}");
    }
}

#[test]
fn a_typo_gets_a_suggestion_and_a_stranger_does_not() {
    let remedy = |text: &str| {
        let shown = parse(text, Path::new("sets.toml"), &environment).unwrap_err().to_string();
        shown.split_once("what to do: ").unwrap().1.to_owned()
    };
    assert_eq!(
        remedy("[auth]\npasswrod = 'x'"),
        "did you mean `password`? [auth] takes `username`, `password_env`, `password_file`, `password`"
    );
    assert!(remedy("[[replica_set]]\nfoo = 'x'").starts_with("[[replica_set]] takes `master`"));
    assert_eq!(remedy("[routing]\nfoo = 'x'"), "[routing] takes `hash`");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = read(Path::new("/nowhere/sets.toml"), &environment).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read the topology file: No such file or directory (os error 2)\n  \
         file: /nowhere/sets.toml\n  what to do: check the path that is given with --topology"
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("binary.toml");
    std::fs::write(&path, b"\xff").unwrap();
    assert!(read(&path, &environment).unwrap_err().to_string().contains("UTF-8"));
}
