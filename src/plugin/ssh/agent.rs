//! An ssh-agent for one key and one command.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use super::directory::Directory;
use crate::plugin::error::Error;

/// How long the agent keeps the key, in seconds: long enough to answer the prompts of a login. A session needs the key no longer.
const LIFETIME: &str = "600";
/// Waits until its input is closed, which happens even if this program is killed. Then ends the agent and removes the directory.
const GUARD: &str = "read -r nothing; kill \"$1\"; rm -rf \"$2\"";

/// A running ssh-agent. It ends when this is dropped, and also if this program is killed.
pub struct Agent {
    socket: PathBuf,
    process: Child,
    guard: Option<Child>,
}

impl Agent {
    /// Starts an agent with its socket in this directory.
    pub fn start(directory: &Directory) -> Result<Self, Error> {
        let socket = directory.join("agent");
        let mut command = Command::new("ssh-agent");
        // Signals of the terminal are for ssh.
        command.arg("-D").arg("-a").arg(&socket).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let process = command.spawn().map_err(not_started("ssh-agent"))?;
        let mut agent = Self { socket, process, guard: None };
        // The agent tells when it listens. Nothing of what it says is needed.
        let mut line = String::new();
        if let Some(output) = agent.process.stdout.take() {
            BufReader::new(output).read_line(&mut line).map_err(not_started("ssh-agent"))?;
        }
        if line.is_empty() {
            let mut said = String::new();
            if let Some(mut errors) = agent.process.stderr.take() {
                let _ = errors.read_to_string(&mut said);
            }
            return Err(Error::state(format!("ssh-agent does not start: {}", said.trim())));
        }
        // The agent says nothing more, and must not be ended by a closed pipe if it does.
        let guard = Command::new("sh")
            .args(["-c", GUARD, "sh", &agent.process.id().to_string()])
            .arg(directory.path())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        agent.guard = Some(guard.map_err(not_started("sh"))?);
        Ok(agent)
    }

    /// The path of the socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Gives the agent a private key.
    pub fn add(&self, key: &str) -> Result<(), Error> {
        let mut command = Command::new("ssh-add");
        command.args(["-t", LIFETIME, "-"]).env("SSH_AUTH_SOCK", &self.socket).env("SSH_ASKPASS_REQUIRE", "never");
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(not_started("ssh-add"))?;
        if let Some(mut input) = process.stdin.take() {
            // If ssh-add ends early, its exit code says so.
            let _ = input.write_all(key.as_bytes());
        }
        let output = process.wait_with_output().map_err(not_started("ssh-add"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(Error::state(format!("ssh-add does not accept the private key: {}", said.trim())))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Failures mean that the process has ended already.
        if let Some(mut guard) = self.guard.take() {
            // Before the agent, whose process ID may be another's afterwards.
            let _ = guard.kill();
            let _ = guard.wait();
        }
        let _ = terminate(&self.process);
        let _ = self.process.wait();
    }
}

/// With SIGTERM, on which the agent wipes its keys and removes its socket.
fn terminate(process: &Child) -> Option<()> {
    let id = Pid::from_raw(i32::try_from(process.id()).ok()?)?;
    kill_process(id, Signal::TERM).ok()
}

/// A program of OpenSSH, or the shell, is missing.
pub fn not_started(program: &'static str) -> impl Fn(io::Error) -> Error {
    move |error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => ": install the client of OpenSSH, or correct the PATH",
            _ => "",
        };
        Error::state(format!("cannot run {program}: {error}{hint}"))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;

    fn state(id: u32) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next().filter(|state| *state != 'Z')
    }

    fn ends(id: u32) -> bool {
        (0..200).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            state(id).is_none()
        })
    }

    #[test]
    fn an_agent_ends_with_its_owner() {
        let directory = Directory::create().unwrap();
        let agent = Agent::start(&directory).unwrap();
        let (id, guard) = (agent.process.id(), agent.guard.as_ref().unwrap().id());
        assert!(agent.socket().exists() && state(id).is_some() && state(guard).is_some());
        drop(agent);
        assert!(ends(id) && ends(guard));
        assert!(!directory.join("agent").exists());
    }

    #[test]
    fn the_guard_ends_an_agent_whose_owner_is_gone() {
        let directory = Directory::create().unwrap();
        let mut agent = Agent::start(&directory).unwrap();
        // As if this process had been killed.
        drop(agent.guard.as_mut().unwrap().stdin.take());
        assert!(agent.process.wait().unwrap().code().is_some());
        agent.guard.as_mut().unwrap().wait().unwrap();
        assert!(!directory.path().exists());
    }
}
