use std::sync::atomic::Ordering::Relaxed;

use super::*;

pub(in crate::report) fn narrow(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= 100, "{line}");
    }
}

fn shard(shard: usize, target: &str) -> ShardReport {
    ShardReport {
        shard,
        scratch: false,
        target: target.to_owned(),
        commands: 1_234_567 * (shard as u64 + 1),
        bytes: 456_000_000,
        commands_per_s: 123_456.7,
        bytes_per_s: 45_600_000.0,
        ignored_errors: 0,
        reconnects: 0,
        settled_keys: 0,
        state: LaneState::Done.word(),
    }
}

fn report(outcome: Outcome) -> LoadReport {
    LoadReport {
        outcome,
        reason: None,
        source: "dump.aof".to_owned(),
        source_bytes: 2_800_000_000,
        applied_bytes: 2_800_000_000,
        resumed_from: None,
        times: Times { survey_s: 1.1, load_s: 10.0, settle_s: 0.45, total_s: 11.6 },
        shards: vec![shard(0, "10.0.0.1:6379"), shard(1, "10.0.0.2:6379")],
        ignored_errors: Vec::new(),
        scripts: 0,
        left_out: Vec::new(),
        dropped_tail: None,
        replicas: Replicas::NoneDeclared,
        checkpoint: None,
        warnings: Vec::new(),
    }
}

fn occurrence(text: &str) -> Occurrence {
    Occurrence {
        file: "dump.aof".to_owned(),
        offset_bytes: 1234,
        command: "LPUSH".to_owned(),
        key: "user:1".to_owned(),
        text: text.to_owned(),
    }
}

fn eventful() -> LoadReport {
    let mut report = report(Outcome::Stopped);
    report.reason = Some("shard 1 (10.0.0.2:6379) did not come back within 300 s".to_owned());
    report.applied_bytes = 1_204_000_000;
    report.resumed_from =
        Some(Place { file: "dump.aof".to_owned(), offset_bytes: 700_000_000, source_bytes: 700_000_000 });
    report.shards[1] = ShardReport {
        target: "redis-17.eu-central.example.internal:16379".to_owned(),
        ignored_errors: 12,
        reconnects: 3,
        state: LaneState::Stopped.word(),
        ..report.shards[1].clone()
    };
    report.ignored_errors = vec![IgnoredError {
        label: "WRONGTYPE".to_owned(),
        count: 12,
        first: occurrence("WRONGTYPE Operation against a key holding the wrong kind of value"),
    }];
    report.left_out = vec![
        LeftOut { reason: "runs a script".to_owned(), count: 2, first: Some(occurrence("runs a script")) },
        LeftOut { reason: "wrong number of arguments".to_owned(), count: 1, first: None },
    ];
    report.dropped_tail = Some(DroppedTail {
        at: Place { file: "dump.aof".to_owned(), offset_bytes: 2_799_999_990, source_bytes: 2_799_999_990 },
        bytes: 10,
        open_transaction: false,
    });
    report.replicas = Replicas::Unconfirmed { targets: vec!["10.0.0.1:6379".to_owned()] };
    report.checkpoint = Some("dump.aof.checkpoint".to_owned());
    report.warnings = vec!["10.0.0.1:6379 has no appendonly".to_owned()];
    report
}

#[test]
fn a_load_without_events_is_said_in_few_lines() {
    insta::assert_snapshot!(report(Outcome::Complete).text(false), @"
    complete: dump.aof is loaded into 2 shards

    shard  target          commands   bytes  commands/s    bytes/s  state
    ──────────────────────────────────────────────────────────────────────
        0  10.0.0.1:6379  1,234,567  456 MB        123k  45.6 MB/s  done
        1  10.0.0.2:6379  2,469,134  456 MB        123k  45.6 MB/s  done
      all                 3,703,701  912 MB        370k  91.2 MB/s

    time          11.6 s (survey 1.10 s, load 10.0 s, settling 0.45 s)
    speed         370k commands/s, 91.2 MB/s
    ");
}

#[test]
fn everything_that_happened_is_said() {
    let text = eventful().text(false);
    narrow(&text.lines().skip(1).collect::<Vec<_>>().join("\n"));
    insta::assert_snapshot!(text, @"
    stopped: shard 1 (10.0.0.2:6379) did not come back within 300 s
    dump.aof is loaded up to 1.20 GB of 2.80 GB (43%); run the same command again to resume

    shard  target                 commands   bytes  commands/s    bytes/s  ignored  reconnects  state
    ────────────────────────────────────────────────────────────────────────────────────────────────────
        0  10.0.0.1:6379         1,234,567  456 MB        123k  45.6 MB/s        0           0  done
        1  redis-17.eu-central.  2,469,134  456 MB        123k  45.6 MB/s       12           3  stopped
           example.internal:163
           79
      all                        3,703,701  912 MB        370k  91.2 MB/s       12           3

    time          11.6 s (survey 1.10 s, load 10.0 s, settling 0.45 s)
    speed         370k commands/s, 91.2 MB/s
    resumed at    byte 700000000 of dump.aof, 25% of the source
    dropped tail  a cut command, 10 bytes from byte 2799999990 of dump.aof
    replicas      have everything; since a failover one is away: of 10.0.0.1:6379
    checkpoint    dump.aof.checkpoint

    12 errors ignored, as a server that loads the source ignores them
    error      count  first at
    ─────────────────────────────────────────────────────────────────────────────────────────────────
    WRONGTYPE     12  byte 1234 of dump.aof: LPUSH user:1: WRONGTYPE Operation against a key holding
                      the wrong kind of value

    3 commands left out (--skip-unsupported)
    reason                     count  first at
    ──────────────────────────────────────────────────────────────────────
    runs a script                  2  byte 1234 of dump.aof: LPUSH user:1
    wrong number of arguments      1

    1 warning
      10.0.0.1:6379 has no appendonly
    ");
}

#[test]
fn other_outcomes() {
    let head = |report: LoadReport| report.text(false).lines().next().unwrap().to_owned();
    insta::assert_snapshot!(report(Outcome::AlreadyComplete).text(false), @"complete: an earlier run has loaded dump.aof; nothing was done");
    insta::assert_snapshot!(head(report(Outcome::Interrupted)), @"interrupted");
    insta::assert_snapshot!(head(report(Outcome::Diverged)), @"diverged");
    insta::assert_snapshot!(head(LoadReport { left_out: eventful().left_out, ..report(Outcome::Complete) }), @"complete: dump.aof is loaded into 2 shards, without 3 commands (--skip-unsupported)");
}

#[test]
fn colours_come_only_when_asked_for() {
    assert!(!eventful().text(false).contains('\x1b'));
    let text = eventful().text(true);
    assert!(text.starts_with("\x1b[31mstopped: "), "{text}");
    let stopped = text.lines().find(|line| line.contains("redis-17")).unwrap();
    assert!(stopped.contains("\x1b[1mstopped"), "{stopped:?}");
}

#[test]
fn json_has_raw_numbers_and_their_units() {
    let mut report = eventful();
    report.shards.truncate(1);
    report.left_out.truncate(1);
    insta::assert_snapshot!(format!("{:#}", report.json()), @r#"
    {
      "applied_bytes": 1204000000,
      "checkpoint": "dump.aof.checkpoint",
      "dropped_tail": {
        "bytes": 10,
        "file": "dump.aof",
        "offset_bytes": 2799999990,
        "open_transaction": false,
        "source_bytes": 2799999990
      },
      "format": "redcluster-load-report/1",
      "ignored_errors": [
        {
          "count": 12,
          "first": {
            "command": "LPUSH",
            "file": "dump.aof",
            "key": "user:1",
            "offset_bytes": 1234,
            "text": "WRONGTYPE Operation against a key holding the wrong kind of value"
          },
          "label": "WRONGTYPE"
        }
      ],
      "left_out": [
        {
          "count": 2,
          "first": {
            "command": "LPUSH",
            "file": "dump.aof",
            "key": "user:1",
            "offset_bytes": 1234,
            "text": "runs a script"
          },
          "reason": "runs a script"
        }
      ],
      "outcome": "stopped",
      "reason": "shard 1 (10.0.0.2:6379) did not come back within 300 s",
      "replicas": {
        "state": "unconfirmed",
        "targets": [
          "10.0.0.1:6379"
        ]
      },
      "resumable": true,
      "resumed_from": {
        "file": "dump.aof",
        "offset_bytes": 700000000,
        "source_bytes": 700000000
      },
      "scripts": 0,
      "shards": [
        {
          "bytes": 456000000,
          "bytes_per_s": 45600000.0,
          "commands": 1234567,
          "commands_per_s": 123456.7,
          "ignored_errors": 0,
          "reconnects": 0,
          "settled_keys": 0,
          "shard": 0,
          "state": "done",
          "target": "10.0.0.1:6379"
        }
      ],
      "source": "dump.aof",
      "source_bytes": 2800000000,
      "times": {
        "load_s": 10.0,
        "settle_s": 0.45,
        "survey_s": 1.1,
        "total_s": 11.6
      },
      "total": {
        "bytes": 456000000,
        "bytes_per_s": 45600000.0,
        "commands": 1234567,
        "commands_per_s": 123456.7,
        "ignored_errors": 0,
        "reconnects": 0
      },
      "warnings": [
        "10.0.0.1:6379 has no appendonly"
      ]
    }
    "#);
}

#[test]
fn outcomes_follow_the_kind_of_the_error() {
    assert_eq!(Outcome::of(Kind::Interrupted), Outcome::Interrupted);
    assert_eq!(Outcome::of(Kind::Diverged), Outcome::Diverged);
    assert_eq!(Outcome::of(Kind::Local), Outcome::Stopped);
    assert!(Outcome::Stopped.is_resumable() && !Outcome::Diverged.is_resumable());
}

#[test]
fn shards_are_read_from_the_counters() {
    let counters = Counters::new(vec!["a".to_owned(), "b".to_owned()], 100);
    let lane = &counters.lanes[1];
    lane.set_state(LaneState::Stopped);
    for (counter, number) in [
        (&lane.commands, 1000),
        (&lane.bytes, 30_000),
        (&lane.ignored, 1),
        (&lane.reconnects, 2),
        (&lane.settled_keys, 3),
    ] {
        counter.store(number, Relaxed);
    }
    let shards = ShardReport::all(&counters, Duration::from_secs(2));
    assert_eq!(shards.len(), 2);
    assert_eq!(
        shards[1],
        ShardReport {
            shard: 1,
            scratch: false,
            target: "b".to_owned(),
            commands: 1000,
            bytes: 30_000,
            commands_per_s: 500.0,
            bytes_per_s: 15_000.0,
            ignored_errors: 1,
            reconnects: 2,
            settled_keys: 3,
            state: "stopped",
        }
    );
    assert_eq!(ShardReport::all(&counters, Duration::ZERO)[1].commands_per_s, 0.0);
}

#[test]
fn one_script_is_told_of_as_one() {
    use crate::report::load_text::unseen;
    assert!(unseen(1).starts_with("1 script runs as it stands ("), "{}", unseen(1));
    assert!(unseen(2).starts_with("2 scripts run as they stand ("), "{}", unseen(2));
}
