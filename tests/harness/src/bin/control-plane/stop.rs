//! Waits for the signal to stop.

use std::io;
use std::thread;

use anyhow::{Context as _, Result};
use tokio::select;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

/// Resolves with the reason to stop: SIGINT, SIGTERM, SIGHUP or, unless `until_signal`, the end of standard input. Sends the lines of
/// standard input to `commands`.
pub(crate) fn requested(
    until_signal: bool,
    commands: mpsc::UnboundedSender<String>,
) -> Result<impl Future<Output = &'static str>> {
    // Registers the handlers now, so that no signal is lost before the first poll.
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("SIGHUP")?;
    let (end_of_input, input_ended) = oneshot::channel();
    // A thread, because a pending read of tokio's standard input would block the shutdown of the runtime. The thread keeps
    // `end_of_input` until the end of input.
    thread::spawn(move || {
        if until_signal {
            loop {
                thread::park();
            }
        }
        for line in io::stdin().lines().map_while(Result::ok) {
            commands.send(line).ok();
        }
        end_of_input.send(()).ok();
    });
    Ok(async move {
        select! {
            _ = interrupt.recv() => "interrupted",
            _ = terminate.recv() => "terminated",
            _ = hangup.recv() => "the terminal was closed",
            _ = input_ended => "standard input ended",
        }
    })
}
