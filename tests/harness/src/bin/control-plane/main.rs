//! Runs a Kubernetes control plane on loopback.
//!
//! It prints one line of JSON (see `keypair_test_harness::Ready`) when the control plane is ready. When its standard input ends or it
//! is interrupted, it stops the servers and removes their directory. Progress goes to standard error.

mod assets;
mod credentials;
mod plane;
mod server;
mod servers;
mod stop;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Parser, Subcommand};
use keypair_test_harness::{PUT_BACK, RESTART_APISERVER, RESTARTED, SAVE};
use tokio::sync::mpsc;

use assets::Assets;
use plane::Plane;

/// Run a Kubernetes control plane on loopback until standard input ends.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Commands>,
    #[command(flatten)]
    run: Run,
}

#[derive(Args)]
struct Run {
    /// Directory with etcd, kube-apiserver, kube-controller-manager and kubectl [default: built by hack/controlplane.sh]
    #[arg(long, value_name = "DIR", env = "KUBEBUILDER_ASSETS")]
    assets: Option<PathBuf>,
    /// Write an audit log of every request
    #[arg(long)]
    audit: bool,
    /// Install these CustomResourceDefinitions before the controllers start (repeatable)
    #[arg(long, value_name = "FILE|DIR")]
    crds: Vec<PathBuf>,
    /// Feature gates of the API server: `Name=true|false,…`
    #[arg(long, value_name = "GATES")]
    feature_gates: Option<String>,
    /// Run until SIGINT, SIGTERM or SIGHUP, even after the end of standard input
    #[arg(long)]
    until_signal: bool,
}

#[derive(Subcommand)]
enum Commands {
    /// Wait for the end of standard input; then kill a process and remove a directory, unless released before
    #[command(hide = true)]
    Watch(watch::Watch),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Some(Commands::Watch(watch)) => watch.run(),
        None => run(&cli.run),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("control-plane: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(options: &Run) -> Result<()> {
    let (sender, commands) = mpsc::unbounded_channel();
    let mut stop = std::pin::pin!(stop::requested(options.until_signal, sender)?);

    let assets = tokio::select! {
        assets = Assets::find(options.assets.as_deref()) => assets?,
        reason = &mut stop => bail!("{reason} before the programs were available"),
    };

    // From here on, the servers are stopped and the directory is removed in every case.
    let started = Instant::now();
    let mut plane = Plane::new(assets, options.audit, options.feature_gates.clone())?;
    let outcome = tokio::select! {
        outcome = serve(&mut plane, &options.crds, started, commands) => outcome,
        _ = &mut stop => Ok(()),
    };
    plane.shut_down().await.and(outcome)
}

/// Starts `plane`, executes commands, and returns when one of the servers has ended.
async fn serve(
    plane: &mut Plane,
    crds: &[PathBuf],
    started: Instant,
    mut commands: mpsc::UnboundedReceiver<String>,
) -> Result<()> {
    let ready = plane.start(crds).await?;
    eprintln!(
        "control-plane: {} ready at {} after {:.1} s",
        ready.pids.keys().cloned().collect::<Vec<_>>().join(", "),
        ready.url,
        started.elapsed().as_secs_f32()
    );
    println!("{}", serde_json::to_string(&ready).context("print")?);
    loop {
        let command = tokio::select! {
            error = plane.failure() => return Err(error),
            Some(command) = commands.recv() => command,
        };
        match command.split_once('=') {
            None if command == RESTART_APISERVER => plane.restart_apiserver(&ready.url).await?,
            Some((SAVE, name)) => plane.save(name, &ready.url).await?,
            Some((PUT_BACK, name)) => plane.restore(name, &ready.url).await?,
            _ => continue,
        }
        println!("{RESTARTED}");
    }
}
