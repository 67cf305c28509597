//! What a server refuses to load is refused, what it loads is loaded: forms that no server writes, and mutants of those
//! that they write, behind a checksum that was made for them or none at all. The server itself is the judge.

use super::damage::{TIMEOUT, WORKERS, assert_damaged, on_workers, small};
use crate::scene::{Scene, assert_refused, assert_untouched, empty, servers};
use crate::support::aof;
use crate::support::binary::Binary;
use crate::support::compare::assert_same;
use crate::support::forms::{Group, count, intset, listpack, stream, text, texts, value, ziplist, zipmap};
use crate::support::rdb::{Rdb, resealed, unsealed};
use crate::support::server::Server;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use redis::Value;

/// A name, and a file.
pub(super) type Form = (String, Vec<u8>);

const LIBRARY: &str = "#!lua name=l\nredis.register_function('f', function() return 1 end)";

fn form(name: impl Into<String>, content: &[u8]) -> Form {
    (name.into(), Rdb::new(9).raw(content).unchecked())
}

/// So many names, the last of which is the first again, each followed by `1` if something has to.
fn repeating(count: usize, is_pair: bool) -> Vec<String> {
    let names = (0..count).map(|nth| format!("m{}", nth % (count - 1)));
    names.flat_map(|name| if is_pair { vec![name, "1".to_owned()] } else { vec![name] }).collect()
}

fn borrowed(names: &[String]) -> Vec<&str> {
    names.iter().map(String::as_str).collect()
}

fn knows_sets_in_listpacks() -> bool {
    Binary::from_env().version() >= (7, 2)
}

/// Members and fields that stand twice.
fn repeats() -> Vec<Form> {
    let mut forms = Vec::new();
    for elements in [2, 129, 513] {
        let (names, pairs) = (repeating(elements, false), repeating(elements, true));
        let (names, pairs) = (borrowed(&names), borrowed(&pairs));
        let listed = |with: &[u8]| {
            [count(elements), names.iter().flat_map(|name| [text(name), with.to_vec()].concat()).collect()]
                .concat()
        };
        let members = (0..elements as i16).map(|member| member % (elements as i16 - 1));
        forms.extend([
            form(format!("set of {elements}"), &value(2, &texts(&names))),
            form(format!("sorted set of {elements}, scores as text"), &value(3, &listed(b"\x011"))),
            form(format!("sorted set of {elements}"), &value(5, &listed(&1f64.to_le_bytes()))),
            form(format!("hash of {elements}"), &value(4, &listed(b"\x01v"))),
            form(format!("intset of {elements}"), &value(11, &intset(members))),
            form(format!("hash of {elements} in a ziplist"), &value(13, &ziplist(&pairs, None))),
            form(format!("sorted set of {elements} in a ziplist"), &value(12, &ziplist(&pairs, None))),
            form(format!("hash of {elements} in a listpack"), &value(16, &listpack(&pairs, None))),
            form(format!("sorted set of {elements} in a listpack"), &value(17, &listpack(&pairs, None))),
        ]);
        if knows_sets_in_listpacks() {
            forms.push(form(format!("set of {elements} in a listpack"), &value(20, &listpack(&names, None))));
        }
    }
    for bytes in [64, 65] {
        let long = "v".repeat(bytes);
        let fields = ["a", "v", "b", long.as_str(), "a", "w"];
        let body = [count(3), fields.iter().flat_map(text).collect()].concat();
        forms.push(form(format!("hash with a value of {bytes}"), &value(4, &body)));
    }
    forms.push(form("zipmap", &value(9, &zipmap(&[("a", "1"), ("a", "2")]))));
    forms.push(form("set of a number and its digits", &value(2, b"\x02\xc0\x07\x017")));
    forms
}

/// Counts in headers, and elements that do not come out even.
fn counts() -> Vec<Form> {
    let mut forms = Vec::new();
    for other in [0, 1, 3, 4, 100, 1000, u16::MAX] {
        let pair = &["m", "1"];
        for kind in [16, 17, 20].into_iter().filter(|kind| *kind < 20 || knows_sets_in_listpacks()) {
            forms.push(form(
                format!("listpack of type {kind} said to hold {other}"),
                &value(kind, &listpack(pair, Some(other))),
            ));
        }
        for kind in [10, 12, 13] {
            forms.push(form(
                format!("ziplist of type {kind} said to hold {other}"),
                &value(kind, &ziplist(pair, Some(other))),
            ));
        }
        let node = [b"\x01\x02".as_slice(), &listpack(pair, Some(other))].concat();
        forms.push(form(format!("node said to hold {other}"), &value(18, &node)));
    }
    let odd = &["m", "1", "n"];
    for (kind, body) in [
        (16, listpack(odd, None)),
        (17, listpack(odd, None)),
        (12, ziplist(odd, None)),
        (13, ziplist(odd, None)),
    ] {
        forms.push(form(format!("type {kind} of an odd count"), &value(kind, &body)));
    }
    // The marks of special strings, where a count stands.
    forms.push(form("count as 0xc2", &value(2, b"\xc2\x01a\x01b")));
    forms.push(form("count as 0x82", &value(2, b"\x82\x01a\x01b")));
    forms.push(form("compressed lengths as 0xc0", &value(0, b"\xc3\xc2\xc1\x00x")));
    forms.push(form("nothing, compressed", &value(0, b"\xc3\x02\x00\x00x")));
    forms
}

fn scores() -> Vec<Form> {
    let mut forms = Vec::new();
    let texts = [
        "nan", "-NaN", "infx", "infi", "\t-1", "1.5abc", "0x10", "0x", "1e", "1e400", "-", "", ".5", "abc",
        "1\0z",
    ];
    for score in texts {
        let body = [b"\x01\x01m".as_slice(), &text(score)].concat();
        forms.push(form(format!("score {score:?}"), &value(3, &body)));
        for pairs in [1, 129] {
            let names: Vec<String> = (0..pairs).map(|nth| format!("m{nth}")).collect();
            let entries: Vec<&str> = names.iter().flat_map(|name| [name, score]).collect();
            forms.push(form(
                format!("{pairs} scores {score:?} in a listpack"),
                &value(17, &listpack(&entries, None)),
            ));
            forms.push(form(
                format!("{pairs} scores {score:?} in a ziplist"),
                &value(12, &ziplist(&entries, None)),
            ));
        }
    }
    forms.push(form("score that is no number", &value(3, b"\x01\x01m\xfd")));
    forms.push(form(
        "binary score that is no number",
        &value(5, &[b"\x01\x01m".as_slice(), &f64::NAN.to_le_bytes()].concat()),
    ));
    forms
}

/// What stands before and between values.
fn entries() -> Vec<Form> {
    let deadline = [&b"\xfc"[..], &4_000_000_000_000i64.to_le_bytes()].concat();
    let last = [0xff; 8];
    let betweens: [(&str, &[u8]); 13] = [
        ("information", b"\xfa\x01a\x01b"),
        ("another database", b"\xfe\x01"),
        ("a database as 0xc1", b"\xfe\xc1"),
        ("sizes", b"\xfb\x01\x01"),
        ("another deadline", b"\xfd\x00\x00\x00\x77"),
        ("no deadline", b"\xfc\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("an empty set", b"\x02\x05empty\x00"),
        ("an idle time apart", b"\xf8\x05\xfa\x01a\x01b"),
        ("two idle times", b"\xf8\x05\xfe\x02\xf8\x85"),
        ("a frequency apart", b"\xf9\x05\xfb\x00\x00\xf9\x07"),
        ("an idle time past 2^63", b"\xf8\x81\x80\x00\x00\x00\x00\x00\x00\x00"),
        ("a type that is none", b"\xf1"),
        ("nothing", b""),
    ];
    let mut forms: Vec<Form> = betweens
        .map(|(name, between)| {
            form(
                format!("a deadline, then {name}"),
                &[&deadline, between, &value(0, b"\x01v"), &b"\x00\x01l\x01w"[..]].concat(),
            )
        })
        .into();
    for start in [b"\xfb\x81".as_slice(), b"\xfb\x00\x81", b"\xf8\x81", b"\xf4\x00\x00\x81"] {
        let content = [start, &last, b"\x00\x00", &value(0, b"\x01v")].concat();
        forms.push(form(format!("2^64 - 1 behind {start:x?}"), &content));
    }
    forms.extend(slots(&deadline));
    forms.push(form("a deadline before the end", &[value(0, b"\x01v"), deadline].concat()));
    // Functions of release candidates of Redis 7.0, of which servers take none.
    forms.push(form(
        "functions of another form",
        &[b"\xf6\x01l\x00\x01x".as_slice(), &value(0, b"\x01v")].concat(),
    ));
    // Valkey takes nothing but digits; what servers of Redis take is loaded.
    let odd = if Server::start(&[]).info("valkey_version").is_some() {
        &[][..]
    } else {
        &["REDIS  9", "REDIS+009", "REDIS9ab", "REDIS\t\n9", "REDIS9\0\0"]
    };
    for header in odd.iter().chain(&["REDIS-009", "REDIS0000", "REDISabcd"]) {
        let mut bytes = format!("{header}\0\0\0\0").into_bytes();
        bytes.truncate(9);
        let file = [bytes, value(0, b"\x01v"), vec![0xff; 1], vec![0; 8]].concat();
        forms.push((format!("header {header:?}"), file));
    }
    forms
}

/// How many keys a slot has, said in every way that there is. Only Redis from 7.4 on knows this form.
fn slots(deadline: &[u8]) -> Vec<Form> {
    let is_valkey = Server::start(&[]).info("valkey_version").is_some();
    if is_valkey || Binary::from_env().version() < (7, 4) {
        return Vec::new();
    }
    let all = |sizes: &[u8]| [sizes, &value(0, b"\x01v")].concat();
    let cases: [(&str, Vec<u8>); 10] = [
        ("a slot", all(b"\xf4\x00\x01\x00")),
        ("a slot past the last", all(b"\xf4\x80\x00\x00\x40\x00\x01\x00")),
        ("a slot of 2^63", all(b"\xf4\x81\x80\0\0\0\0\0\0\0\x01\x00")),
        ("a slot of more keys than there are", all(b"\xf4\x00\x81\x7f\0\0\0\0\0\0\0\x7f\xff")),
        ("a slot as 0xc1", all(b"\xf4\xc1\xc2\xc0")),
        ("a slot as 0x82", all(b"\xf4\x82\x00\x00")),
        ("a slot twice", all(b"\xf4\x00\x01\x00\xf4\x00\x01\x00")),
        ("a slot of two numbers only", all(b"\xf4\x00\x01")),
        ("a slot between", all(&[deadline, b"\xf8\x05\xf4\x00\x01\x00"].concat())),
        ("a slot before the end", [&value(0, b"\x01v"), b"\xf4\x00\x00\x00".as_slice()].concat()),
    ];
    cases.into_iter().map(|(name, content)| form(name, &content)).collect()
}

fn libraries() -> Vec<Form> {
    let code = LIBRARY.split_once('\n').expect("it has two lines").1;
    let other = LIBRARY.replace("'f'", "'g'");
    let cases: [&[&str]; 20] = [
        &[LIBRARY],
        &[LIBRARY, LIBRARY],
        &[LIBRARY, &other],
        &[LIBRARY, &other.replace("=l", "=m")],
        &[LIBRARY, &other.replace("=l", "=m"), &LIBRARY.replace("=l", "=n")],
        &["#!lua name=l\nnot Lua"],
        &["#!lua name=l\nlocal nothing = 1"],
        &["#!lua name=l\nredis.call('SET', 'a', 'b')"],
        &["#!lua name=l\nerror('given type is not a function')"],
        &["#!lua name=l\nredis.register_function('f', 1)"],
        &["#!lua name=l\nredis.register_function('a b', function() return 1 end)"],
        &[code],
        &[""],
        &["#!lua name=l"],
        &["#!lua name=l\n"],
        &[&format!("#!lua\n{code}")],
        &[&format!("#!js name=l\n{code}")],
        &[&format!("#!LUA NAME=\"l\"\n{code}")],
        &[&format!("#!lua name=l-1\n{code}")],
        &[&format!("#!lua name=l other=x\n{code}")],
    ];
    let functions = |libraries: &[&str]| -> Vec<u8> {
        libraries.iter().flat_map(|library| [b"\xf5".as_slice(), &text(library)].concat()).collect()
    };
    let all = cases.iter().map(|libraries| {
        let file = Rdb::new(10).raw(&functions(libraries)).string("key", "v").unchecked();
        (format!("libraries {libraries:?}"), file)
    });
    // Lua shows the byte that it stumbles over.
    let odd = Rdb::new(10).raw(b"\xf5\x0f#!lua name=l\n\xff\xfe").string("key", "v").unchecked();
    all.chain([("a library that is not UTF-8".to_owned(), odd)]).collect()
}

fn streams() -> Vec<Form> {
    let groups: [(&str, &[Group<'_>]); 7] = [
        ("sound", &[("g", &[2, 1, 3], &[("c", &[3, 1]), ("d", &[2])]), ("h", &[1], &[("c", &[1])])]),
        ("a group twice", &[("g", &[], &[]), ("g", &[], &[])]),
        ("pending twice", &[("g", &[1, 1], &[])]),
        ("a consumer twice", &[("g", &[1], &[("c", &[]), ("c", &[])])]),
        ("not pending", &[("g", &[1], &[("c", &[2])])]),
        ("owned twice", &[("g", &[1], &[("c", &[1]), ("d", &[1])])]),
        ("owned by nobody", &[("g", &[1], &[("c", &[])])]),
    ];
    let mut forms = Vec::new();
    for (is_second, version) in [(false, 9), (true, 10)] {
        let mut add = |name: &str, nodes: &[u8], length, groups: &[Group<'_>]| {
            let body = value(if is_second { 19 } else { 15 }, &stream(is_second, nodes, length, groups));
            forms.push((
                format!("stream of form {version}, {name}"),
                Rdb::new(version).raw(&body).unchecked(),
            ));
        };
        groups.iter().for_each(|(name, groups)| add(name, &[1, 2, 3], 3, groups));
        add("a node twice", &[1, 2, 1], 3, &[]);
        add("a length and no node", &[], 1, &[]);
        add("nothing", &[], 0, &[]);
    }
    forms
}

/// The first bytes of the payloads of what a server keeps as it stands: listpacks, and streams of them.
const KEPT: [u8; 7] = [15, 16, 17, 18, 19, 20, 21];

/// Keys of database 0 whose values a server keeps as they stand, with these values as DUMP gives them.
fn kept(server: &Server) -> Vec<(Vec<u8>, Vec<u8>)> {
    let Ok(Value::Array(keys)) = server.cmd(&["KEYS", "*"]) else { panic!("KEYS answers") };
    let dump = |key: Value| {
        let Value::BulkString(name) = key else { panic!("a key {key:?}") };
        let dump = server.cmd(&[b"DUMP".as_slice(), &name]);
        let Ok(Value::BulkString(dump)) = dump else { panic!("DUMP answered {dump:?}") };
        (name, dump)
    };
    let mut kept: Vec<_> = keys.into_iter().map(dump).filter(|(_, dump)| KEPT.contains(&dump[0])).collect();
    kept.sort();
    kept
}

/// Reads no element of what is kept as it stands: that would end a server if it is damaged.
fn assert_loaded_alike(reference: &Server, targets: &[Server]) {
    let same = kept(reference);
    assert_eq!(same, kept(&targets[0]), "what is kept as it stands");
    for server in [reference, &targets[0]] {
        for (key, _) in &same {
            server.cmd(&[b"DEL".as_slice(), key]).expect("it is there");
        }
    }
    assert_same(reference, targets);
}

/// Loads a file into an empty server and lets another load it by itself. Whether they took it; what is wrong if they do
/// not agree.
fn judged(scene: &Scene, targets: &[Server], nth: usize, name: &str, bytes: &[u8]) -> Result<bool, String> {
    let source = scene.file(&format!("{nth}.rdb"), bytes);
    empty(targets);
    let output = scene.load(&source, targets).timeout(TIMEOUT).run();
    match (Server::loading(&source), output.code) {
        (Ok(reference), Some(0)) => {
            assert_loaded_alike(&reference, targets);
            Ok(true)
        }
        (Err(_), Some(3 | 4)) => {
            assert_damaged(&output, &source, name);
            assert_untouched(targets);
            Ok(false)
        }
        (Err(log), Some(5)) if log.contains("databases") => {
            assert_refused(&output, 5, &["too few databases"]);
            assert_untouched(targets);
            Ok(false)
        }
        // What is in a library's code only a server can tell.
        (Err(log), Some(5)) if log.contains("Failed loading library") => {
            assert_refused(&output, 5, &["does not take the libraries of functions", "answer: "]);
            assert_untouched(targets);
            Ok(false)
        }
        (Ok(_), _) => Err(format!("a server takes {name}: {output}")),
        (Err(log), _) => Err(format!("a server refuses {name}: {output}\n{log}")),
    }
}

/// Judges all files, of which so many at least are taken, and so many refused.
pub(super) fn judge(forms: &[Form], (taken_min, refused_min): (usize, usize)) {
    let counted = std::sync::Mutex::new((0, 0, Vec::new()));
    on_workers(|worker| {
        let (scene, targets) = (Scene::new(), servers(1));
        for (nth, (name, bytes)) in forms.iter().enumerate().skip(worker).step_by(WORKERS) {
            let verdict = judged(&scene, &targets, nth, name, bytes);
            let mut counted = counted.lock().expect("no worker ended early");
            match verdict {
                Ok(true) => counted.0 += 1,
                Ok(false) => counted.1 += 1,
                Err(wrong) => counted.2.push(wrong),
            }
        }
    });
    let (taken, refused, wrong) = counted.into_inner().expect("no worker ended early");
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), forms.len(), wrong.join("\n"));
    assert!(taken >= taken_min && refused >= refused_min, "{taken} taken, {refused} refused");
}

#[test]
fn what_stands_twice_is_judged_as_a_server_does() {
    judge(&repeats(), (4, 20));
}

#[test]
fn odd_counts_and_lengths_are_judged_as_a_server_does() {
    judge(&counts(), (20, 10));
}

#[test]
fn scores_are_judged_as_a_server_does() {
    judge(&scores(), (40, 10));
}

#[test]
fn odd_entries_are_judged_as_a_server_does() {
    judge(&entries(), (10, 5));
}

#[test]
fn libraries_are_judged_as_a_server_does() {
    judge(&libraries(), (2, 8));
}

/// A directory cannot be asked, but a server of the product that wrote the file can; also if it has to load what is tied.
#[test]
fn libraries_for_directories_are_shown_to_a_private_server() {
    let is_valkey = Server::start(&[]).info("server_name").as_deref() == Some("valkey");
    let product = if is_valkey { "valkey-ver" } else { "redis-ver" };
    // Without a slash in it, it is the one on the PATH.
    let server = Binary::from_env().path().display().to_string();
    let scratch = if server.contains('/') { vec!["--scratch", &server] } else { Vec::new() };
    let ties: String = (0..20).map(|n| format!("SET from:{n} v\n RENAME from:{n} to:{n}\n")).collect();
    let forms = libraries();
    on_workers(|worker| {
        let scene = Scene::new();
        for (nth, (name, bytes)) in forms.iter().enumerate().skip(worker).step_by(WORKERS) {
            let (header, rest) = bytes.split_at(9);
            let written_by = [b"\xfa".as_slice(), &text(product), &text("1.0")].concat();
            let alone = [header, &written_by, rest].concat();
            for (which, tail) in [("alone", Vec::new()), ("tied", aof::of_lines(ties.trim_end()))] {
                let source = scene.file(&format!("{nth}-{which}.rdb"), [alone.as_slice(), &tail].concat());
                let out = scene.dir().join(format!("out-{nth}-{which}"));
                let load = scene.loader().arg(&source).args(&["--shards", "2", "--output"]).arg(&out);
                let output = load.args(&scratch).timeout(TIMEOUT).run();
                let is_taken = Server::loading(&source).is_ok();
                let what = format!("{name} {which}: {output}");
                assert_eq!(output.code == Some(0), is_taken, "{what}");
                if output.code == Some(5) {
                    assert_refused(
                        &output,
                        5,
                        &["does not take the libraries of functions", "nothing was written"],
                    );
                }
                assert!(is_taken || !out.exists(), "something was written: {what}");
                let scratch = scene.dir().join(format!("{nth}-{which}.rdb.checkpoint.scratch"));
                assert!(!scratch.exists(), "the private server has left something: {what}");
            }
        }
    });
}

#[test]
fn streams_are_judged_as_a_server_does() {
    judge(&streams(), (5, 10));
}

/// Values in small files of their own, to be mutated.
fn sound() -> Vec<Vec<u8>> {
    let pairs = &["a", "1", "b", "2.5"];
    let group: &[Group<'_>] =
        &[("g", &[1, 2, 3], &[("c", &[1, 3]), ("d", &[2])]), ("h", &[1], &[("c", &[1])])];
    let long = "v".repeat(70);
    let hash = [count(2), ["f", long.as_str(), "g", "w"].iter().flat_map(text).collect()].concat();
    let nodes =
        [&b"\x03\x02"[..], &listpack(pairs, None), b"\x02", &listpack(&["c"], None), b"\x01\x05plain"]
            .concat();
    let values = [
        value(2, &texts(&["a", "b", "12"])),
        value(2, &texts(&["1", "2", "300"])),
        value(1, &texts(&["a", "b", "12"])),
        value(4, &hash),
        value(3, b"\x03\x01a\x031.5\x01b\x04-2e3\x01c\xfe"),
        value(5, &[b"\x02\x01a".as_slice(), &1f64.to_le_bytes(), b"\x01b", &2f64.to_le_bytes()].concat()),
        value(11, &intset([1, 2, 3])),
        value(16, &listpack(pairs, None)),
        value(17, &listpack(pairs, None)),
        value(13, &ziplist(pairs, None)),
        value(12, &ziplist(pairs, None)),
        value(10, &ziplist(pairs, None)),
        value(14, &[b"\x01".as_slice(), &ziplist(pairs, None)].concat()),
        value(18, &nodes),
        value(9, &zipmap(&[("a", "1"), ("b", "22")])),
        value(15, &stream(false, &[1, 2], 2, group)),
        value(19, &stream(true, &[1, 2], 2, group)),
        value(2, b"\x02\xc3\x06\x0a\x02abc\xa0\x02\x01x"),
    ];
    values
        .iter()
        .map(|value| Rdb::new(10).raw(b"\xfe\x00\xfb\x01\x00\xf8\x07").raw(value).unchecked())
        .collect()
}

#[test]
fn mutants_are_judged_as_a_server_does() {
    let count: usize = std::env::var("MUTATIONS").map_or(120, |count| count.parse().expect("a number"));
    let mut bases = sound();
    bases.extend([small(false), small(false)]);
    let forms: Vec<Form> = (0..count)
        .map(|seed| {
            let mut rng = StdRng::seed_from_u64(seed as u64);
            let mut bytes = bases[seed % bases.len()].clone();
            let at = rng.random_range(9..bytes.len() - 9);
            let there = bytes[at];
            let new = match rng.random_range(0..6) {
                0 => there ^ 1 << rng.random_range(0..8),
                1 => there.wrapping_add(1),
                2 => there.wrapping_sub(1),
                3 => [0x00, 0x81, 0xc1, 0xff][rng.random_range(0..4)],
                4 => bytes[rng.random_range(9..bytes.len() - 9)],
                _ => rng.random(),
            };
            bytes[at] = new;
            let bytes = if rng.random() { resealed(&bytes) } else { unsealed(&bytes) };
            (format!("mutation {seed}: byte {at} becomes {new:#04x}"), bytes)
        })
        .collect();
    judge(&forms, (count / 8, count / 8));
}
