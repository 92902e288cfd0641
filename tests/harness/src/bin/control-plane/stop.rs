//! When to end.

use std::io;
use std::thread;

use anyhow::{Context as _, Result};
use tokio::select;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

/// Resolves with the reason as soon as the control plane is not wanted any more: on SIGINT, SIGTERM or SIGHUP, and at
/// the end of standard input unless `until_signal`. The lines of standard input until then go to `commands`.
pub(crate) fn requested(
    until_signal: bool,
    commands: mpsc::UnboundedSender<String>,
) -> Result<impl Future<Output = &'static str>> {
    // From here on no signal is lost, even if the future is not polled yet.
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("SIGHUP")?;
    let (end_of_input, input_ended) = oneshot::channel();
    // A thread of its own and not tokio's standard input, whose pending read would hold up the end of the runtime.
    // It holds `end_of_input` until then.
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
            _ = terminate.recv() => "told to terminate",
            _ = hangup.recv() => "the terminal is gone",
            _ = input_ended => "standard input has ended",
        }
    })
}
