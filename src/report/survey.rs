//! The report of a survey, which `--dry-run` prints.

use std::cmp::Reverse;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::human;
use super::load::{DroppedTail, Occurrence, rate};
use super::table::{Align, Builder, Mood, heading, labelled, painted, paragraph};
use super::values;
use crate::counters::SCRATCH;
use crate::placement::Placing;
use crate::route::Refusal;
use crate::source::{Position, Source};
use crate::survey::{LaneTally, Survey};

/// Rows of a list (files, databases, commands) in the text; the JSON has all of them.
const ROWS_MAX: usize = 20;

/// The first word of the JSON; a change of its fields changes the number.
const FORMAT: &str = "redcluster-load-survey/1";

/// Said in place of a server's name.
const NO_SERVER: &str = "none was found";

/// The ratio of the largest shard to the mean from which on the text points it out.
const SKEW_DOUBTFUL: f64 = 1.5;

const REWRITE: &str = "rewrite the source: load it into a spare redis-server and BGREWRITEAOF; what is left then needs none of these";
const INTO_FILES: &str =
    "load into AOF directories (--shards N --output DIR), whose servers take such deadlines";

/// What a report of a survey is made of.
#[derive(Debug, Clone)]
pub struct SurveyReport<'a> {
    /// What was surveyed.
    pub source: &'a Source,
    /// What was found.
    pub survey: &'a Survey,
    /// Where names are at home that commands tie together.
    pub placing: &'a Placing,
    /// The server for what is tied to directories, if one was found. It is of interest only if there is such.
    pub scratch: Option<String>,
    /// Names of the targets, by lane.
    pub targets: &'a [String],
    /// What a load would delete before it begins: targets by name, each with what it holds, in words.
    pub deletes: &'a [(String, String)],
    /// Whether the user has asked to leave out what cannot be carried out.
    pub skip_unsupported: bool,
    /// How long the survey took.
    pub took: Duration,
}

impl SurveyReport<'_> {
    /// The report for people.
    pub fn text(&self, color: bool) -> String {
        let mut out = String::new();
        self.outline(&mut out);
        self.shards(&mut out, color);
        self.ties(&mut out, color);
        self.databases(&mut out, color);
        self.commands(&mut out, color);
        values::text(&mut out, &self.survey.tally, color);
        self.refused(&mut out, color);
        self.verdict(&mut out, color);
        out
    }

    /// The report for programs: raw numbers with their units in the names, and no list cut short but
    /// that of the refused commands, of which the survey keeps the first 20.
    pub fn json(&self) -> Value {
        let tally = &self.survey.tally;
        let reasons: Vec<Value> = tally
            .refusals
            .iter()
            .map(|(refusal, count)| {
                json!({ "reason": refusal.reason(), "commands": count, "what_to_do": remedy(*refusal) })
            })
            .collect();
        let shards = &tally.lanes[..self.targets.len().min(tally.lanes.len())];
        let skew = |of: &dyn Fn(&LaneTally) -> u64| skew(shards, of);
        json!({
            "format": FORMAT,
            "source": {
                "path": self.source.path().display().to_string(),
                "bytes": self.source.len(),
                "files": self.files(),
                "end": { "file": self.file(self.survey.end), "offset_bytes": self.survey.end.offset },
            },
            "commands": {
                "total": tally.total - tally.values(),
                "dropped": tally.dropped,
                "selects_without_effect": tally.bad_selects,
                "transactions": tally.transactions,
                "scripts": tally.scripts,
                "unknown": self.unknown(),
                "by_name": tally.commands,
            },
            "values": values::json(tally, self.source),
            "databases": tally.databases,
            "databases_needed": u64::from(tally.db_max) + 1,
            "deadlines": { "set": tally.deadlines, "past": tally.past_deadlines },
            "shards": self.shard_rows(),
            "skew": {
                "commands": skew(&|lane| lane.commands),
                "bytes": skew(&|lane| lane.bytes),
                "keys_estimated": skew(&|lane| lane.keys.estimate()),
            },
            "ties": {
                "commands": tally.ties,
                "across_shards": tally.tied,
                "groups": self.placing.groups,
                "largest_group_names": self.placing.largest,
                "shipped_keys_max": self.placing.foreign.len(),
                "shipped_bytes": tally.foreign_bytes,
                "scratch_groups": self.placing.needs_scratch,
                "scratch_server": self.scratch,
            },
            "dropped_tail": DroppedTail::of(self.survey, self.source),
            "refused": {
                "commands": tally.refused_total(),
                "left_out": self.skip_unsupported,
                "by_reason": reasons,
                "first": self.occurrences(),
            },
            "deletes": self
                .deletes
                .iter()
                .map(|(target, holds)| json!({ "target": target, "holds": holds }))
                .collect::<Vec<_>>(),
            "survey_s": self.took.as_secs_f64(),
        })
    }

    fn outline(&self, out: &mut String) {
        let tally = &self.survey.tally;
        let bytes = self.source.len();
        let mut line = |label: &str, text: String| labelled(out, label, &text);
        line("source", self.source.path().display().to_string());
        let files = human::counted(self.source.segments() as u64, "file");
        let exact = human::counted(bytes, "byte");
        let size = if bytes < 1000 { exact } else { format!("{} ({exact})", human::bytes(bytes)) };
        line("size", format!("{size} in {files}"));
        line("commands", human::count(tally.total - tally.values()));
        if tally.values() > 0 {
            line("values", format!("{} in RDB parts", human::count(tally.values())));
        }
        if tally.transactions > 0 {
            line("transactions", human::count(tally.transactions));
        }
        if tally.dropped > 0 {
            line(
                "dropped",
                format!("{} (reads and the like, which change nothing)", human::count(tally.dropped)),
            );
        }
        if tally.bad_selects > 0 {
            let selects = human::counted(tally.bad_selects, "SELECT");
            line(
                "no effect",
                format!("{selects} of a database that no server has; it stays in the one before"),
            );
        }
        if tally.deadlines > 0 {
            let sets = human::counted(tally.deadlines, "command");
            let past = human::count(tally.past_deadlines);
            line("deadlines", format!("set by {sets}, {past} of them already past"));
        }
        if tally.scripts > 0 {
            line("scripts", super::load_text::unseen(tally.scripts));
        }
        if let Some(tail) = DroppedTail::of(self.survey, self.source) {
            line("dropped tail", tail.to_string());
        }
        let speed = rate(bytes, self.took.as_secs_f64());
        line("surveyed in", format!("{}, {}", human::duration(self.took), human::bytes_per_s(speed)));
        if self.source.segments() > 1 {
            out.push('\n');
            self.file_table(out);
        }
    }

    fn file_table(&self, out: &mut String) {
        let mut table =
            Builder::new(&[("file, in loading order", Align::Text), ("bytes", Align::Number)], false);
        let files = self.files();
        let (shown, others) = files.split_at(files.len().min(ROWS_MAX));
        for file in shown {
            table.plain(&[file_name(&file.path), &human::count(file.bytes)]);
        }
        if !others.is_empty() {
            let bytes = others.iter().map(|file| file.bytes).sum();
            table.plain(&[format!("{} others", others.len()), human::count(bytes)]);
        }
        table.write(out);
    }

    /// What commands that need keys of several shards come to.
    fn ties(&self, out: &mut String, color: bool) {
        let (tally, placing) = (&self.survey.tally, self.placing);
        if tally.tied == 0 {
            return;
        }
        let tied = human::counted(tally.tied, "command");
        heading(out, &format!("{tied} with keys of several shards"), Mood::Plain, color);
        let groups = human::counted(placing.groups, "group");
        let largest = human::counted(placing.largest, "name");
        let keys = human::counted(placing.foreign.len() as u64, "key");
        paragraph(
            out,
            "",
            &format!(
                "They tie names together in {groups}, the largest of {largest}; each group is loaded into one shard, as \
                 counted above. At the end at most {keys} ({} of the source) are brought to other shards.",
                human::bytes(tally.foreign_bytes)
            ),
        );
        if placing.needs_scratch > 0 {
            let groups = human::counted(placing.needs_scratch, "group");
            let text = "Directories, which cannot run commands, have a share in";
            paragraph(out, "", &format!("{text} {groups}; these are loaded into a scratch server."));
            out.push_str(&format!("scratch server: {}\n", self.scratch.as_deref().unwrap_or(NO_SERVER)));
        }
    }

    fn shards(&self, out: &mut String, color: bool) {
        let rows = self.shard_rows();
        let lanes = &self.survey.tally.lanes[..self.targets.len().min(rows.len())];
        heading(out, &human::counted(lanes.len() as u64, "shard"), Mood::Plain, color);
        let columns = [
            ("shard", Align::Number),
            ("target", Align::Text),
            ("commands", Align::Number),
            ("bytes", Align::Number),
            ("share", Align::Number),
            ("keys (estimated)", Align::Number),
        ];
        let mut table = Builder::new(&columns, color);
        for row in &rows {
            table.plain(&[
                if row.scratch { String::new() } else { row.shard.to_string() },
                row.target.clone(),
                human::count(row.commands),
                human::bytes(row.bytes),
                format!("{:.1}%", row.share_of_bytes * 100.0),
                format!("~{}", human::short(row.keys_estimated as f64)),
            ]);
        }
        table.write(out);
        if rows.iter().any(|row| row.commands > 0) && rows.iter().all(|row| row.scratch || row.commands == 0)
        {
            // All of it is loaded into the scratch server first.
            return;
        }
        let skews = [
            ("commands", skew(lanes, &|lane| lane.commands)),
            ("bytes", skew(lanes, &|lane| lane.bytes)),
            ("keys", skew(lanes, &|lane| lane.keys.estimate())),
        ];
        let listed: Vec<String> = skews.iter().map(|(name, skew)| format!("{skew:.2} in {name}")).collect();
        let mood =
            if skews.iter().any(|(_, skew)| *skew >= SKEW_DOUBTFUL) { Mood::Doubtful } else { Mood::Plain };
        out.push_str(&painted(&format!("skew (largest shard to mean): {}", listed.join(", ")), mood, color));
        out.push('\n');
    }

    fn databases(&self, out: &mut String, color: bool) {
        let tally = &self.survey.tally;
        let needed = u64::from(tally.db_max) + 1;
        let title = format!(
            "{}; targets need at least {needed}",
            human::counted(tally.databases.len() as u64, "database")
        );
        let mut rows: Vec<(String, u64)> =
            tally.databases.iter().map(|(db, n)| (db.to_string(), *n)).collect();
        if tally.databases.len() > ROWS_MAX {
            sort(&mut rows);
        }
        counts(out, &title, "database", &rows, color);
    }

    fn commands(&self, out: &mut String, color: bool) {
        let tally = &self.survey.tally;
        let mut rows: Vec<(String, u64)> =
            tally.commands.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        if self.unknown() > 0 {
            rows.push(("(unknown)".to_owned(), self.unknown()));
        }
        sort(&mut rows);
        counts(out, "commands by name", "command", &rows, color);
    }

    fn refused(&self, out: &mut String, color: bool) {
        let tally = &self.survey.tally;
        let total = human::entries(tally.refused_total(), tally);
        if tally.refused.is_empty() {
            return;
        }
        heading(out, &format!("{total} that cannot be carried out faithfully"), Mood::Bad, color);
        for (remedy, reasons) in self.by_remedy() {
            for (refusal, count) in reasons {
                let commands = human::entries(count, tally);
                paragraph(out, "  ", &format!("{commands}: {}", refusal.reason()));
            }
            paragraph(out, "    ", &format!("what to do: {remedy}"));
        }
        let listed = human::count(tally.refused.len() as u64);
        heading(out, &format!("the first {listed} of them"), Mood::Plain, color);
        let columns = [
            ("byte", Align::Number),
            ("command", Align::Text),
            ("key", Align::Text),
            ("reason", Align::Text),
        ];
        let mut table = Builder::new(&columns, color);
        let several = self.source.segments() > 1;
        let mut file = None;
        for found in self.occurrences() {
            // One line per file keeps the long paths out of every row.
            if several && file.as_ref() != Some(&found.file) {
                table.plain(&["", "", "", &format!("in {}", file_name(&found.file))]);
                file = Some(found.file.clone());
            }
            table.plain(&[found.offset_bytes.to_string(), found.command, found.key, found.text]);
        }
        table.write(out);
    }

    /// Reasons for which the same helps, together.
    fn by_remedy(&self) -> Vec<(&'static str, Vec<(Refusal, u64)>)> {
        let mut groups: Vec<(&'static str, Vec<(Refusal, u64)>)> = Vec::new();
        for (refusal, count) in &self.survey.tally.refusals {
            let remedy = remedy(*refusal);
            match groups.iter_mut().find(|(known, _)| *known == remedy) {
                Some((_, reasons)) => reasons.push((*refusal, *count)),
                None => groups.push((remedy, vec![(*refusal, *count)])),
            }
        }
        groups
    }

    fn verdict(&self, out: &mut String, color: bool) {
        let refused = human::entries(self.survey.tally.refused_total(), &self.survey.tally);
        let (mood, text) = match (self.survey.tally.refused_total(), self.skip_unsupported) {
            (0, _) if self.placing.needs_scratch > 0 && self.scratch.is_none() => {
                let text = "the source is refused for want of a scratch server; nothing is written";
                (Mood::Bad, text.to_owned())
            }
            (0, _) => (Mood::Good, "the source can be loaded".to_owned()),
            (_, true) => (Mood::Doubtful, format!("the source can be loaded without {refused}")),
            (_, false) => {
                (Mood::Bad, format!("the source is refused because of {refused}; nothing is written"))
            }
        };
        if !self.deletes.is_empty() {
            heading(out, "--flush-targets deletes what targets hold now", Mood::Doubtful, color);
            self.deletes.iter().for_each(|(target, holds)| out.push_str(&format!("{target}: {holds}\n")));
        }
        heading(out, &text, mood, color);
        if mood == Mood::Bad && self.survey.tally.refused_total() > 0 {
            out.push_str("--skip-unsupported loads the rest and reports what was left out\n");
        }
    }

    fn unknown(&self) -> u64 {
        let tally = &self.survey.tally;
        (tally.total - tally.values()).saturating_sub(tally.commands.values().sum())
    }

    fn file(&self, at: Position) -> String {
        self.source.file(at.segment).display().to_string()
    }

    fn files(&self) -> Vec<FileRow> {
        let segments = 0..u32::try_from(self.source.segments()).unwrap_or(u32::MAX);
        let file = |segment| FileRow {
            path: self.file(Position { segment, offset: 0 }),
            bytes: self.source.bytes(segment).len() as u64,
        };
        segments.map(file).collect()
    }

    fn shard_rows(&self) -> Vec<ShardRow> {
        let lanes = &self.survey.tally.lanes;
        let bytes: u64 = lanes.iter().map(|lane| lane.bytes).sum();
        let row = |(shard, lane): (usize, &LaneTally)| ShardRow {
            shard,
            scratch: shard >= self.targets.len(),
            target: self.targets.get(shard).map_or(SCRATCH, String::as_str).to_owned(),
            commands: lane.commands,
            bytes: lane.bytes,
            share_of_bytes: if bytes == 0 { 0.0 } else { lane.bytes as f64 / bytes as f64 },
            keys_estimated: lane.keys.estimate(),
        };
        lanes.iter().enumerate().map(row).collect()
    }

    fn occurrences(&self) -> Vec<Occurrence> {
        self.survey.tally.refused.iter().map(|refused| Occurrence::refused(refused, self.source)).collect()
    }
}

#[derive(Serialize)]
struct FileRow {
    path: String,
    bytes: u64,
}

#[derive(Serialize)]
struct ShardRow {
    shard: usize,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    scratch: bool,
    target: String,
    commands: u64,
    bytes: u64,
    share_of_bytes: f64,
    keys_estimated: u64,
}

/// The files of a source stand in one directory, which the first line of the text names.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The most frequent first; the order stays where counts are equal.
fn sort(rows: &mut [(String, u64)]) {
    rows.sort_by_key(|(_, count)| Reverse(*count));
}

fn counts(out: &mut String, title: &str, name: &str, rows: &[(String, u64)], color: bool) {
    if rows.is_empty() {
        return;
    }
    heading(out, title, Mood::Plain, color);
    let columns = [(name, Align::Text), ("commands", Align::Number), ("share", Align::Number)];
    let mut table = Builder::new(&columns, color);
    let total: u64 = rows.iter().map(|(_, count)| count).sum();
    let (shown, others) = rows.split_at(rows.len().min(ROWS_MAX));
    for (name, count) in shown {
        table.plain(&[name.clone(), human::count(*count), human::share(*count, total)]);
    }
    if !others.is_empty() {
        let count: u64 = others.iter().map(|(_, count)| count).sum();
        table.plain(&[format!("{} others", others.len()), human::count(count), human::share(count, total)]);
    }
    table.write(out);
}

/// The largest lane's number over the mean; 1 is even, and so is nothing at all.
fn skew(lanes: &[LaneTally], of: &dyn Fn(&LaneTally) -> u64) -> f64 {
    let total: u64 = lanes.iter().map(of).sum();
    let largest = lanes.iter().map(of).max().unwrap_or(0);
    if total == 0 { 1.0 } else { largest as f64 * lanes.len() as f64 / total as f64 }
}

/// What the user can do about commands refused for one reason, beside leaving them out.
fn remedy(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Unknown => "find out which module or later server wrote it; nothing here knows its keys",
        Refusal::Arity | Refusal::Discard => {
            "find out how it came into the file: no server writes or loads it"
        }
        Refusal::Script => {
            "rewrite the source: load it into a spare redis-server and BGREWRITEAOF; or --accept-scripts, if all keys of the scripts are declared and they set no deadlines"
        }
        Refusal::KeylessScript | Refusal::Pattern => REWRITE,
        Refusal::FieldDeadline | Refusal::Deadline => INTO_FILES,
        Refusal::MarkerKey => "give another --marker-key, one that the source does not use",
        Refusal::SlotImport => "end the import of slots on the source's server, and have it rewrite the file",
        Refusal::Module => {
            "have the server write commands instead (CONFIG SET aof-use-rdb-preamble no, then BGREWRITEAOF), or leave it out"
        }
        Refusal::TargetLacks(_) | Refusal::TargetTooOld(_) => {
            "load into targets of at least the version, and the product, that wrote the source"
        }
        Refusal::TooLarge(_) => "CONFIG SET proto-max-bulk-len on the target to more than the value's size",
    }
}

#[cfg(test)]
#[path = "survey_tests.rs"]
mod tests;
