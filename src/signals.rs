//! SIGINT and SIGTERM: the first one asks to stop, the second one ends the process at once; both are told.
//!
//! A handler only sets a flag and writes a byte. A thread of its own reads those bytes, one for each signal, and whatever
//! hangs, a target or stderr, it does not wait for it.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};

use crate::error::Kind;
use crate::progress;
use crate::sink::Stop;

const STOPPING: &str = "stopping: waiting for what is under way; once more (Ctrl-C) ends at once; either way the same \
                        command resumes";
const ENDED: &str = "error: a second signal ended the run at once; run the same command again, it resumes";

/// How long the last line may keep the process from ending, if nobody reads stderr.
const LAST_LINE_MAX: Duration = Duration::from_secs(1);

/// Watches for signals from its creation to the end of the process.
#[derive(Debug)]
pub struct Signals {
    /// Whether the run has ended; held while a line is printed.
    over: Arc<Mutex<bool>>,
}

impl Signals {
    /// Takes signals for requests to stop. The first one is told unless `quiet`.
    pub fn watch(stop: &Stop, quiet: bool) -> io::Result<Signals> {
        // A file size limit is to be an error of write, not the end of the process.
        signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
        let (bytes, handlers) = UnixStream::pair()?;
        let over = Arc::new(Mutex::new(false));
        let told = Arc::clone(&over);
        thread::Builder::new().name("signals".to_owned()).spawn(move || follow(bytes, &told, quiet))?;
        for signal in [SIGINT, SIGTERM] {
            stop.on_signal(signal)?;
            signal_hook::low_level::pipe::register(signal, handlers.try_clone()?)?;
        }
        Ok(Signals { over })
    }

    /// The run has ended: what a first signal has to say would only come too late.
    pub fn rest(&self) {
        *self.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }
}

fn follow(mut signals: UnixStream, over: &Arc<Mutex<bool>>, quiet: bool) {
    let mut next = || signals.read_exact(&mut [0]).is_ok();
    if next() && !quiet {
        let over = Arc::clone(over);
        // Without memory for a thread there is no line.
        let _ = aside(move || {
            let over = over.lock().unwrap_or_else(PoisonError::into_inner);
            if !*over {
                progress::print(STOPPING);
            }
        });
    }
    if next() {
        let (told, wait) = channel();
        let over = Arc::clone(over);
        let _ = aside(move || {
            let _in_order = over.lock();
            progress::print_last(ENDED);
            let _ = told.send(());
        });
        let _ = wait.recv_timeout(LAST_LINE_MAX);
        signal_hook::low_level::exit(i32::from(Kind::Interrupted.exit_code()));
    }
}

fn aside(print: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().spawn(print)
}
