//! Parses the command line, runs, and turns the outcome into an exit code.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use redcluster_load::config::Job;
use redcluster_load::error::Error;
use redcluster_load::sink::Stop;
use redcluster_load::{cli, job, progress};
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};

/// What a second signal exits with: interrupted, resumable.
const INTERRUPTED: i32 = redcluster_load::error::Kind::Interrupted.exit_code() as i32;

fn main() -> ExitCode {
    let arguments = match cli::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(error) => {
            // A closed stdout or stderr leaves nobody to tell.
            let _ = error.print();
            return ExitCode::from(error.exit_code() as u8);
        }
    };
    if let Some(shell) = arguments.completions {
        return told(cli::write_completions(shell, &mut std::io::stdout()));
    }
    if arguments.man {
        return told(cli::write_man(&mut std::io::stdout()));
    }
    let stop = Arc::new(Stop::default());
    let plan = watch_signals(&stop).and_then(|()| Job::from_args(&arguments));
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => return failed(&error),
    };
    progress::logs(plan.output);
    let ended = job::run(&plan, &stop);
    if let Some(output) = ended.output {
        let _ = writeln!(std::io::stdout(), "{}", output.trim_end());
    }
    match ended.error {
        Some(error) => failed(&error),
        None => ExitCode::SUCCESS,
    }
}

/// The first SIGINT or SIGTERM asks to stop, the second one ends the process at once.
fn watch_signals(stop: &Arc<Stop>) -> Result<(), Error> {
    let cannot = |error: std::io::Error| {
        Error::new(redcluster_load::error::Kind::Local, "cannot watch for signals").caused_by(error)
    };
    let leave = signal_hook::flag::register_conditional_shutdown;
    let [interrupt, terminate] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    for (signal, seen, other) in [(SIGINT, &interrupt, &terminate), (SIGTERM, &terminate, &interrupt)] {
        leave(signal, INTERRUPTED, Arc::clone(seen)).map_err(cannot)?;
        signal_hook::flag::register(signal, Arc::clone(seen)).map_err(cannot)?;
        // Behind that, because the two may interrupt each other: then the one that ends last sees both.
        leave(signal, INTERRUPTED, Arc::clone(other)).map_err(cannot)?;
        stop.on_signal(signal).map_err(cannot)?;
    }
    // A file size limit is to be an error of write, not the end of the process.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map_err(cannot)?;
    Ok(())
}

fn told(result: std::io::Result<()>) -> ExitCode {
    if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn failed(error: &Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "error: {error}");
    ExitCode::from(error.kind().exit_code())
}
