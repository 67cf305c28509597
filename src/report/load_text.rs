//! The report of a load as text.

use std::time::Duration;

use super::human;
use super::load::{IgnoredError, LeftOut, LoadReport, Outcome, Replicas, ShardReport, Times};
use super::table::{Align, Builder, Mood, heading, labelled, painted, paragraph};
use crate::error::{clean, command_and_key};

impl LoadReport {
    /// The report for people.
    pub fn text(&self, color: bool) -> String {
        let mut out = painted(&clean(&self.headline()), self.outcome.mood(), color);
        out.push('\n');
        if let Some(rest) = self.what_remains() {
            paragraph(&mut out, "", &rest);
        }
        if self.outcome != Outcome::AlreadyComplete {
            out.push('\n');
            self.shard_table(&mut out, color);
            out.push('\n');
        }
        self.summary(&mut out);
        self.ignored_table(&mut out, color);
        self.left_out_list(&mut out, color);
        if !self.warnings.is_empty() {
            heading(&mut out, &human::counted(self.warnings.len() as u64, "warning"), Mood::Doubtful, color);
            for warning in &self.warnings {
                paragraph(&mut out, "  ", warning);
            }
        }
        out
    }

    fn headline(&self) -> String {
        let source = &self.source;
        let shards = human::counted(self.shards.iter().filter(|row| !row.scratch).count() as u64, "shard");
        let because = self.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        match self.outcome {
            Outcome::Complete if self.left_out.is_empty() => {
                format!("complete: {source} is loaded into {shards}")
            }
            Outcome::Complete => {
                let left_out = human::counted(self.left_out.iter().map(|left| left.count).sum(), "command");
                format!("complete: {source} is loaded into {shards}, without {left_out} (--skip-unsupported)")
            }
            Outcome::AlreadyComplete => {
                format!("complete: an earlier run has loaded {source}; nothing was done")
            }
            Outcome::Interrupted => format!("interrupted{because}"),
            Outcome::Stopped => format!("stopped{because}"),
            Outcome::Diverged => format!("diverged{because}"),
        }
    }

    /// How far an unfinished load is, and how it goes on.
    fn what_remains(&self) -> Option<String> {
        let next = match self.outcome {
            Outcome::Interrupted | Outcome::Stopped => "run the same command again to resume",
            Outcome::Diverged => "only --restart goes on",
            Outcome::Complete | Outcome::AlreadyComplete => return None,
        };
        let percent = human::percent(self.applied_bytes, self.source_bytes);
        let (applied, all) = (human::bytes(self.applied_bytes), human::bytes(self.source_bytes));
        Some(format!("{} is loaded up to {applied} of {all} ({percent}%); {next}", self.source))
    }

    /// Columns in which all is zero are left out, so that names of targets have room.
    fn shard_table(&self, out: &mut String, color: bool) {
        let has = |of: fn(&ShardReport) -> u64| self.shards.iter().any(|shard| of(shard) > 0);
        let (ignored, reconnects) = (has(|shard| shard.ignored_errors), has(|shard| shard.reconnects));
        let columns: [(&str, Align, bool); 9] = [
            ("shard", Align::Number, true),
            ("target", Align::Text, true),
            ("commands", Align::Number, true),
            ("bytes", Align::Number, true),
            ("commands/s", Align::Number, true),
            ("bytes/s", Align::Number, true),
            ("ignored", Align::Number, ignored),
            ("reconnects", Align::Number, reconnects),
            ("state", Align::Text, true),
        ];
        let shown: Vec<bool> = columns.iter().map(|(_, _, shown)| *shown).collect();
        let headers = columns.iter().filter(|(_, _, shown)| *shown).map(|(name, align, _)| (*name, *align));
        let mut table = Builder::new(&headers.collect::<Vec<_>>(), color);
        let mut add = |row: &ShardReport, number: String| {
            let plain = |text: String| (text, Mood::Plain);
            let counted = |n: u64| (human::count(n), if n > 0 { Mood::Doubtful } else { Mood::Plain });
            let cells = [
                plain(number),
                plain(row.target.clone()),
                plain(human::count(row.commands)),
                plain(human::bytes(row.bytes)),
                plain(human::short(row.commands_per_s)),
                plain(human::bytes_per_s(row.bytes_per_s)),
                counted(row.ignored_errors),
                counted(row.reconnects),
                (row.state.to_owned(), row.mood()),
            ];
            let cells = cells.into_iter().zip(&shown).filter(|(_, shown)| **shown).map(|(cell, _)| cell);
            table.row(&cells.collect::<Vec<_>>());
        };
        let number = |row: &ShardReport| if row.scratch { String::new() } else { row.shard.to_string() };
        self.shards.iter().for_each(|row| add(row, number(row)));
        if self.shards.len() > 1 {
            add(&self.total(), "all".to_owned());
        }
        table.write(out);
    }

    fn summary(&self, out: &mut String) {
        let mut line = |label: &str, text: String| labelled(out, label, &text);
        if self.outcome != Outcome::AlreadyComplete {
            let time =
                |seconds: f64| human::duration(Duration::try_from_secs_f64(seconds).unwrap_or_default());
            let Times { survey_s, load_s, settle_s, total_s } = self.times;
            let parts =
                format!("survey {}, load {}, settling {}", time(survey_s), time(load_s), time(settle_s));
            line("time", format!("{} ({parts})", time(total_s)));
        }
        let total = self.total();
        if self.outcome != Outcome::AlreadyComplete && total.commands > 0 {
            let commands = human::short(total.commands_per_s);
            line("speed", format!("{commands} commands/s, {}", human::bytes_per_s(total.bytes_per_s)));
        }
        if let Some(place) = &self.resumed_from {
            let done = human::percent(place.source_bytes, self.source_bytes);
            line("resumed at", format!("{place}, {done}% of the source"));
        }
        if let Some(tail) = &self.dropped_tail {
            line("dropped tail", tail.to_string());
        }
        if self.scripts > 0 {
            line("scripts", unseen(self.scripts));
        }
        match &self.replicas {
            Replicas::NoneDeclared | Replicas::NotAsked => {}
            Replicas::Confirmed => line("replicas", "have everything".to_owned()),
            Replicas::Unconfirmed { targets } => {
                let away = targets.join(", ");
                line("replicas", format!("have everything; since a failover one is away: of {away}"));
            }
        }
        if let Some(checkpoint) = &self.checkpoint {
            line("checkpoint", checkpoint.clone());
        }
    }

    fn ignored_table(&self, out: &mut String, color: bool) {
        if self.ignored_errors.is_empty() {
            return;
        }
        let total = human::counted(self.ignored_errors.iter().map(|error| error.count).sum(), "error");
        heading(
            out,
            &format!("{total} ignored, as a server that loads the source ignores them"),
            Mood::Plain,
            color,
        );
        let columns = [("error", Align::Text), ("count", Align::Number), ("first at", Align::Text)];
        let mut table = Builder::new(&columns, color);
        for IgnoredError { label, count, first } in &self.ignored_errors {
            let place = format!(
                "byte {} of {}: {}: {}",
                first.offset_bytes,
                first.file,
                command_and_key(&first.command, &first.key),
                first.text
            );
            table.plain(&[label.clone(), human::count(*count), place]);
        }
        table.write(out);
    }

    fn left_out_list(&self, out: &mut String, color: bool) {
        if self.left_out.is_empty() {
            return;
        }
        let total = human::counted(self.left_out.iter().map(|left| left.count).sum(), "command");
        heading(out, &format!("{total} left out (--skip-unsupported)"), Mood::Doubtful, color);
        let columns = [("reason", Align::Text), ("count", Align::Number), ("first at", Align::Text)];
        let mut table = Builder::new(&columns, color);
        for LeftOut { reason, count, first } in &self.left_out {
            let place = first.as_ref().map_or_else(String::new, |first| {
                let what = command_and_key(&first.command, &first.key);
                format!("byte {} of {}: {what}", first.offset_bytes, first.file)
            });
            table.plain(&[reason.clone(), human::count(*count), place]);
        }
        table.write(out);
    }
}

/// What there is to know of scripts that run, `--accept-scripts`.
pub(super) fn unseen(scripts: u64) -> String {
    let count = human::counted(scripts, "script");
    let run = if scripts == 1 { "runs as it stands" } else { "run as they stand" };
    format!("{count} {run} (--accept-scripts); keys not declared and deadlines set there could not be seen")
}
