//! The survey alone, and what it found.

use std::sync::Arc;
use std::time::Instant;

use rayon::ThreadPool;

use super::placing::placing;
use super::scratch::{self, Offer};
use super::{Ended, now_ms, refusal, shown, targets};
use crate::command::deadline::{Clock, OFFSET_FAR_MS};
use crate::config::Job;
use crate::error::Result;
use crate::partition::window_bytes;
use crate::report::SurveyReport;
use crate::route::{Routing, Rules};
use crate::sink::Stop;
use crate::source::Source;
use crate::survey::{Purpose, Wanted, placed, survey};
use crate::writer::interrupted;

/// Surveys the source; connects to the targets only to look at them, and only if asked to.
pub fn dry_run(job: &Job, check_topology: bool, stop: &Stop, pool: &ThreadPool) -> Result<Ended> {
    let begun = Instant::now();
    let source = Source::open(&job.source)?;
    let lanes = job.topology.sets.len();
    let found = if check_topology { Some(targets::inspect(job)?) } else { None };
    let mut rules = Rules {
        routing: Routing::new(lanes),
        live: targets::live(job, &source, found.as_deref()),
        marker_key: job.marker_key.clone(),
        clock: Clock { now_ms: now_ms(), offset_ms: OFFSET_FAR_MS },
        touches: None,
        scripts: job.accept_scripts.then(Arc::default),
    };
    let advance = |_| if stop.requested() { Err(interrupted()) } else { Ok(()) };
    let windows = (window_bytes(lanes), Purpose::Report);
    let mut survey = pool.install(|| survey(&source, &rules, windows, source.end(), &advance))?;
    refusal::check_end(job, &source, &survey)?;
    let go_on = || advance(0);
    let placing = pool.install(|| placing(job, &source, &mut rules, &survey, &go_on))?;
    let offer = (placing.needs_scratch > 0).then(|| scratch::offer(job));
    let look = |offer: &Offer| offer.look(job, check_topology);
    let live = offer.as_ref().map(look).transpose()?.flatten();
    if let Some(offer) = &offer {
        rules.live.push(offer.takes(&source, live.as_ref()));
    }
    if survey.tally.tied > 0 {
        pool.install(|| placed(&source, &rules, &mut survey, Wanted::Counts, &go_on))?;
    }
    let deletes = found.as_deref().map_or_else(Vec::new, |found| targets::to_delete(job, found));
    let report = SurveyReport {
        source: &source,
        survey: &survey,
        placing: &placing,
        scratch: offer.as_ref().and_then(Offer::name),
        targets: &targets::names(job),
        deletes: &deletes,
        skip_unsupported: job.skip_unsupported,
        took: begun.elapsed(),
    };
    let output = Some(shown(job.output, |color| report.text(color), || report.json()));
    let checked = refusal::check(job, &source, &survey).and_then(|()| {
        offer.as_ref().map_or(Ok(()), |offer| offer.check(placing.needs_scratch, &survey))?;
        let Some(found) = found else { return Ok(()) };
        if found.iter().all(|found| found.marker.is_none()) {
            targets::refuse_full(job, &found)?;
        }
        targets::require(job, &found, &survey)
    });
    Ok(Ended { output, error: checked.err() })
}
