use super::*;
use crate::error::Kind;

fn words(text: &str) -> Args {
    parse(text.split(' ')).unwrap()
}

#[test]
fn the_definition_is_sound_and_defaults_are_the_documented_ones() {
    command().debug_assert();
    let args = words("redcluster-load dump.aof");
    let limits = &args.limits;
    assert_eq!(args.source, Some("dump.aof".into()));
    assert_eq!(args.marker_key, "redcluster-load:marker");
    assert_eq!((limits.batch_commands, limits.batch_bytes), (1000, Bytes(1 << 20)));
    assert_eq!((limits.in_flight_bytes, limits.timeout_ms), (Bytes(16 << 20), 30_000));
    assert_eq!((limits.retry_for_s, limits.replica_wait_ms), (300, 60_000));
    assert_eq!((limits.progress_interval_s, limits.threads), (5, None));
    assert_eq!((args.json, args.quiet, args.verbose, args.color), (false, false, 0, Color::Auto));
}

#[test]
fn sizes_are_powers_of_1024_and_shown_so_that_they_read_back() {
    for (text, bytes, shown) in [
        ("0", 0, "0"),
        ("1000", 1000, "1000"),
        ("64K", 64 << 10, "64KiB"),
        ("64 kib", 64 << 10, "64KiB"),
        ("1024K", 1 << 20, "1MiB"),
        ("2GiB", 2 << 30, "2GiB"),
        ("7b", 7, "7"),
    ] {
        assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        assert_eq!(Bytes(bytes).to_string(), shown);
        assert_eq!(shown.parse(), Ok(Bytes(bytes)));
    }
    for text in ["", "K", "-1", "+1", "1KB", "1.5M", "1 M M", "1e3", "17179869184G", "99999999999999999999"] {
        assert!(text.parse::<Bytes>().is_err(), "{text}");
    }
}

#[test]
fn wrong_words_end_in_exit_code_2() {
    for text in [
        "redcluster-load",
        "redcluster-load a b",
        "redcluster-load a --topolgy x",
        "redcluster-load a --batch-bytes 1KB",
        "redcluster-load a --timeout-ms -1",
        "redcluster-load a --color sometimes",
        "redcluster-load a --topology=",
        "redcluster-load a --password x",
    ] {
        let error = parse(text.split(' ')).unwrap_err();
        assert_eq!(error.exit_code(), i32::from(Kind::Usage.exit_code()), "{text}");
    }
}

#[test]
fn help_lists_every_exit_code_and_every_variable() {
    let long = command().render_long_help().to_string();
    for kind in [
        Kind::Local,
        Kind::Usage,
        Kind::Source,
        Kind::Unsupported,
        Kind::Target,
        Kind::Conflict,
        Kind::Stopped,
        Kind::Diverged,
        Kind::Interrupted,
    ] {
        assert!(long.contains(&format!("\n  {}  ", kind.exit_code())), "{kind:?}");
    }
    let short = command().render_help().to_string();
    for option in Args::command().get_arguments() {
        let Some(name) = option.get_long() else { continue };
        assert!(short.contains(&format!("--{name}")) && long.contains(&format!("--{name}")), "{name}");
        let Some(variable) = option.get_env() else { continue };
        let expected = format!("REDCLUSTER_LOAD_{}", name.to_uppercase().replace('-', "_"));
        assert_eq!(variable, expected.as_str());
        assert!(long.contains(&format!("[env: {expected}]")), "{name}");
    }
    for acting in [
        "dry_run",
        "check_topology",
        "skip_unsupported",
        "accept_scripts",
        "flush_targets",
        "restart",
        "abandon",
    ] {
        let definition = Args::command();
        let option = definition.get_arguments().find(|option| option.get_id() == acting);
        assert!(option.is_some_and(|option| option.get_env().is_none()), "{acting}");
    }
}

#[test]
fn words_on_the_command_line_switch_off_their_opposites_from_the_environment() {
    let text = "x a --topology t --shards 2 --output o --quiet -vv --abandon --keep-markers";
    let kept = |given: &'static [&'static str]| {
        let mut args = words(text);
        prefer_words(&mut args, |option| given.contains(&option));
        (args.topology.is_some(), args.shards.is_some(), args.quiet, args.verbose, args.keep_markers)
    };
    assert_eq!(kept(&[]), (true, true, true, 2, true));
    assert_eq!(kept(&["topology", "quiet", "abandon"]), (true, false, true, 0, false));
    assert_eq!(kept(&["output", "verbose"]), (false, true, false, 2, true));
    assert_eq!(kept(&["topology", "shards", "quiet", "verbose"]), (true, true, true, 2, true));
}

/// A test must not change its own environment, so this one starts itself again with variables set.
#[test]
fn the_environment_is_read_below_the_command_line() {
    const CHILD: &str = "CLI_TEST_IS_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let args = words("x a --timeout-ms 7 --shards 2 --output o");
        assert_eq!(args.limits.timeout_ms, 7);
        assert_eq!(args.limits.batch_bytes, Bytes(2 << 20));
        assert_eq!(args.limits.batch_commands, 1000);
        assert_eq!((args.topology, args.shards), (None, Some(2)));
        assert_eq!((args.strict_tail, args.keep_markers, args.verbose), (true, false, 2));
        assert_eq!((args.flush_targets, args.restart, args.abandon), (false, false, false));
        assert!(parse(["x", "--man"]).unwrap().topology.is_some());
        return;
    }
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "cli::tests::the_environment_is_read_below_the_command_line"])
        .env(CHILD, "1")
        .env("REDCLUSTER_LOAD_TIMEOUT_MS", "8")
        .env("REDCLUSTER_LOAD_BATCH_BYTES", "2M")
        .env("REDCLUSTER_LOAD_BATCH_COMMANDS", "")
        .env("REDCLUSTER_LOAD_TOPOLOGY", "sets.toml")
        .env("REDCLUSTER_LOAD_STRICT_TAIL", "1")
        .env("REDCLUSTER_LOAD_KEEP_MARKERS", "no")
        .env("REDCLUSTER_LOAD_VERBOSE", "2")
        .env("REDCLUSTER_LOAD_FLUSH_TARGETS", "1")
        .env("REDCLUSTER_LOAD_RESTART", "1")
        .env("REDCLUSTER_LOAD_ABANDON", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn completions_and_man_page_need_no_source() {
    let mut script = Vec::new();
    let shell = words("x --completions bash").completions.unwrap();
    write_completions(shell, &mut script).unwrap();
    assert!(String::from_utf8(script).unwrap().contains("--flush-targets"));
    assert!(words("x --man").man);
    let mut page = Vec::new();
    write_man(&mut page).unwrap();
    assert!(String::from_utf8(page).unwrap().contains("Exit codes"));
}
