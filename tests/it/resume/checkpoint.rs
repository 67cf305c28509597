//! Every way in which the checkpoint file can differ from the markers. The markers are the truth.

use super::{ROUNDS, assert_refused_and_resumes_once, assert_resumes, complete, contents, stopped};
use crate::drill::{self, Drill, Targets, mark, mixed_durable};
use crate::scene::{Scene, assert_refused, assert_untouched, servers};
use crate::support::server::Server;
use std::fs;

#[test]
fn lost() {
    let (drill, targets) = stopped(201);
    fs::remove_file(drill.checkpoint()).expect("a checkpoint");
    assert_resumes(&drill, &targets);
}

#[test]
fn older_than_the_markers() {
    let (drill, targets) = stopped(202);
    let old = fs::read(drill.checkpoint()).expect("a checkpoint");
    drill.interrupt_at(&drill.load(&targets), &targets, 0.6);
    fs::write(drill.checkpoint(), old).expect("it can be written");
    assert_resumes(&drill, &targets);
}

/// A master that has lost its last seconds, as one without appendfsync always may.
#[test]
fn newer_than_the_markers() {
    let drill = Drill::of(&mixed_durable(drill::seed(203), ROUNDS));
    let mut targets = Targets::behind((0..3).map(|_| Server::start(&[])).collect());
    drill.interrupt_at(&drill.load(&targets), &targets, 0.2);
    let old = mark(&targets.masters[0]).expect("a marker");
    // It starts again from this.
    targets.masters[0].cmd(&["SAVE"]).expect("SAVE");
    drill.interrupt_at(&drill.load(&targets), &targets, 0.6);
    assert!(mark(&targets.masters[0]).expect("a marker").at > old.at);
    targets.masters[0].restart();
    assert_eq!(mark(&targets.masters[0]).expect("a marker").at, old.at);
    assert_resumes(&drill, &targets);
}

/// A master that has lost everything begins again; the others go on.
#[test]
fn of_a_master_that_is_empty_now() {
    let (drill, mut targets) = stopped(204);
    targets.masters[1].restart();
    assert_eq!(mark(&targets.masters[1]), None);
    assert_resumes(&drill, &targets);
}

#[test]
fn of_another_load_that_is_under_way() {
    let theirs = stopped(205);
    let other = Drill::mixed(drill::seed(206), ROUNDS);
    let run = || {
        fs::copy(theirs.0.checkpoint(), other.checkpoint()).expect("a checkpoint");
        other.load(&theirs.1).run()
    };
    assert_refused_and_resumes_once(&theirs, run, (6, &[]), || {});
}

/// Another dump took the place of one that was loaded, say.
#[test]
fn of_another_source_with_empty_targets() {
    for (drill, targets) in [stopped(207), complete(208)] {
        let other = Drill::mixed(drill::seed(209), ROUNDS);
        fs::copy(drill.checkpoint(), other.checkpoint()).expect("a checkpoint");
        let fresh = servers(3);
        let output = other.loader().servers(&fresh).run();
        assert_refused(&output, 6, &["another source", "dump.aof.checkpoint", "--restart"]);
        assert_untouched(&fresh);
        other.loader().servers(&fresh).arg("--restart").run_ok();
        other.assert_loaded(&fresh);
        drop(targets);
    }
}

#[test]
fn of_fewer_or_more_sets() {
    let load = stopped(210);
    let (drill, targets) = &load;
    let run = || drill.loader().masters(&targets.addrs()[..2]).run();
    assert_refused_and_resumes_once(&load, run, (6, &["3 sets", "2 sets"]), || {});
    // Without markers the checkpoint still tells.
    let (drill, _targets) = stopped(211);
    let fresh = servers(4);
    let output = drill.loader().servers(&fresh).run();
    assert_refused(&output, 6, &["3 sets", "4 sets"]);
    assert_untouched(&fresh);
}

#[test]
fn of_sets_in_another_order() {
    let load = stopped(212);
    let (drill, targets) = &load;
    let [first, second, third] = &targets.addrs()[..] else { panic!("there are three") };
    let run = || drill.loader().masters(&[second, first, third]).run();
    assert_refused_and_resumes_once(&load, run, (6, &["order"]), || {});
}

/// Half of the old targets, half others.
#[test]
fn of_other_targets() {
    let load = stopped(213);
    let (drill, targets) = &load;
    let stranger = Server::start(&[]);
    stranger.cmd(&["SET", "theirs", "1"]).expect("SET");
    let addrs = targets.addrs();
    let run = || drill.loader().masters(&[&addrs[0], &addrs[1], &stranger.addr()]).run();
    assert_refused_and_resumes_once(&load, run, (6, &["no marker", &stranger.addr()]), || {});
}

#[test]
fn of_a_newer_version() {
    let load = stopped(214);
    let path = load.0.checkpoint();
    let text = fs::read_to_string(&path).expect("a checkpoint");
    let newer = text.replace("\"version\": 1", "\"version\": 2");
    assert_ne!(text, newer);
    let run = || {
        fs::write(&path, newer).expect("it can be written");
        load.0.load(&load.1).run()
    };
    assert_refused_and_resumes_once(&load, run, (6, &["version", "--restart"]), || {
        fs::write(&path, &text).expect("it can be written");
    });
}

/// What was placed and shifted for one kind of target is wrong for another.
#[test]
fn of_a_load_into_targets_of_another_kind() {
    let (drill, targets) = stopped(221);
    let text = fs::read_to_string(drill.checkpoint()).expect("a checkpoint");
    let out = drill.dir().join("out");
    let into_directories = drill.loader().args(&["--shards", "3", "--output"]).arg(&out);
    assert_refused(&into_directories.run(), 6, &["other replica sets are directories", "--abandon"]);
    assert!(!out.exists() || fs::read_dir(&out).is_ok_and(|mut left| left.next().is_none()));
    let addrs = targets.addrs();
    let mixed = format!(
        "[[replica_set]]\nmaster = \"{}\"\n[[replica_set]]\nmaster = \"{}\"\n[[replica_set]]\naof = \"{}\"\n",
        addrs[0],
        addrs[1],
        out.display()
    );
    assert_refused(&drill.loader().topology(&mixed).run(), 6, &["other replica sets are directories"]);
    // Without any marker, the checkpoint says it.
    let elsewhere = servers(3);
    let kinds = &text[text.find("kinds=").expect("the field")..][.."kinds=01234567".len()];
    let directories = text.replace(kinds, "kinds=01234567");
    fs::write(drill.checkpoint(), directories).expect("it can be written");
    let output = drill.loader().servers(&elsewhere).run();
    assert_refused(&output, 6, &["other replica sets are directories"]);
    assert_untouched(&elsewhere);
    fs::write(drill.checkpoint(), &text).expect("it can be written");
    assert_resumes(&drill, &targets);
}

/// As that message says.
#[test]
fn of_a_newer_version_restarted() {
    let (drill, targets) = stopped(220);
    let path = drill.checkpoint();
    let text = fs::read_to_string(&path).expect("a checkpoint");
    fs::write(&path, text.replace("\"version\": 1", "\"version\": 2")).expect("it can be written");
    drill.load(&targets).args(&["--restart", "--flush-targets"]).run_ok();
    drill.assert_loaded(&targets.masters);
}

#[test]
fn where_a_file_of_the_source_is() {
    let scene = Scene::new();
    let aof = |name: &str, bytes: &[u8]| scene.file(name, bytes);
    let incr = aof("appendonly.aof.1.incr.aof", b"");
    let base = aof("appendonly.aof.1.base.aof", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n");
    let manifest = aof(
        "appendonly.aof.manifest",
        b"file appendonly.aof.1.base.aof seq 1 type b\nfile appendonly.aof.1.incr.aof seq 1 type i\n",
    );
    let targets = servers(1);
    for file in [&incr, &base, &manifest] {
        let before = fs::read(file).expect("it");
        for abandon in [&[][..], &["--abandon"]] {
            let loader = scene.load(&manifest, &targets).args(abandon).arg("--checkpoint").arg(file);
            assert_refused(&loader.run(), 2, &["the checkpoint would overwrite"]);
            assert_eq!(fs::read(file).expect("it"), before);
        }
    }
}

/// What it links to is replaced, not the link.
#[test]
fn behind_a_link() {
    let drill = Drill::mixed(drill::seed(222), ROUNDS / 10);
    let targets = servers(3);
    let (link, file) = (drill.dir().join("link"), drill.dir().join("file"));
    fs::write(&file, "").expect("room");
    std::os::unix::fs::symlink(&file, &link).expect("a link");
    drill.loader().servers(&targets).arg("--checkpoint").arg(&link).run_ok();
    assert!(link.is_symlink());
    assert!(fs::read_to_string(&file).expect("the file").contains("\"status\": \"complete\""));
}

#[test]
fn truncated() {
    let (drill, targets) = stopped(215);
    let whole = fs::read(drill.checkpoint()).expect("a checkpoint");
    for bytes in [&whole[..whole.len() / 2], b""] {
        fs::write(drill.checkpoint(), bytes).expect("it can be written");
        targets.slow();
        let mut run = drill.load(&targets).spawn();
        drill::wait_for_log(&mut run, "dump.aof.checkpoint cannot be read");
        run.sigterm();
        let output = run.finish();
        targets.fast();
        assert_eq!(output.code, Some(9), "{output}");
    }
    fs::write(drill.checkpoint(), &whole[..10]).expect("it can be written");
    assert_resumes(&drill, &targets);
}

/// Whatever it is, somebody may need it.
#[test]
fn not_a_checkpoint_at_all() {
    let load = stopped(219);
    let path = load.0.checkpoint();
    let text = fs::read_to_string(&path).expect("a checkpoint");
    for bytes in [&b"hello"[..], b"{}", b"\xff\xfe\0", b"*1\r\n$4\r\nPING\r\n"] {
        for restart in [&[][..], &["--restart", "--flush-targets"]] {
            fs::write(&path, bytes).expect("it can be written");
            let output = load.0.load(&load.1).args(restart).run();
            assert_refused(&output, 6, &["there is a file where the checkpoint is to be", "--checkpoint"]);
            assert_eq!(fs::read(&path).expect("the file"), bytes);
        }
    }
    fs::write(&path, &text).expect("it can be written");
    assert_resumes(&load.0, &load.1);
}

/// It is there and cannot be read: what it says cannot be passed over as if it were not there.
#[test]
fn unreadable() {
    let load = stopped(216);
    let path = load.0.checkpoint();
    let run = || {
        fs::remove_file(&path).expect("a checkpoint");
        fs::create_dir(&path).expect("a directory in its place");
        load.0.load(&load.1).run()
    };
    assert_refused_and_resumes_once(&load, run, (6, &["cannot read the checkpoint", "--checkpoint"]), || {
        fs::remove_dir(&path).expect("the directory");
    });
}

/// Without it nothing tells that the keys are this load's own.
#[test]
fn lost_after_the_end() {
    let (drill, targets) = complete(217);
    let before = contents(&targets.masters);
    fs::remove_file(drill.checkpoint()).expect("a checkpoint");
    assert_refused(&drill.load(&targets).run(), 5, &["not empty", "--flush-targets"]);
    assert!(contents(&targets.masters) == before);
}

/// A checkpoint of its own for each topology, as the message advises.
#[test]
fn named_on_the_command_line() {
    let scene = Scene::new();
    let (drill, targets) = stopped(218);
    fs::rename(drill.checkpoint(), scene.dir().join("elsewhere")).expect("a checkpoint");
    let output = drill.load(&targets).arg("--checkpoint").arg(scene.dir().join("elsewhere")).run_ok();
    assert!(output.stderr.contains("resuming at"), "{output}");
    drill.assert_loaded(&targets.masters);
    assert!(!drill.checkpoint().exists());
}
