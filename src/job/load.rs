//! The main job: survey, decide, load, settle, report.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rayon::ThreadPool;

use super::run::Run;
use super::start::{self, Start};
use super::targets::{self, Found};
use super::{Ended, now_ms, refusal, shown};
use crate::checkpoint::{self, Status};
use crate::command::deadline::{Clock, OFFSET_FAR_MS, OFFSET_NEAR_MS};
use crate::config::Job;
use crate::counters::{Counters, LaneState};
use crate::error::{Error, Kind, Result};
use crate::feed::Plan;
use crate::marker::{LoadId, Marker, Phase};
use crate::partition::window_bytes;
use crate::progress::{Notices, Progress};
use crate::report::{
    DroppedTail, IgnoredError, LeftOut, LoadReport, Occurrence, Outcome, Place, Replicas, ShardReport, Times,
};
use crate::route::{OwnLane, Routing, Rules};
use crate::sink::{Sink, Stop, inspect};
use crate::source::{Position, Source};
use crate::survey::{Survey, Surveyed, scripts, survey, touches};
use crate::topology::Target;
use crate::writer::{Identity, LaneBoard, LaneWriter, interrupted};

/// How often the checkpoint file is written while a load is under way.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

/// What a load works with, from its first look at the source on.
struct Load<'j> {
    job: &'j Job,
    stop: &'j Stop,
    pool: &'j ThreadPool,
    source: Source,
    notices: Notices,
    counters: Arc<Counters>,
    boards: Vec<LaneBoard>,
    begun: Instant,
    times: Times,
    resumed_from: Option<Position>,
    survey: Option<Survey>,
    /// Where the load ends.
    end: Option<Position>,
}

/// Loads, and says how it went.
pub fn load(job: &Job, stop: &Stop, pool: &ThreadPool) -> Ended {
    let source = match Source::open(&job.source) {
        Ok(source) => source,
        Err(error) => return error.into(),
    };
    let names = targets::names(job);
    let mut load = Load {
        job,
        stop,
        pool,
        notices: Notices::new(job.output),
        counters: Arc::new(Counters::new(names.clone(), source.len())),
        boards: names.iter().map(|_| LaneBoard::default()).collect(),
        source,
        begun: Instant::now(),
        times: Times::default(),
        resumed_from: None,
        survey: None,
        end: None,
    };
    let interval = Duration::from_millis(job.limits.progress_interval_ms);
    let progress =
        Progress::with_notices(Arc::clone(&load.counters), load.notices.clone(), job.output, interval);
    let result = load.run();
    progress.finish();
    load.times.total_s = load.begun.elapsed().as_secs_f64();
    let (outcome, error) = match result {
        Ok(outcome) => (outcome, None),
        Err(error) => (Outcome::of(error.kind()), Some(error)),
    };
    // A load that was refused before it began has nothing to report but the error.
    let began = load.boards.iter().any(|board| board.marker().is_some());
    let output = (error.is_none() || began).then(|| load.report(outcome, error.as_ref()));
    let output = output.map(|report| shown(job.output, |color| report.text(color), || report.json()));
    Ended { output, error }
}

impl Load<'_> {
    fn run(&mut self) -> Result<Outcome> {
        let job = self.job;
        let _lock = checkpoint::Lock::take(&job.checkpoint)?;
        let recorded = checkpoint::read(&job.checkpoint)?;
        let found = targets::inspect(job)?;
        let notices = self.notices.clone();
        let start = start::decide(job, &self.source, recorded, &found, &|text| notices.warn(text))?;
        if let Start::Complete(load) = &start {
            self.say_complete(load);
            return Ok(Outcome::AlreadyComplete);
        }
        let known = match &start {
            Start::Fresh | Start::Complete(_) => None,
            Start::Resume(load) | Start::Finish(load) => Some(load.clone()),
        };
        if known.is_none() {
            targets::refuse_full(job, &found)?;
        }
        let mut rules = self.rules(known.as_ref(), &found);
        let survey = self.look(&rules, known.as_ref())?;
        targets::require(job, &found, &survey)?;
        let load = known.clone().unwrap_or_else(|| self.new_load(&survey, &rules));
        rules.clock.offset_ms = if load.shift_ms > 0 { load.shift_ms } else { OFFSET_FAR_MS };
        if load.shift_ms > 0 {
            let begun = Instant::now();
            let go_on = || if self.stop.requested() { Err(interrupted()) } else { Ok(()) };
            let touched = self.pool.install(|| touches(&self.source, &rules, &survey, &go_on))?;
            rules.touches = Some(Arc::new(touched));
            self.times.survey_s += begun.elapsed().as_secs_f64();
        }
        if rules.scripts.is_some() {
            let go_on = || if self.stop.requested() { Err(interrupted()) } else { Ok(()) };
            let found = self.pool.install(|| scripts(&self.source, &rules, &survey, &go_on))?;
            rules.scripts = Some(Arc::new(found));
        }
        let windows = survey.windows.clone();
        self.survey = Some(survey);
        self.apply(&rules, &windows, load, &found, &start)
    }

    /// How commands are routed, before the survey has said how far deadlines have to be shifted.
    fn rules(&self, known: Option<&LoadId>, found: &[Found]) -> Rules {
        let shift_ms = known.map_or(0, |load| load.shift_ms);
        Rules {
            routing: Routing::new(self.job.topology.sets.len(), OwnLane),
            live: targets::live(self.job, &self.source, Some(found)),
            marker_key: self.job.marker_key.clone(),
            clock: Clock {
                now_ms: known.map_or_else(now_ms, |load| load.clock_ms),
                offset_ms: if shift_ms > 0 { shift_ms } else { OFFSET_FAR_MS },
            },
            touches: None,
            scripts: self.job.accept_scripts.then(Arc::default),
        }
    }

    /// Surveys the source, up to the end that a load under way has fixed, and refuses what is amiss.
    fn look(&mut self, rules: &Rules, known: Option<&LoadId>) -> Result<Survey> {
        let begun = Instant::now();
        let end = known.map_or_else(|| self.source.end(), |load| load.end);
        let size = known.map_or_else(|| window_bytes(rules.routing.lanes()), |load| load.window_bytes);
        self.end = Some(end);
        if end > self.source.end() || end.offset > self.source.bytes(end.segment).len() as u64 {
            return Err(changed_source(&self.source, "shorter"));
        }
        let (counters, stop) = (&self.counters, self.stop);
        let advance = |bytes: u64| {
            counters.surveyed_bytes.store(bytes, Ordering::Relaxed);
            if stop.requested() { Err(interrupted()) } else { Ok(()) }
        };
        let survey = self.pool.install(|| survey(&self.source, rules, size, end, &advance))?;
        self.counters.surveyed_bytes.store(self.counters.source_bytes, Ordering::Relaxed);
        self.times.survey_s = begun.elapsed().as_secs_f64();
        if known.is_some_and(|load| load.sum != survey.sum || load.end != survey.end) {
            return Err(changed_source(&self.source, "different"));
        }
        if known.is_some() {
            self.say_what_is_beyond(end);
        }
        refusal::check(self.job, &self.source, &survey)?;
        if let Some(load) = known {
            refusal::check_the_same(load.left_out, &survey)?;
        }
        if let Some(tail) = DroppedTail::of(&survey, &self.source) {
            self.notices.warn(format!("dropped, as redis-server does: {tail}"));
        }
        Ok(survey)
    }

    fn new_load(&self, survey: &Survey, rules: &Rules) -> LoadId {
        let tally = &survey.tally;
        let shifts = tally.deadlines > 0 && rules.live.iter().any(Option::is_some);
        let offset_ms = if tally.deadline_ms_max < OFFSET_NEAR_MS { OFFSET_NEAR_MS } else { OFFSET_FAR_MS };
        LoadId {
            sum: survey.sum,
            end: survey.end,
            lanes: self.job.topology.sets.len(),
            window_bytes: window_bytes(self.job.topology.sets.len()),
            batch_commands_max: self.job.limits.batch_commands_max,
            batch_bytes_max: self.job.limits.batch_bytes_max,
            clock_ms: rules.clock.now_ms,
            shift_ms: if shifts { offset_ms } else { 0 },
            left_out: tally.refused_total(),
        }
    }

    /// Creates what markers are missing, loads, settles, and tidies up.
    fn apply(
        &mut self,
        rules: &Rules,
        windows: &[Surveyed],
        load: LoadId,
        found: &[Found],
        start: &Start,
    ) -> Result<Outcome> {
        let fresh = *start == Start::Fresh;
        let identity = Identity {
            run: found
                .iter()
                .filter_map(|found| found.marker.as_ref())
                .map(|marker| marker.run)
                .max()
                .unwrap_or(0)
                + 1,
            owner: random(),
        };
        let plan = Plan { source: &self.source, rules, windows };
        let mut sinks = targets::sinks(self.job, &self.source, rules, self.stop);
        for (lane, (sink, found)) in sinks.iter_mut().zip(found).enumerate() {
            let kept = found.marker.clone().filter(|_| !fresh);
            let settled = matches!(start, Start::Finish(_)) && kept.is_none();
            let marker = match kept {
                Some(marker) => marker,
                None if settled => continue,
                None => prepare(sink.as_mut(), lane, &load, identity, found, self.job.flush_targets)?,
            };
            if let Ok(mut shown) = self.boards[lane].marker.lock() {
                *shown = Some(marker);
            }
        }
        let starts = self.starts(&plan)?;
        let begun =
            found.iter().any(|found| found.marker.as_ref().is_some_and(|m| m.phase != Phase::Prepared));
        self.resumed_from = (!fresh && begun).then(|| self.lowest()).flatten();
        if let Some(from) = self.resumed_from {
            tracing::info!("resuming at {}", Place::of(&self.source, from));
        }
        let run = Run {
            job: self.job,
            plan,
            load,
            identity,
            stop: self.stop,
            counters: &self.counters,
            boards: &self.boards,
            pool: self.pool,
            status: Mutex::new(Status::Loading),
        };
        run.record()?;
        let finishing = matches!(start, Start::Finish(_));
        let (result, times) = recorded(&run, &self.notices, || drive(&run, sinks, &starts, finishing));
        (self.times.load_s, self.times.settle_s) = times;
        result.map(|()| Outcome::Complete)
    }

    /// For each lane the number of the window that it goes on with.
    fn starts(&self, plan: &Plan<'_>) -> Result<Vec<usize>> {
        let start = |board: &LaneBoard| match board.marker() {
            Some(marker) if marker.phase.rank() < Phase::Settling.rank() => plan.number_of(marker.window),
            _ => Ok(plan.windows.len()),
        };
        self.boards.iter().map(start).collect()
    }

    fn lowest(&self) -> Option<Position> {
        self.boards.iter().filter_map(|board| board.marker().map(|marker| marker.window)).min()
    }

    fn say_complete(&mut self, load: &LoadId) {
        self.end = Some(load.end);
        for lane in &self.counters.lanes {
            lane.set_state(LaneState::Done);
            lane.position_bytes.store(self.source.bytes_before(load.end), Ordering::Relaxed);
        }
        self.say_what_is_beyond(load.end);
    }

    /// The end of a load is fixed when it begins; what is appended later is not part of it.
    fn say_what_is_beyond(&self, end: Position) {
        let beyond = self.source.len().saturating_sub(self.source.bytes_before(end));
        if beyond > 0 {
            self.notices.warn(format!(
                "the source has {beyond} bytes behind the end of the load, which was fixed when it began; \
                 they are not loaded"
            ));
        }
    }

    fn report(&self, outcome: Outcome, error: Option<&Error>) -> LoadReport {
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
                "{unseen} batches were applied whose replies were lost with a connection: errors that \
                 single commands of them may have met are not counted here"
            ));
        }
        LoadReport {
            outcome,
            reason: error.map(|error| error.message().to_owned()),
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
                (true, Outcome::Complete) => Replicas::Confirmed,
                (true, _) => Replicas::NotAsked,
            },
            checkpoint: Some(self.job.checkpoint.display().to_string()),
            warnings,
        }
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

/// Loads, settles and tidies up, as far as it goes; and how long loading and settling took, in seconds.
fn drive<'s>(
    run: &Run<'s>,
    sinks: Vec<Box<dyn Sink + 's>>,
    starts: &[usize],
    finishing: bool,
) -> (Result<()>, (f64, f64)) {
    let begun = Instant::now();
    let (mut writers, loaded) =
        if finishing { (run.writers(sinks), Ok(())) } else { run.load(sinks, starts) };
    let load_s = begun.elapsed().as_secs_f64();
    let settling = Instant::now();
    let result = loaded.and_then(|()| if finishing { Ok(()) } else { run.settle(&mut writers) });
    let settle_s = settling.elapsed().as_secs_f64();
    let result = result.and_then(|()| tidy_up(run, &mut writers));
    (result, (load_s, settle_s))
}

fn tidy_up<'s>(run: &Run<'s>, writers: &mut [LaneWriter<'s>]) -> Result<()> {
    if !run.job.keep_markers {
        // From here on a target without marker is one that is done.
        run.enter(Status::Finishing)?;
        run.finish(writers)?;
    }
    run.enter(Status::Complete)
}

/// Runs `work` while another thread keeps the checkpoint file up to date.
fn recorded<T>(run: &Run<'_>, notices: &Notices, work: impl FnOnce() -> (Result<()>, T)) -> (Result<()>, T) {
    let (end, ended) = channel::<()>();
    let (result, other) = std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut warned = false;
            while ended.recv_timeout(CHECKPOINT_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                if let (Err(error), false) = (run.record(), warned) {
                    // The markers are the truth; a load need not stop for its record.
                    notices.warn(error.to_string());
                    warned = true;
                }
            }
        });
        let done = work();
        drop(end);
        done
    });
    if let (Err(_), Err(error)) = (&result, run.record()) {
        notices.warn(error.to_string());
    }
    (result, other)
}

/// Creates a lane's first marker, emptying its target if the user wants that.
fn prepare(
    sink: &mut dyn Sink,
    lane: usize,
    load: &LoadId,
    identity: Identity,
    found: &Found,
    flush: bool,
) -> Result<Marker> {
    let marker = Marker {
        load: load.clone(),
        lane,
        run: identity.run,
        owner: identity.owner,
        server: found.live.as_ref().map_or(0, |live| live.life()),
        phase: Phase::Prepared,
        window: Position::default(),
        batch: 0,
    };
    sink.create(found.marker.as_ref(), &marker, found.flush(flush))
        .map_err(|fault| inspect::fatal(&found.name, fault))?;
    Ok(marker)
}

fn changed_source(source: &Source, how: &str) -> Error {
    Error::new(Kind::Conflict, format!("the source is {how} from what it was when the load began"))
        .file(source.path())
        .remedy("give the source as it was, or start over with --restart")
}

fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
