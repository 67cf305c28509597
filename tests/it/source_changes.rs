//! A source that is not what it was: between two runs of a load, and under a load's hands.

use crate::scene::{Scene, Slow, assert_refused, reference};
use crate::support::aof::{self, MultiPart};
use crate::support::compare::assert_same;
use crate::support::loader::Output;
use crate::support::server::Server;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Commands that show a second application as well as a missing one; `{n}` counts up.
const STEPS: &str =
    "RPUSH list:{n} a b\n INCRBY sum:{n} {n}\n APPEND text xyz{n}\n SET key:{n} value PXAT 4102444800000\n";

fn small_source(steps: usize) -> Vec<u8> {
    aof::of_lines(&(0..steps).map(|n| STEPS.replace("{n}", &n.to_string())).collect::<String>())
}

/// A load of `source` that was killed in the middle, and the judge of what it should come to.
struct Midway {
    scene: Scene,
    source: std::path::PathBuf,
    slow: Slow,
    reference: Server,
}

impl Midway {
    fn of(scene: Scene, source: &Path) -> Self {
        let (slow, reference) = (Slow::start(2), reference(source));
        slow.kill_midway(&slow.load(&scene, source));
        Self { scene, source: source.to_path_buf(), slow, reference }
    }

    fn of_file(bytes: &[u8]) -> Self {
        let scene = Scene::new();
        let source = scene.file("dump.aof", bytes);
        Self::of(scene, &source)
    }

    fn run(&self) -> Output {
        self.slow.load(&self.scene, &self.source).run()
    }

    /// The next run goes on where the first one ended, and brings it to its end.
    fn assert_resumes(&self) -> Output {
        let output = self.run();
        assert_eq!(output.code, Some(0), "{output}");
        assert!(output.stdout.contains("resumed at"), "{output}");
        assert_same(&self.reference, &self.slow.targets);
        output
    }
}

#[test]
fn a_source_that_has_grown_is_loaded_to_where_it_ended_first() {
    let midway = Midway::of_file(&small_source(3000));
    let more = aof::of_lines("SET more 1\n INCR sum:1");
    let mut file = OpenOptions::new().append(true).open(&midway.source).expect("it is there");
    file.write_all(&more).expect("room");
    let output = midway.assert_resumes();
    assert!(output.to_string().contains(&format!("{} bytes behind the end", more.len())), "{output}");
    let again = midway.run();
    assert_eq!(again.code, Some(0), "{again}");
    assert!(again.to_string().contains(&format!("{} bytes behind the end", more.len())), "{again}");
    assert_same(&midway.reference, &midway.slow.targets);
}

/// What a server appends when it goes on with a file whose end was cut.
#[test]
fn a_dropped_tail_that_has_been_completed_since_stays_dropped() {
    let whole = small_source(3000);
    let midway = Midway::of_file(&[&whole, b"*3\r\n$3\r\nSET\r\n$4\r\nta".as_slice()].concat());
    fs::write(&midway.source, [whole, aof::of_lines("SET tail 1\n SET other 1")].concat()).expect("room");
    midway.assert_resumes();
}

#[test]
fn a_multi_part_source_that_got_another_file_is_loaded_to_where_it_ended_first() {
    let (scene, start) = (Scene::new(), small_source(1500));
    let dir = MultiPart::of(&[&start, &start]).write(scene.dir());
    let midway = Midway::of(scene, &dir);
    aof::write_file(&dir, "appendonly.aof.3.incr.aof", &start);
    let manifest = dir.join("appendonly.aof.manifest");
    let text = fs::read_to_string(&manifest).expect("it is there");
    fs::write(&manifest, text + "file appendonly.aof.3.incr.aof seq 3 type i\n").expect("room");
    midway.assert_resumes();
}

#[test]
fn a_source_that_was_changed_between_runs_is_refused_until_it_is_as_it_was() {
    let bytes = small_source(3000);
    let midway = Midway::of_file(&bytes);
    let mut value_changed = bytes.clone();
    let at = bytes.windows(5).rposition(|bytes| bytes == b"value").expect("a value");
    value_changed[at] = b'V';
    let mut start_changed = bytes.clone();
    let at = bytes.windows(5).position(|bytes| bytes == b"value").expect("a value");
    start_changed[at] = b'V';
    let cases: [(&[u8], &str); 4] = [
        (&value_changed, "different"),
        (&start_changed, "different"),
        (&bytes[..bytes.len() - 100], "shorter"),
        (b"", "shorter"),
    ];
    for (bytes, how) in cases {
        fs::write(&midway.source, bytes).expect("room");
        let file = format!("file: {}", midway.source.display());
        assert_refused(&midway.run(), 6, &["the source is", how, &file]);
    }
    fs::remove_file(&midway.source).expect("it is there");
    assert_refused(&midway.run(), 3, &["cannot read the source"]);
    fs::write(&midway.source, &bytes).expect("room");
    midway.assert_resumes();
}

#[test]
fn a_source_that_was_damaged_between_runs_is_refused_until_it_is_as_it_was() {
    let bytes = small_source(3000);
    let midway = Midway::of_file(&bytes);
    let middle = bytes.len() / 2;
    let star = middle + bytes[middle..].iter().position(|byte| *byte == b'*').expect("a command");
    let mut damaged = bytes.clone();
    damaged[star] = b'!';
    fs::write(&midway.source, damaged).expect("room");
    assert_refused(&midway.run(), 3, &["damaged", &format!("byte: {star}\n")]);
    fs::write(&midway.source, &bytes).expect("room");
    midway.assert_resumes();
}

#[test]
fn a_completed_load_of_a_source_that_was_changed_is_not_done_again() {
    let (scene, slow) = (Scene::new(), Slow::start(2));
    slow.hurry();
    let source = scene.file("dump.aof", small_source(50));
    let first = reference(&source);
    slow.load(&scene, &source).run_ok();
    scene.file("dump.aof", small_source(49));
    assert_refused(&slow.load(&scene, &source).run(), 6, &["another source"]);
    assert_same(&first, &slow.targets);
}

/// Many windows, so that most of the source has not been looked at when a slow load has just begun.
fn large_source() -> Vec<u8> {
    let value = vec![b'v'; 900];
    let mut bytes = Vec::new();
    for n in 0..100_000 {
        aof::push(&mut bytes, &[b"RPUSH", format!("list:{}", n % 5000).as_bytes(), &value]);
    }
    bytes
}

/// Changes the source when the load has just begun, lets it go on, and expects code 3 and these words.
fn spoil_during_load(midway: &(Scene, std::path::PathBuf, Slow), words: &str, spoil: impl FnOnce(&Path)) {
    let (scene, source, slow) = midway;
    let running = slow.start_load(&slow.load(scene, source));
    spoil(source);
    slow.hurry();
    let output = running.finish();
    assert_refused(&output, 3, &[words, "run the same command again"]);
}

/// Short enough that the map ends before what the lanes are at, or only before what they have not come to yet.
#[test]
fn a_source_that_is_cut_under_a_load_ends_it_and_it_resumes_when_restored() {
    let bytes = large_source();
    for left in [0, 60 << 20] {
        let scene = Scene::new();
        let source = scene.file("dump.aof", &bytes);
        let reference = reference(&source);
        let parts = (scene, source, Slow::start(2));
        spoil_during_load(&parts, "cut short while it was read", |source| {
            OpenOptions::new()
                .write(true)
                .open(source)
                .and_then(|file| file.set_len(left))
                .expect("it can be cut");
        });
        let (scene, source, slow) = parts;
        fs::write(&source, &bytes).expect("room");
        let output = slow.load(&scene, &source).run_ok();
        assert!(output.stdout.contains("resumed at"), "{output}");
        assert_same(&reference, &slow.targets);
    }
}

/// Far ahead of what the lanes are at, or in a window that has been partitioned and is about to be sent.
#[test]
fn a_source_that_is_overwritten_under_a_load_ends_it_and_it_resumes_when_restored() {
    let bytes = large_source();
    for near in [80 << 20, 2 << 20] {
        let scene = Scene::new();
        let source = scene.file("dump.aof", &bytes);
        let reference = reference(&source);
        let parts = (scene, source, Slow::start(2));
        // Inside one value, so that the framing stays as it was and only the checksum can tell.
        let at = near + bytes[near..].windows(50).position(|bytes| bytes == [b'v'; 50]).expect("a value");
        let write = |source: &Path, byte: u8| {
            let file = OpenOptions::new().write(true).open(source).expect("it is there");
            file.write_all_at(&[byte; 50], at as u64).expect("it can be overwritten");
        };
        println!("overwritten at byte {at}");
        spoil_during_load(&parts, "changed while it was read", |source| write(source, b'w'));
        let (scene, source, slow) = parts;
        write(&source, b'v');
        slow.load(&scene, &source).run_ok();
        assert_same(&reference, &slow.targets);
    }
}

/// What a rewrite of a live server's file does, and what it does between rewrites.
#[test]
fn a_source_that_is_replaced_or_grows_under_a_load_does_not_disturb_it() {
    for replaced in [true, false] {
        let (scene, slow) = (Scene::new(), Slow::start(2));
        let source = scene.file("dump.aof", small_source(3000));
        let reference = reference(&source);
        let running = slow.start_load(&slow.load(&scene, &source));
        if replaced {
            let other = scene.file("other.aof", aof::of_lines("FLUSHALL"));
            fs::rename(other, &source).expect("it can be replaced");
        } else {
            let mut file = OpenOptions::new().append(true).open(&source).expect("it is there");
            file.write_all(&aof::of_lines("FLUSHALL")).expect("room");
        }
        slow.hurry();
        let output = running.finish();
        assert_eq!(output.code, Some(0), "{output}");
        assert_same(&reference, &slow.targets);
    }
}
