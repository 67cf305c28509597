//! What is said at the end of a load.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Load;
use crate::error::Error;
use crate::report::{
    DroppedTail, IgnoredError, LeftOut, LoadReport, Occurrence, Outcome, Place, Replicas, ShardReport,
};
use crate::topology::Target;

impl Load<'_> {
    /// How it went.
    pub(super) fn report(&self, outcome: Outcome, error: Option<&Error>) -> LoadReport {
        let declares = self
            .job
            .topology
            .sets
            .iter()
            .any(|set| matches!(&set.target, Target::Server(members) if !members.replicas.is_empty()));
        let unseen: u64 = self.boards.iter().map(|board| board.unseen_batches.load(Ordering::Relaxed)).sum();
        let mut warnings = self.notices.warnings();
        if unseen > 0 {
            warnings.push(format!(
                "at least {} applied whose replies were lost with a connection: errors that single commands of them may \
                 have met are not counted here",
                match unseen {
                    1 => "1 batch was".to_owned(),
                    _ => format!("{unseen} batches were"),
                }
            ));
        }
        LoadReport {
            outcome,
            reason: error.map(Error::sentence),
            source: self.job.source.display().to_string(),
            source_bytes: self.source.len(),
            applied_bytes: match outcome {
                Outcome::Complete | Outcome::AlreadyComplete => {
                    self.end.map_or_else(|| self.source.len(), |end| self.source.bytes_before(end))
                }
                _ => self.counters.applied_bytes(),
            },
            resumed_from: self.resumed_from.map(|from| Place::of(&self.source, from)),
            times: self.times,
            shards: ShardReport::all(&self.counters, Duration::from_secs_f64(self.times.load_s)),
            ignored_errors: self.ignored(),
            scripts: self.survey.as_ref().map_or(0, |survey| survey.tally.scripts),
            left_out: self.survey.as_ref().map_or_else(Vec::new, |survey| LeftOut::all(survey, &self.source)),
            dropped_tail: self.survey.as_ref().and_then(|survey| DroppedTail::of(survey, &self.source)),
            replicas: match (declares, outcome) {
                (false, _) => Replicas::NoneDeclared,
                (true, Outcome::Complete) => self.confirmed(),
                (true, _) => Replicas::NotAsked,
            },
            checkpoint: Some(self.job.checkpoint.display().to_string()),
            warnings,
        }
    }

    fn confirmed(&self) -> Replicas {
        let lanes = self.counters.all().zip(&self.boards).enumerate();
        let away = lanes.filter(|(_, (_, board))| board.missing_replicas.load(Ordering::Relaxed) > 0);
        let targets: Vec<String> = away.map(|(lane, _)| self.counters.target(lane).to_owned()).collect();
        if targets.is_empty() { Replicas::Confirmed } else { Replicas::Unconfirmed { targets } }
    }

    fn ignored(&self) -> Vec<IgnoredError> {
        let mut all: Vec<IgnoredError> = Vec::new();
        for board in &self.boards {
            let Ok(kinds) = board.ignored.lock() else { continue };
            for (label, (count, first)) in kinds.iter() {
                match all.iter_mut().find(|error| error.label == *label) {
                    Some(error) => error.count += count,
                    None => all.push(IgnoredError {
                        label: (*label).to_owned(),
                        count: *count,
                        first: Occurrence {
                            file: self.source.file(first.answered.at.segment).display().to_string(),
                            offset_bytes: first.answered.at.offset,
                            command: first.answered.command.clone(),
                            key: first.answered.key.clone(),
                            text: first.answered.text.clone(),
                        },
                    }),
                }
            }
        }
        all
    }
}
