//! Runs ssh in the foreground, and passes signals and its exit code on.

use std::{path::Path, process::Command};

use rustix::process::{Pid, Signal as Number, WaitOptions, WaitStatus, getpid, kill_process, waitpid};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::agent::{Agent, not_started};
use crate::plugin::{args::SshArgs, error::Error};

/// The signals that end this program otherwise, which must outlive ssh to remove its agent.
pub struct Session {
    child: Signal,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Session {
    /// From now on, these signals go to ssh.
    pub fn prepare() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(|error| Error::state(format!("cannot handle signals: {error}")));
        Ok(Self {
            child: listen(SignalKind::child())?,
            interrupt: listen(SignalKind::interrupt())?,
            quit: listen(SignalKind::quit())?,
            terminate: listen(SignalKind::terminate())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// Runs ssh until it ends. Returns its exit code, or 128 and the number of the signal that ended it.
    pub async fn run(&mut self, agent: &Agent, identity: &Path, args: &SshArgs) -> Result<u8, Error> {
        let process = command(agent.socket(), identity, args).spawn().map_err(not_started("ssh"))?;
        let lost = || Error::state("cannot wait for ssh");
        let id = i32::try_from(process.id()).ok().and_then(Pid::from_raw).ok_or_else(lost)?;
        loop {
            match waitpid(Some(id), WaitOptions::NOHANG | WaitOptions::UNTRACED) {
                Ok(Some((_, status))) if status.stopped() => pause(id),
                Ok(Some((_, status))) => return Ok(exit_code(status)),
                Ok(None) => {}
                Err(_) => return Err(lost()),
            }
            let received = tokio::select! {
                _ = self.child.recv() => None,
                _ = self.interrupt.recv() => Some(Number::INT),
                _ = self.quit.recv() => Some(Number::QUIT),
                _ = self.terminate.recv() => Some(Number::TERM),
                _ = self.hang_up.recv() => Some(Number::HUP),
            };
            if let Some(number) = received {
                // If the terminal has sent it to ssh as well, the second one changes nothing.
                let _ = kill_process(id, number);
            }
        }
    }
}

/// ssh was suspended (`~^Z`): suspends this program, so that the shell takes over, and later resumes both.
fn pause(ssh: Pid) {
    let _ = kill_process(getpid(), Number::STOP);
    let _ = kill_process(ssh, Number::CONT);
}

fn exit_code(status: WaitStatus) -> u8 {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|number| 128 + number));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(super::FAILED)
}

/// The command line of ssh. Of repeated settings, the first one applies, so the user's configuration cannot change these.
fn command(socket: &Path, identity: &Path, args: &SshArgs) -> Command {
    let options = [
        "IdentityAgent=SSH_AUTH_SOCK",
        // Of the keys of the agent, only the one of `identity` is tried.
        "IdentitiesOnly=yes",
        // Whoever wants to forward the agent says so with -A.
        "ForwardAgent=no",
        // A shared connection would log in with the key of whoever opened it, and could remain.
        "ControlMaster=no",
        "ControlPath=none",
    ];
    let mut command = Command::new("ssh");
    for option in options {
        command.args(["-o", option]);
    }
    // ssh replaces sequences such as %h in the name.
    let identity = identity.display().to_string().replace('%', "%%");
    // The flags in `rest` count as well: ssh reads flags after the host.
    command.arg("-i").arg(identity).arg(&args.host).args(&args.rest);
    command.env("SSH_AUTH_SOCK", socket).env_remove("SSH_AGENT_PID");
    command
}
