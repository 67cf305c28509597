//! The main job: survey, decide, load, settle, report.

mod summary;

use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rayon::ThreadPool;

use super::placing;
use super::run::Run;
use super::scratch::{self, Scratch};
use super::start::{self, Start};
use super::targets::{self, Found};
use super::{Ended, Wrap, apart_from, now_ms, refusal, rehearsal, shown};
use crate::checkpoint::{self, Status};
use crate::command::deadline::{Clock, OFFSET_FAR_MS, OFFSET_NEAR_MS};
use crate::config::Job;
use crate::counters::{Counters, LaneState};
use crate::error::{Error, Kind, Result};
use crate::feed::Plan;
use crate::marker::{LoadId, Marker, Phase};
use crate::partition::{Spare, window_bytes};
use crate::placement::Placing;
use crate::progress::{Notices, Progress};
use crate::report::{DroppedTail, Outcome, Place, Times};
use crate::route::{Routing, Rules};
use crate::sink::exchange::Flush;
use crate::sink::{Sink, Stop, inspect};
use crate::source::{Position, Source};
use crate::survey::{Purpose, Survey, Surveyed, Wanted, placed, scripts, survey, touches};
use crate::writer::{Identity, LaneBoard, LaneWriter, interrupted};

/// How often the checkpoint file is written while a load is under way.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

/// What a load works with, from its first look at the source on.
struct Load<'j> {
    job: &'j Job,
    stop: &'j Stop,
    pool: &'j ThreadPool,
    wrap: &'j Wrap<'j>,
    source: Source,
    notices: Notices,
    counters: Arc<Counters>,
    boards: Vec<LaneBoard>,
    begun: Instant,
    times: Times,
    resumed_from: Option<Position>,
    survey: Option<Survey>,
    placing: Placing,
    /// Whether an earlier run may have written something.
    resumes: bool,
    /// Where the load ends.
    end: Option<Position>,
}

/// Loads, and says how it went.
pub fn load(job: &Job, stop: &Stop, pool: &ThreadPool, wrap: &Wrap<'_>) -> Ended {
    let resumes = job.checkpoint.exists();
    let source = match Source::open(&job.source) {
        Ok(source) => source,
        Err(error) => return in_truth(error, resumes).into(),
    };
    if let Err(error) = apart_from(&source, &job.checkpoint) {
        return error.into();
    }
    let names = targets::names(job);
    let mut load = Load {
        job,
        stop,
        pool,
        wrap,
        notices: Notices::new(job.output),
        counters: Arc::new(Counters::new(names.clone(), source.len())),
        boards: names.iter().map(|_| LaneBoard::default()).collect(),
        source,
        begun: Instant::now(),
        times: Times::default(),
        resumed_from: None,
        survey: None,
        placing: Placing::default(),
        resumes,
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
        Err(error) => (Outcome::of(error.kind()), Some(in_truth(error, load.resumes))),
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
        let mut found = targets::inspect(job)?;
        self.resumes |= found.iter().any(|found| found.marker.is_some());
        let notices = self.notices.clone();
        let start = start::decide(job, &self.source, recorded, &found, &|text| notices.warn(text))?;
        if let Start::Complete(load) = &start {
            scratch::remove_leftovers(job)?;
            self.say_complete(load);
            self.say_what_is_gone(&found);
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
        let mut survey = self.look(&rules, known.as_ref())?;
        targets::require(job, &found, &survey)?;
        let scratch = self.place(&mut rules, &mut survey, &start, (known.as_ref(), &found))?;
        self.check(&survey, known.as_ref(), (&found, scratch.is_some())).inspect_err(|_| {
            if known.is_none() {
                // What was made ready for a load that does not begin.
                drop(scratch::remove_leftovers(job));
            }
        })?;
        let go_on = go_on(self.stop);
        let load = known.clone().unwrap_or_else(|| self.new_load(&survey, &rules));
        rules.clock.offset_ms = if load.shift_ms > 0 { load.shift_ms } else { OFFSET_FAR_MS };
        if load.shift_ms > 0 {
            let begun = Instant::now();
            let touched = self.pool.install(|| touches(&self.source, &rules, &survey, &go_on))?;
            rules.touches = Some(Arc::new(touched));
            self.times.survey_s += begun.elapsed().as_secs_f64();
        }
        if rules.scripts.is_some() {
            let found = self.pool.install(|| scripts(&self.source, &rules, &survey, &go_on))?;
            rules.scripts = Some(Arc::new(found));
        }
        let windows = survey.windows.clone();
        self.survey = Some(survey);
        found.extend(scratch.iter().map(|scratch| scratch.found.clone()));
        self.apply(&rules, &windows, load, (&found, scratch.as_ref()), &start)
    }

    /// Refuses what cannot be carried out as it goes where it is placed.
    fn check(&self, survey: &Survey, known: Option<&LoadId>, asked: (&[Found], bool)) -> Result<()> {
        refusal::check(self.job, &self.source, survey)?;
        match known {
            Some(load) => refusal::check_the_same(load.left_out, survey),
            None => rehearsal::rehearse(self.job, &self.source, survey, asked, self.stop),
        }
    }

    /// Places the names that commands tie together. If some are tied to directories, there is one lane more.
    fn place(
        &mut self,
        rules: &mut Rules,
        survey: &mut Survey,
        start: &Start,
        (known, found): (Option<&LoadId>, &[Found]),
    ) -> Result<Option<Scratch>> {
        let begun = Instant::now();
        let go_on = go_on(self.stop);
        self.placing =
            self.pool.install(|| placing::placing(self.job, &self.source, rules, survey, &go_on))?;
        let scratch = match self.placing.needs_scratch {
            0 => None,
            _ if matches!(start, Start::Finish(_)) => scratch::to_finish(self.job, known)?,
            groups => {
                let offer = scratch::offer(self.job);
                offer.check(groups, survey)?;
                Some(scratch::open(self.job, offer, survey, (known, found), self.stop)?)
            }
        };
        if self.placing.needs_scratch > 0 {
            rules.live.push(scratch.as_ref().and_then(|scratch| Some(scratch.found.live.as_ref()?.takes)));
        }
        if scratch.is_some() {
            self.counters.add_scratch();
            self.boards.push(LaneBoard::default());
        }
        if survey.tally.tied > 0 && rules.live.iter().any(Option::is_some) {
            // What cannot be carried out depends on where it goes.
            self.pool.install(|| placed(&self.source, rules, survey, Wanted::Refusals, &go_on))?;
        }
        // Nobody asks for them again, and a load may take long.
        survey.spots = None;
        self.times.survey_s += begun.elapsed().as_secs_f64();
        Ok(scratch)
    }

    /// How commands are routed, before the survey has said how far deadlines have to be shifted.
    fn rules(&self, known: Option<&LoadId>, found: &[Found]) -> Rules {
        let shift_ms = known.map_or(0, |load| load.shift_ms);
        Rules {
            routing: Routing::new(self.job.topology.sets.len()),
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
        let size = known.map_or_else(|| window_bytes(rules.lanes()), |load| load.window_bytes);
        self.end = Some(end);
        if end > self.source.end() || end.offset > self.source.bytes(end.segment).len() as u64 {
            return Err(changed_source(&self.source, "shorter than"));
        }
        let (counters, stop) = (&self.counters, self.stop);
        let advance = |bytes: u64| {
            counters.surveyed_bytes.store(bytes, Ordering::Relaxed);
            go_on(stop)()
        };
        let survey =
            self.pool.install(|| survey(&self.source, rules, (size, Purpose::Load), end, &advance))?;
        self.counters.surveyed_bytes.store(self.counters.source_bytes, Ordering::Relaxed);
        self.times.survey_s = begun.elapsed().as_secs_f64();
        if known.is_some_and(|load| load.sum != survey.sum || load.end != survey.end) {
            return Err(changed_source(&self.source, "different from"));
        }
        if known.is_some() {
            self.say_what_is_beyond(end);
        }
        if survey.tally.tied == 0 {
            refusal::check(self.job, &self.source, &survey)?;
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
            kinds: self.job.topology.kinds(),
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
        (found, scratch): (&[Found], Option<&Scratch>),
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
                .saturating_add(1),
            owner: crate::random(),
        };
        let spare = Spare::default();
        let plan = Plan { source: &self.source, rules, windows, spare: &spare };
        let scratch_target = scratch.map(|scratch| &scratch.target);
        let routing = (rules, self.survey.as_ref());
        let sinks = targets::sinks(self.job, scratch_target, &self.source, routing, self.stop);
        let mut sinks: Vec<_> = sinks.into_iter().map(self.wrap).collect();
        for (lane, (sink, found)) in sinks.iter_mut().zip(found).enumerate() {
            let kept = found.marker.clone().filter(|_| !fresh);
            let settled = matches!(start, Start::Finish(_)) && kept.is_none();
            let marker = match kept {
                Some(marker) => marker,
                None if settled => continue,
                None => {
                    let flush = match scratch.filter(|_| lane == load.lanes) {
                        Some(scratch) => scratch.flush,
                        None => found.flush(self.job.flush_targets),
                    };
                    prepare(sink.as_mut(), lane, &load, identity, (found, flush))?
                }
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
            foreign: &self.placing.foreign,
            scratch,
            has_functions: self.survey.as_ref().is_some_and(Survey::has_functions),
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
            Some(marker) if !marker.has_reached(&Phase::Shipping) => plan.number_of(marker.window),
            _ => Ok(plan.windows.len()),
        };
        self.boards.iter().map(start).collect()
    }

    fn lowest(&self) -> Option<Position> {
        self.boards.iter().filter_map(|board| board.marker().map(|marker| marker.window)).min()
    }

    fn say_complete(&mut self, load: &LoadId) {
        self.end = Some(load.end);
        for lane in self.counters.all() {
            lane.set_state(LaneState::Done);
            lane.position_bytes.store(self.source.bytes_before(load.end), Ordering::Relaxed);
        }
        self.say_what_is_beyond(load.end);
    }

    /// A complete load is not begun again because what it made was deleted or moved away since.
    fn say_what_is_gone(&self, found: &[Found]) {
        let all = found.iter().all(Found::is_empty);
        // A server may well have got nothing; a directory has always got files.
        let gone = |found: &Found| found.is_empty() && (all || found.live.is_none());
        let gone = found.iter().enumerate().filter(|(_, found)| gone(found));
        let names: Vec<_> = gone.map(|(shard, found)| format!("shard {shard} ({})", found.name)).collect();
        if !names.is_empty() {
            self.notices.warn(format!("nothing is there now in {}; --restart loads anew", names.join(", ")));
        }
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
    run.finish_scratch(writers)?;
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
                    notices.warn(error.line());
                    warned = true;
                }
            }
        });
        let done = work();
        drop(end);
        done
    });
    if let (Err(_), Err(error)) = (&result, run.record()) {
        notices.warn(error.line());
    }
    (result, other)
}

/// Creates a lane's first marker, emptying its target if the user wants that.
fn prepare(
    sink: &mut dyn Sink,
    lane: usize,
    load: &LoadId,
    identity: Identity,
    (found, flush): (&Found, Flush),
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
    // The answer may be lost, and markers of other lanes may be there already.
    let written = match (lane, flush.keys) {
        (0, false) => "no data was written, at most a marker",
        (_, false) => "no data was written, only markers",
        (_, true) => "no data was written, but targets may have been emptied",
    };
    sink.create(found.marker.as_ref(), &marker, flush)
        .map_err(|fault| inspect::fatal(&found.name, fault).wrote(written).in_shard(lane))?;
    Ok(marker)
}

/// What holds for the run that met an error holds for the load only if no earlier run has written something.
fn in_truth(error: Error, resumes: bool) -> Error {
    if resumes { error.wrote("nothing more was written") } else { error }
}

/// Whether to go on with what takes long, asked window by window.
fn go_on(stop: &Stop) -> impl Fn() -> Result<()> + Sync + '_ {
    || if stop.requested() { Err(interrupted()) } else { Ok(()) }
}

fn changed_source(source: &Source, how: &str) -> Error {
    Error::new(Kind::Conflict, format!("the source is {how} what it was when the load began"))
        .file(source.path())
        .remedy("give the source that the load began with, as it was; or start over with --restart")
}
