use super::*;

fn job(words: &str) -> Result<Job> {
    let words = std::iter::once("redcluster-load").chain(words.split(' '));
    plan(&cli::parse(words).unwrap(), &|_| None)
}

const OK: &str = "dump.aof --shards 2 --output out";

fn refused(words: &str) -> String {
    let error = job(words).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage, "{words}");
    assert!(error.to_string().contains("what to do: "), "{words}");
    error.message().to_owned()
}

#[test]
fn a_plain_load_gets_the_defaults() {
    let job = job(OK).unwrap();
    assert_eq!(job.source, Path::new("dump.aof"));
    assert_eq!(job.checkpoint, Path::new("dump.aof.checkpoint"));
    assert_eq!(job.marker_key, b"redcluster-load:marker");
    assert_eq!((job.mode, job.restart), (Mode::Load, Restart::No));
    assert!(job.threads >= 1);
    assert_eq!(
        job.limits,
        Limits {
            batch_commands_max: 1000,
            batch_bytes_max: 1 << 20,
            in_flight_bytes_max: 16 << 20,
            placement_bytes_max: 1 << 30,
            timeout_ms: 30_000,
            retry_for_ms: 300_000,
            replica_wait_ms: 60_000,
            progress_interval_ms: 5_000,
        }
    );
    let directories: Vec<_> = job.topology.sets.iter().map(|set| set.target.to_string()).collect();
    assert_eq!(directories, ["out/shard-0", "out/shard-1"]);
}

#[test]
fn modes_and_switches_arrive() {
    assert_eq!(job(&format!("{OK} --dry-run")).unwrap().mode, Mode::DryRun { check_topology: false });
    let checked = job(&format!("{OK} --dry-run --check-topology --restart")).unwrap();
    assert_eq!((checked.mode, checked.restart), (Mode::DryRun { check_topology: true }, Restart::Yes));
    assert_eq!(job(&format!("{OK} --abandon")).unwrap().mode, Mode::Abandon);
    let more = "--strict-tail --skip-unsupported --accept-scripts --keep-markers --json -vv";
    let job = job(&format!("{OK} {more}")).unwrap();
    assert!(job.strict_tail && job.skip_unsupported && job.keep_markers && !job.flush_targets);
    assert!(job.accept_scripts);
    assert_eq!(job.output, Output { json: true, quiet: false, verbosity: 2, color: Color::Auto });
}

#[test]
fn contradictions_are_refused() {
    for (more, message) in [
        ("--abandon --dry-run", "--abandon cannot be used with --dry-run"),
        ("--abandon --restart", "--abandon cannot be used with --restart"),
        ("--abandon --flush-targets", "--abandon cannot be used with --flush-targets"),
        ("--abandon --keep-markers", "--abandon cannot be used with --keep-markers"),
        ("--topology t", "--topology cannot be used with --shards"),
        ("-q -v", "--quiet cannot be used with --verbose"),
        ("--check-topology", "--check-topology needs --dry-run"),
        ("--flush-targets", "--flush-targets is given, but no target is a server"),
        ("--checkpoint ./dump.aof", "the checkpoint would overwrite the source"),
    ] {
        let found = refused(&format!("{OK} {more}"));
        assert_eq!(found, message);
    }
    assert_eq!(refused("dump.aof"), "no targets are named");
    assert_eq!(refused("dump.aof --shards 2"), "--shards needs --output");
    assert_eq!(refused("dump.aof --output out"), "--output needs --shards");
    assert_eq!(refused("dump.aof -t t -o out"), "--topology cannot be used with --output");
    assert_eq!(refused("dump.aof -t ./t --checkpoint t"), "the checkpoint would overwrite the topology file");
    assert_eq!(refused("--man"), "no source is named");
}

#[test]
fn limits_are_held_at_both_ends() {
    for (option, least, most, below, above) in [
        ("--batch-commands", "1", "100000", "0", "100001"),
        ("--batch-bytes", "1K", "16M", "1023", "513M"),
        ("--in-flight-bytes", "1M", "1G", "1023", "2G"),
        ("--timeout-ms", "1", "86400000", "0", "86400001"),
        ("--retry-for-s", "0", "2592000", "", "2592001"),
        ("--replica-wait-ms", "1", "86400000", "0", "18446744073709551615"),
        ("--progress-interval-s", "1", "3600", "0", "3601"),
        ("--threads", "1", "1024", "0", "1025"),
        ("--shards", "1", "1024", "0", "1025"),
    ] {
        let words = |value: &str| match option {
            "--shards" => format!("dump.aof --output out --shards {value}"),
            _ => format!("{OK} {option} {value}"),
        };
        for value in [least, most] {
            assert!(job(&words(value)).is_ok(), "{option} {value}");
        }
        for value in [below, above].into_iter().filter(|value| !value.is_empty()) {
            assert!(refused(&words(value)).contains(&format!("{option} is out of range: ")), "{value}");
        }
    }
    assert_eq!(
        job(&format!("{OK} --batch-bytes 1000")).unwrap_err().to_string(),
        "--batch-bytes is out of range: 1000\n  what to do: choose 1KiB to 512MiB"
    );
    assert_eq!(
        refused(&format!("{OK} --batch-bytes 32M")),
        "--in-flight-bytes (16MiB) is smaller than --batch-bytes (32MiB)"
    );
    let long = "x".repeat(513);
    assert_eq!(
        refused(&format!("{OK} --marker-key {long}")),
        "the length of --marker-key is out of range: 513 bytes"
    );
}

#[test]
fn the_checkpoint_stands_beside_the_source() {
    for (source, checkpoint) in [
        ("data/dump.aof", "data/dump.aof.checkpoint"),
        ("appendonlydir/", "appendonlydir.checkpoint"),
        ("/x/appendonlydir//", "/x/appendonlydir.checkpoint"),
        ("x/appendonlydir/.", "x/appendonlydir.checkpoint"),
        ("x/appendonly.aof.manifest", "x/appendonly.aof.manifest.checkpoint"),
    ] {
        let job = job(&format!("{source} --shards 1 --output out")).unwrap();
        assert_eq!(job.checkpoint, Path::new(checkpoint));
    }
    let here = std::env::current_dir().unwrap().canonicalize().unwrap();
    let mut expected = here.into_os_string();
    expected.push(".checkpoint");
    assert_eq!(job(". --shards 1 --output out").unwrap().checkpoint, PathBuf::from(expected));
    assert_eq!(refused("/ --shards 1 --output out"), "the source has no name to call the checkpoint after");
    let named = job(&format!("{OK} --checkpoint state/c")).unwrap();
    assert_eq!(named.checkpoint, Path::new("state/c"));
}

#[test]
fn the_topology_file_is_read_with_its_environment() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sets.toml");
    std::fs::write(&path, "[[replica_set]]\nmaster = 'a'\n[[replica_set]]\naof = 'b'\n").unwrap();
    let words = ["x".into(), "dump.aof".into(), "--flush-targets".into(), "-t".into(), path.into_os_string()];
    let job =
        plan(&cli::parse(words).unwrap(), &|name| (name == file::PASSWORD_VARIABLE).then(|| "pw".into()));
    let job = job.unwrap();
    assert!(job.flush_targets);
    assert_eq!(job.topology.sets.len(), 2);
    assert!(matches!(&job.topology.sets[0].target, Target::Server(members) if members.credentials.is_some()));
    assert!(!format!("{job:?}").contains("pw"));
}

#[test]
fn no_color_counts_only_where_color_is_not_decided() {
    for (words, no_color, color) in [
        ("", "1", Color::Never),
        ("", "", Color::Auto),
        (" --color always", "1", Color::Always),
        (" --color never", "", Color::Never),
    ] {
        let args = cli::parse(format!("x {OK}{words}").split(' ')).unwrap();
        let job = plan(&args, &|name| (name == "NO_COLOR").then(|| no_color.into())).unwrap();
        assert_eq!(job.output.color, color);
    }
}

#[test]
fn a_scratch_server_is_an_address_or_a_program() {
    let scratch = |text: &str| job(&format!("{OK} --scratch {text}")).map(|job| job.scratch);
    assert_eq!(job(OK).map(|job| job.scratch).ok(), Some(Scratch::OnPath));
    assert_eq!(scratch("/bin/sh").ok(), Some(Scratch::Program("/bin/sh".into())));
    let server = |master: &str| {
        Scratch::Server(Members { master: master.parse().unwrap(), replicas: Vec::new(), credentials: None })
    };
    assert_eq!(scratch("10.0.0.9").ok(), Some(server("10.0.0.9:6379")));
    assert_eq!(scratch("unix:/run/redis.sock").ok(), Some(server("unix:/run/redis.sock")));
    let error = scratch("/no/such/program").unwrap_err();
    assert!(error.to_string().contains("no program"), "{error}");
    let error = scratch("10.0.0.9:x").unwrap_err();
    assert!(error.to_string().contains("option: --scratch"), "{error}");
}

#[test]
fn a_scratch_server_is_logged_in_to_as_the_environment_says() {
    let words = format!("redcluster-load {OK} --scratch h");
    let with = |name: &'static str| {
        let found = move |asked: &str| (asked == name).then(|| "hunter2".into());
        plan(&cli::parse(words.split(' ')).unwrap(), &found)
    };
    let job = with("REDCLUSTER_LOAD_PASSWORD").unwrap();
    assert!(matches!(job.scratch, Scratch::Server(Members { credentials: Some(_), .. })));
    assert!(!format!("{job:?}").contains("hunter2"));
    let error = with("REDCLUSTER_LOAD_USERNAME").unwrap_err();
    assert!(error.message().contains("no password"), "{error}");
}
