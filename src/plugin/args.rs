//! The command line of `kubectl keypair`.

mod values;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use self::values::{duration, host, name, namespace};
use crate::{
    api::key_pair::{GenerateAlgorithm, SecretEncoding},
    domain::{profile::Profile, rotation::Phase},
};

const EXAMPLES: &str = "\
Examples:
  # From nothing to a login: generate a key pair, authorize its public key on this machine, and log in with the private key
  kubectl keypair create login --wait >> ~/.ssh/authorized_keys
  kubectl keypair ssh login localhost

  # Import a public key by the rules of Volcengine
  kubectl keypair create ops --profile Volcengine --import ~/.ssh/id_ecdsa.pub

  # Replace the key of a pair, and wait until the new one is in use
  kubectl keypair rotate login --wait

Exit codes: 0 success; 1 refused, not found or failed; 2 invalid command line; 3 timed out with --wait. `ssh` exits with the code of
ssh: that of the remote command, or 255 if there is no connection.";

/// Create and use SSH key pairs: KeyPair objects and the keys in their Secrets.
///
/// Needs no rights beyond those of the role edit in the namespace.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-keypair",
    bin_name = "kubectl keypair",
    version,
    max_term_width = 120,
    after_help = EXAMPLES,
    disable_help_subcommand = true
)]
pub struct Args {
    /// Where the key pairs are.
    #[command(flatten)]
    pub global: Global,
    /// The command to execute.
    #[command(subcommand)]
    pub command: Command,
}

/// The flags of kubectl that each command has.
#[derive(Debug, ClapArgs)]
pub struct Global {
    /// Namespace. Default: that of the context.
    #[arg(short, long, global = true, value_name = "NAMESPACE", value_parser = namespace)]
    pub namespace: Option<String>,
    /// Context of the kubeconfig. Default: the current context.
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// The kubeconfig. Default: the files that the variable KUBECONFIG lists, or ~/.kube/config.
    #[arg(long, global = true, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a KeyPair: generate a key pair, or import a public key.
    ///
    /// Without --profile, the rules of Alibaba Cloud apply. Without --algorithm, the key is RSA with 2048 bits. With --wait, prints the
    /// public key when the key pair is Ready.
    Create(CreateArgs),
    /// Print the public key of a KeyPair.
    Public(PublicArgs),
    /// Print the private key of a generated KeyPair, or write it to a new file.
    Private(PrivateArgs),
    /// Log in to a host with the private key of a KeyPair.
    ///
    /// The private key is never written to a file: an ssh-agent of its own holds it until ssh ends. Configuration and known hosts are
    /// yours. Needs the programs ssh, ssh-agent and ssh-add of OpenSSH.
    Ssh(SshArgs),
    /// Request a rotation: the next key of a KeyPair is generated, published, and becomes the current key.
    ///
    /// The KeyPair must have spec.rotation, which says how long the next key is published before it becomes current.
    Rotate(RotateArgs),
    /// List the AuthorizedKeys and KnownHosts that publish a KeyPair.
    Who(WhoArgs),
    /// Hand a Secret with a private key over to a KeyPair.
    ///
    /// Annotates the Secret, and creates the KeyPair if it does not exist. The operator then adopts the key: the Secret keeps its other
    /// contents, and remains when the KeyPair is deleted, unless the KeyPair says otherwise.
    Adopt(AdoptArgs),
    /// Print the script that completes this command line in a shell.
    ///
    /// For `kubectl keypair`, kubectl asks a program kubectl_complete-keypair instead: create a link of this name to this program,
    /// anywhere in the PATH, and load the completion of kubectl itself.
    Completion(CompletionArgs),
}

/// Whether to wait, and how long.
#[derive(Debug, ClapArgs)]
pub struct WaitArgs {
    /// Wait until it is done, and show what is awaited.
    #[arg(long)]
    pub wait: bool,
    /// How long to wait with --wait, such as 30s or 5m.
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration, requires = "wait")]
    pub timeout: Duration,
}

/// The arguments of `create`.
#[derive(Debug, ClapArgs)]
pub struct CreateArgs {
    /// Name of the KeyPair.
    #[arg(value_parser = name)]
    pub name: String,
    /// Profile whose rules apply. OpenSSH is neutral and supports everything that OpenSSH supports. Default: Alibaba.
    #[arg(long, ignore_case = true)]
    pub profile: Option<Profile>,
    /// Algorithm of the key. Default: RSA.
    #[arg(long, ignore_case = true, conflicts_with = "import")]
    pub algorithm: Option<GenerateAlgorithm>,
    /// Size of the key in bits. RSA: 2048 (default), 3072 or 4096. ECDSA: 256 (default), 384 or 521. Ed25519: 256.
    #[arg(long, value_name = "N", conflicts_with = "import")]
    pub bits: Option<i32>,
    /// File with the public key to import; - is standard input.
    #[arg(long, value_name = "FILE")]
    pub import: Option<PathBuf>,
    /// Encoding of the private key in the Secret. Default: PKCS8.
    #[arg(long, ignore_case = true, conflicts_with = "import")]
    pub encoding: Option<SecretEncoding>,
    /// Whether to wait until the KeyPair is Ready.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// The arguments of `public`.
#[derive(Debug, ClapArgs)]
pub struct PublicArgs {
    /// Name of the KeyPair.
    #[arg(value_parser = name)]
    pub name: String,
    /// Phase of the key in a rotation.
    #[arg(long, ignore_case = true, default_value = "Current")]
    pub phase: PhaseArg,
    /// Output format. Default: OpenSSH lines.
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Format>,
}

/// The phases of a key, or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum PhaseArg {
    /// The key of the pair.
    Current,
    /// The key that becomes current next.
    Next,
    /// The key that was current before.
    Previous,
    /// Every key that is to be trusted.
    All,
}

impl PhaseArg {
    /// The phase; `None` for all.
    #[must_use]
    pub const fn phase(self) -> Option<Phase> {
        match self {
            Self::Current => Some(Phase::Current),
            Self::Next => Some(Phase::Next),
            Self::Previous => Some(Phase::Previous),
            Self::All => None,
        }
    }
}

/// The formats of lists for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// JSON.
    Json,
}

/// The arguments of `private`.
#[derive(Debug, ClapArgs)]
pub struct PrivateArgs {
    /// Name of the KeyPair.
    #[arg(value_parser = name)]
    pub name: String,
    /// File to create, readable and writable for you only. It must not exist. Default: standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// The arguments of `ssh`.
#[derive(Debug, ClapArgs)]
pub struct SshArgs {
    /// Name of the KeyPair.
    #[arg(value_parser = name)]
    pub name: String,
    /// Host to log in to, as in the command line of ssh.
    #[arg(value_name = "[USER@]HOST", value_parser = host)]
    pub host: String,
    /// Further arguments for ssh: its flags, and a command to execute.
    #[arg(last = true, value_name = "ARG")]
    pub rest: Vec<OsString>,
}

/// The arguments of `rotate`.
#[derive(Debug, ClapArgs)]
pub struct RotateArgs {
    /// Name of the KeyPair.
    #[arg(value_parser = name)]
    pub name: String,
    /// Whether to wait until the next key is current.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// The arguments of `who`.
#[derive(Debug, ClapArgs)]
pub struct WhoArgs {
    /// Name of the KeyPair.
    #[arg(value_parser = name)]
    pub name: String,
    /// Output format. Default: a table.
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Format>,
}

/// The arguments of `adopt`.
#[derive(Debug, ClapArgs)]
pub struct AdoptArgs {
    /// Name of the Secret.
    #[arg(value_parser = name)]
    pub secret: String,
    /// Name of the KeyPair. Default: the name of the Secret.
    #[arg(value_parser = name)]
    pub name: Option<String>,
    /// Whether to wait until the KeyPair is Ready.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// The arguments of `completion`.
#[derive(Debug, ClapArgs)]
pub struct CompletionArgs {
    /// The shell.
    pub shell: Shell,
}

/// The shells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// GNU Bash.
    Bash,
    /// Z shell.
    Zsh,
    /// fish.
    Fish,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(args: &[&str]) -> Result<Command, clap::error::ErrorKind> {
        let args = [&["kubectl-keypair"], args].concat();
        Args::try_parse_from(args).map(|args| args.command).map_err(|error| error.kind())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn arguments_of_ssh_follow_two_dashes() {
        let Ok(Command::Ssh(ssh)) = parse(&["ssh", "-n", "shop", "login", "me@host", "--", "-p", "22", "ls", "-n"])
        else {
            panic!("not parsed");
        };
        assert_eq!((ssh.name.as_str(), ssh.host.as_str()), ("login", "me@host"));
        assert_eq!(ssh.rest, ["-p", "22", "ls", "-n"]);
        for args in
            [&["ssh", "login"][..], &["ssh", "login", "host", "ls"], &["ssh", "login", "--", "-oProxyCommand=id"]]
        {
            assert!(parse(args).is_err(), "{args:?}");
        }
    }

    #[test]
    fn names_cannot_leave_their_place_in_a_path() {
        for name in ["../secrets/a", "a/b", "a?b", "", "A", "a b"] {
            assert!(parse(&["public", name]).is_err(), "{name}");
            assert!(parse(&["public", "a", "-n", name]).is_err(), "{name}");
        }
    }

    #[test]
    fn values_are_written_as_in_the_spec_in_any_case() {
        let Ok(Command::Create(create)) =
            parse(&["create", "a", "--profile", "openssh", "--algorithm", "ed25519", "--encoding", "openssh"])
        else {
            panic!("not parsed");
        };
        assert_eq!(create.profile, Some(Profile::OpenSSH));
        assert_eq!(create.algorithm, Some(GenerateAlgorithm::Ed25519));
        assert_eq!(create.encoding, Some(SecretEncoding::OpenSSH));
        for flag in ["--bits=256", "--algorithm=RSA", "--encoding=PKCS8"] {
            assert!(parse(&["create", "a", "--import", "key.pub", flag]).is_err(), "{flag}");
        }
        assert!(parse(&["create", "a", "--timeout", "3s"]).is_err(), "only with --wait");
    }
}
