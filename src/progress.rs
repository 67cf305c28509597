//! Shows how a load is going while it goes: bars on a terminal, plain lines elsewhere, and warnings and
//! logs between them. Everything goes to stderr; stdout belongs to the result.
//!
//! A thread of its own reads the counters and nothing else, so that what is shown can neither slow a
//! load down nor change it.

mod bars;
mod logs;
mod meter;
mod plain;
mod screen;
mod snapshot;

pub use logs::logs;
pub use screen::{Notices, print, print_last};

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::config::Output;
use crate::counters::Counters;
use crate::report::color_on;
use bars::Bars;
use plain::Plain;
use snapshot::Snapshot;

/// Time between two looks at the counters.
const TICK: Duration = Duration::from_millis(100);

/// The thread that shows progress; dropping it ends it, as [`Progress::finish`] does.
#[derive(Debug)]
pub struct Progress {
    end: Arc<End>,
    thread: Option<JoinHandle<()>>,
    notices: Notices,
}

impl Progress {
    /// Begins to show `counters`: bars if stderr is a terminal, otherwise a line every `interval`, and
    /// nothing if `output` says so. JSON does not matter here, since that goes to stdout.
    pub fn start(counters: Arc<Counters>, output: Output, interval: Duration) -> Progress {
        Progress::with_notices(counters, Notices::new(output), output, interval)
    }

    /// The same with notices that are in use already, so that one list has all warnings of a run.
    pub fn with_notices(
        counters: Arc<Counters>,
        notices: Notices,
        output: Output,
        interval: Duration,
    ) -> Progress {
        let end = Arc::new(End::default());
        let display = if output.quiet { None } else { Some(display(output, interval)) };
        let thread = display.and_then(|display| {
            let end = Arc::clone(&end);
            let run = move || run(&counters, &end, display);
            std::thread::Builder::new().name("progress".to_owned()).spawn(run).ok()
        });
        if thread.is_none() {
            screen::lower();
        }
        Progress { end, thread, notices }
    }

    /// Prints a warning without disturbing the bars.
    pub fn warn(&self, text: impl AsRef<str>) {
        self.notices.warn(text);
    }

    /// The same for other threads.
    pub fn notices(&self) -> Notices {
        self.notices.clone()
    }

    /// Takes the bars away and ends the thread, at once.
    pub fn finish(self) {
        drop(self);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end.set();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has already been printed, and the load does not depend on it.
            let _ = thread.join();
            screen::lower();
        }
    }
}

/// Set once, when there is nothing more to show.
#[derive(Debug, Default)]
struct End {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl End {
    fn set(&self) {
        *self.is_set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits for `time`, or less if the end comes; says whether it has come.
    fn wait(&self, time: Duration) -> bool {
        let is_set = self.is_set.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(is_set, time, |is_set| !*is_set);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// A way to show the counters.
trait Display: Send {
    /// Shows them as they are now.
    fn tick(&mut self, now: Snapshot);
    /// Shows what must not be missed, and takes away what should not stay.
    fn end(&mut self, now: Snapshot);
}

fn display(output: Output, interval: Duration) -> Box<dyn Display> {
    let color = color_on(output.color, io::stderr().is_terminal());
    match screen::raise() {
        Some(screen) => Box::new(Bars::new(screen, color)),
        None => Box::new(Plain::new(io::stderr(), interval)),
    }
}

fn run(counters: &Counters, end: &End, mut display: Box<dyn Display>) {
    let start = Instant::now();
    while !end.wait(TICK) {
        display.tick(Snapshot::take(counters, start.elapsed()));
    }
    display.end(Snapshot::take(counters, start.elapsed()));
}

/// Writes a whole line at once, so that lines of several threads do not mix. There is nowhere to say
/// that stderr cannot be written.
fn write_line(out: &mut impl Write, line: &str) {
    let _ = out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests;
