//! Parses the command line, runs, and turns the outcome into an exit code.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use redcluster_load::config::Job;
use redcluster_load::error::{Error, Kind};
use redcluster_load::signals::Signals;
use redcluster_load::sink::Stop;
use redcluster_load::{cli, job, progress};

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
    let stop = Stop::default();
    let signals = match Signals::watch(&stop, arguments.quiet) {
        Ok(signals) => signals,
        Err(error) => {
            return failed(&Error::new(Kind::Local, "cannot watch for signals").caused_by(error));
        }
    };
    let plan = match Job::from_args(&arguments) {
        Ok(plan) => plan,
        Err(error) => return failed(&error),
    };
    progress::logs(plan.output);
    let ended = job::run(&plan, &stop);
    signals.rest();
    let written = match ended.output {
        Some(output) => writeln!(std::io::stdout(), "{}", output.trim_end()),
        None => Ok(()),
    };
    match ended.error {
        Some(error) => failed(&error),
        None => told(written),
    }
}

fn told(result: std::io::Result<()>) -> ExitCode {
    match result {
        // Whoever has closed the pipe has read enough.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            failed(&Error::new(Kind::Local, "cannot write to stdout; all else is done").caused_by(error))
        }
        _ => ExitCode::SUCCESS,
    }
}

fn failed(error: &Error) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "error: {error}");
    ExitCode::from(error.kind().exit_code())
}
