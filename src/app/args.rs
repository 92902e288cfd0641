//! The command line. Each flag of `run` is an environment variable, too, since that is how Deployments are patched.

use std::{
    net::SocketAddr,
    num::{NonZeroU16, NonZeroUsize},
    path::PathBuf,
};

use clap::{
    Parser, Subcommand, ValueEnum,
    builder::{EnumValueParser, TypedValueParser as _},
};
use http::Uri;

use crate::{
    controller::{FIPS, RsaGenerator},
    domain::{label_selector::LabelSelector, profile::Profile, rules, secret::OPERATOR},
};

const TO_BEGIN: &str = "\
To begin, install the CRD and the admission policies, and run the operator against the cluster of your kubeconfig:

    keypair-operator crd | kubectl apply --server-side -f -
    keypair-operator policy | kubectl apply --server-side -f -
    keypair-operator run";

/// The version of the program, and whether it has the FIPS module of AWS-LC in it.
pub const VERSION: &str =
    if FIPS { concat!(env!("CARGO_PKG_VERSION"), " (FIPS module)") } else { env!("CARGO_PKG_VERSION") };

/// SSH key pairs as Kubernetes resources: import a public key, or have a pair generated and its private key put into a
/// Secret.
#[derive(Debug, Parser)]
#[command(name = "keypair-operator", version = VERSION, max_term_width = 120, after_help = TO_BEGIN)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator, in a cluster or against that of the kubeconfig.
    Run(Box<RunArgs>),
    /// Print the CustomResourceDefinition as YAML.
    Crd,
    /// Print the admission policies as YAML, for those who install without the chart.
    ///
    /// Each is a ValidatingAdmissionPolicy with its binding, for Kubernetes 1.30 or later. Whoever gives spec.secret.name or
    /// spec.secret.template of a KeyPair needs the right to create Secrets in its namespace; whoever changes spec.secret of an accepted
    /// pair, the right to get its Secret. The others keep the operator's service account to what the operator does.
    Policy(PolicyArgs),
    /// Check manifests offline, by the same rules as the operator.
    ///
    /// Reads YAML or JSON, any number of documents in each file; whatever is not a KeyPair is passed over. Prints a line for
    /// each mistake (file, document, error code of the profile's cloud, message, field and what to do) and exits with 1
    /// if there was one; what is legal but unwise is told on standard error. What needs a cluster to be known (quota, names taken, Secrets) is not checked.
    Lint(LintArgs),
    /// Print the fingerprint of a public key.
    ///
    /// Reads any form that spec.publicKey may have. Without a profile, prints what `ssh-keygen -l` prints, for SHA256 and for
    /// MD5; with one, only the fingerprint in that profile's form.
    Fingerprint(FingerprintArgs),
}

/// The flags of `run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// How many key pairs a namespace may have; its annotation keypairs.dev/quota overrides it.
    #[arg(long, env = "KEYPAIR_OPERATOR_QUOTA", default_value_t = 500)]
    pub quota: usize,
    /// Which namespaces are regions, as a label selector on Namespaces; KeyPairs elsewhere are refused. Default: all.
    #[arg(
        long,
        env = "KEYPAIR_OPERATOR_REGION_SELECTOR",
        value_name = "SELECTOR",
        default_value = "",
        hide_default_value = true
    )]
    pub region_selector: LabelSelector,
    /// Watch only this namespace; may be given more than once, or with commas between.
    #[arg(long = "namespace", env = "KEYPAIR_OPERATOR_NAMESPACE", value_name = "NAMESPACE", value_delimiter = ',')]
    pub namespaces: Vec<String>,
    /// Run with other replicas, of which one leads, elected by the Lease keypair-operator in the namespace of the pod, or of
    /// the kubeconfig.
    #[arg(long, env = "KEYPAIR_OPERATOR_LEADER_ELECT")]
    pub leader_elect: bool,
    /// How many seconds after its last renewal the Lease of a leader that is gone may be taken by another replica.
    #[arg(long, env = "KEYPAIR_OPERATOR_LEASE_DURATION", value_name = "SECONDS", default_value = "15", value_parser = clap::value_parser!(u16).range(3..))]
    pub lease_duration: u16,
    /// How many KeyPairs to reconcile at once, in each --namespace where any is given.
    #[arg(long, env = "KEYPAIR_OPERATOR_CONCURRENCY", default_value = "32")]
    pub concurrency: NonZeroU16,
    /// How many threads may generate keys at once. Default: one for each core.
    #[arg(long, env = "KEYPAIR_OPERATOR_KEYGEN_THREADS")]
    pub keygen_threads: Option<NonZeroUsize>,
    /// How many RSA keys of each kind that is wanted to make in idle time, at low priority, so that they are there when they
    /// are asked for. They are kept in memory only. Default: none.
    #[arg(long, env = "KEYPAIR_OPERATOR_KEY_POOL", value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub key_pool: usize,
    /// What generates RSA keys, those of the key pool included. fast: FIPS 186-5 A.1.3 with the arithmetic of AWS-LC, two to
    /// three times as fast, on x86-64; on other processors the same as library. library: AWS-LC's own generator. A build with the FIPS
    /// module has library only, and that is its default.
    #[arg(
        long,
        env = "KEYPAIR_OPERATOR_RSA_GENERATOR",
        value_name = "GENERATOR",
        default_value = DEFAULT_RSA_GENERATOR.as_str(),
        value_parser = EnumValueParser::<RsaGeneratorArg>::new().try_map(available)
    )]
    pub rsa_generator: RsaGeneratorArg,
    /// Serve /metrics, /livez and /readyz on this address, such as 0.0.0.0:8080. Default: serve nothing.
    #[arg(long, env = "KEYPAIR_OPERATOR_METRICS_ADDR", value_name = "ADDRESS")]
    pub metrics_addr: Option<SocketAddr>,
    /// Answer admission reviews on this address, such as 0.0.0.0:9443, so that mistakes are refused at once in the cloud's
    /// words. Default: do not.
    #[arg(long, env = "KEYPAIR_OPERATOR_WEBHOOK_ADDR", value_name = "ADDRESS")]
    pub webhook_addr: Option<SocketAddr>,
    /// Register the webhook under this https URL, at which the API server finds the address above. For an operator outside
    /// the cluster; inside, the chart registers it. To end it, delete the configurations of the name below.
    #[arg(long, env = "KEYPAIR_OPERATOR_WEBHOOK_URL", value_name = "URL", requires = "webhook_addr", value_parser = https_url)]
    pub webhook_url: Option<Uri>,
    /// The name of the MutatingWebhookConfiguration and ValidatingWebhookConfiguration of the webhook. In the operator's namespace,
    /// no KeyPair makes a Secret of this name, or of one that begins with it and a "-": those are the operator's own.
    #[arg(
        long,
        env = "KEYPAIR_OPERATOR_WEBHOOK_CONFIGURATION",
        value_name = "NAME",
        default_value = "keypair-operator"
    )]
    pub webhook_configuration: String,
    /// A directory with tls.crt and tls.key for the webhook, such as cert-manager's, which is followed. Default: the operator
    /// makes and renews a certificate, and keeps it in a Secret named after the configurations, with -webhook behind.
    #[arg(long, env = "KEYPAIR_OPERATOR_WEBHOOK_CERT_DIR", value_name = "DIRECTORY")]
    pub webhook_cert_dir: Option<PathBuf>,
    /// For how many seconds a certificate that the operator makes is valid. It is renewed after half of that.
    #[arg(long, env = "KEYPAIR_OPERATOR_WEBHOOK_CERT_LIFETIME", value_name = "SECONDS", default_value = "7776000", value_parser = clap::value_parser!(u32).range(8..))]
    pub webhook_cert_lifetime: u32,
    /// Export spans to this OpenTelemetry collector, by OTLP over HTTP: http://otel-collector:4318, to which /v1/traces is
    /// added. The usual OTEL_ variables set the rest. Default: export nothing.
    #[arg(long, env = "KEYPAIR_OPERATOR_OTLP_ENDPOINT", value_name = "URL", value_parser = http_url)]
    pub otlp_endpoint: Option<Uri>,
    /// How to write the log.
    #[arg(long, env = "KEYPAIR_OPERATOR_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// The generators of RSA keys, as the command line spells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RsaGeneratorArg {
    /// FIPS 186-5 A.1.3 with the arithmetic of AWS-LC, on x86-64.
    Fast,
    /// AWS-LC's own generator.
    Library,
}

const DEFAULT_RSA_GENERATOR: RsaGeneratorArg = match RsaGenerator::DEFAULT {
    RsaGenerator::Fast => RsaGeneratorArg::Fast,
    RsaGenerator::Library => RsaGeneratorArg::Library,
};

impl RsaGeneratorArg {
    /// As it is spelt.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Library => "library",
        }
    }
}

impl From<RsaGeneratorArg> for RsaGenerator {
    fn from(generator: RsaGeneratorArg) -> Self {
        match generator {
            RsaGeneratorArg::Fast => Self::Fast,
            RsaGeneratorArg::Library => Self::Library,
        }
    }
}

fn available(generator: RsaGeneratorArg) -> Result<RsaGeneratorArg, String> {
    if RsaGenerator::from(generator).is_available() {
        return Ok(generator);
    }
    Err("this build leaves RSA keys to the FIPS module of AWS-LC: use library, or leave the flag out".to_owned())
}

/// Reads a URL that the API server takes for a webhook.
fn https_url(text: &str) -> Result<Uri, String> {
    url(text, &["https"], "https")
}

/// Reads the URL of a collector.
fn http_url(text: &str) -> Result<Uri, String> {
    url(text, &["http", "https"], "http[s]")
}

fn url(text: &str, schemes: &[&str], expected: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|error| format!("{error}"))?;
    let fits = url.scheme_str().is_some_and(|scheme| schemes.contains(&scheme));
    if !fits || url.host().is_none_or(str::is_empty) || url.query().is_some() {
        return Err(format!("expected {expected}://HOST[:PORT][/PATH]"));
    }
    Ok(url)
}

/// The formats of the log. What is logged is set as usual with `RUST_LOG`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// The arguments of `lint`.
#[derive(Debug, clap::Args)]
pub struct LintArgs {
    /// The files to check; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// The flags of `policy`.
#[derive(Debug, clap::Args)]
pub struct PolicyArgs {
    /// What the names of the policies begin with.
    #[arg(long, value_name = "NAME", default_value = OPERATOR, value_parser = name)]
    pub name: String,
    /// The namespace in which the operator runs.
    #[arg(long, value_name = "NAMESPACE", default_value = OPERATOR, value_parser = name)]
    pub namespace: String,
    /// The service account in that namespace by which the operator runs.
    #[arg(long, value_name = "NAME", default_value = OPERATOR, value_parser = name)]
    pub service_account: String,
    /// The name of the webhook's configurations, as `run` is told it.
    #[arg(long, value_name = "NAME", default_value = OPERATOR, value_parser = name)]
    pub webhook_configuration: String,
    /// The name of the Service in that namespace under which the API server asks the webhook.
    #[arg(long, value_name = "NAME", default_value = "keypair-operator-webhook", value_parser = name)]
    pub webhook_service: String,
    /// The URL under which the operator registers the webhook itself, where `run` is told one. Default: it registers none.
    #[arg(long, value_name = "URL", value_parser = https_url)]
    pub webhook_url: Option<Uri>,
}

/// Reads the name of an object.
fn name(text: &str) -> Result<String, String> {
    let rule = &rules::SECRET_NAME;
    if rule.allows(text) { Ok(text.to_owned()) } else { Err(format!("the name must be {}", rule.words)) }
}

/// The arguments of `fingerprint`.
#[derive(Debug, clap::Args)]
pub struct FingerprintArgs {
    /// The profile in whose form to print it.
    #[arg(long, value_enum, ignore_case = true)]
    pub profile: Option<ProfileArg>,
    /// UCloud: the project that the key pair belongs to.
    #[arg(long, default_value = "")]
    pub project: String,
    /// UCloud: the identifier of the key pair, as in status.keyPairID.
    #[arg(long = "key-pair-id", value_name = "ID", default_value = "")]
    pub key_pair_id: String,
    /// The file with the public key; `-` is standard input.
    #[arg(default_value = "-", value_name = "FILE")]
    pub file: PathBuf,
}

/// The profiles, as the command line spells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "verbatim")]
pub enum ProfileArg {
    /// MD5 with colons.
    Alibaba,
    /// MD5 over project, key pair ID, `|` and body, with colons.
    UCloud,
    /// MD5 without colons.
    Volcengine,
    /// SHA256 in base64.
    OpenSSH,
}

impl From<ProfileArg> for Profile {
    fn from(profile: ProfileArg) -> Self {
        match profile {
            ProfileArg::Alibaba => Self::Alibaba,
            ProfileArg::UCloud => Self::UCloud,
            ProfileArg::Volcengine => Self::Volcengine,
            ProfileArg::OpenSSH => Self::OpenSSH,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_fast_generator_is_refused_where_there_is_the_module() {
        let parse = |flags: &[&str]| {
            let args = Args::try_parse_from([&["keypair-operator", "run"], flags].concat());
            args.map_err(|error| error.to_string()).map(|args| match args.command {
                Command::Run(run) => run.rsa_generator,
                command => panic!("{command:?}"),
            })
        };
        assert_eq!(parse(&["--rsa-generator=library"]), Ok(RsaGeneratorArg::Library));
        if FIPS {
            assert_eq!(parse(&[]), Ok(RsaGeneratorArg::Library));
            let refused = parse(&["--rsa-generator=fast"]).unwrap_err();
            assert!(refused.contains("'fast' for '--rsa-generator <GENERATOR>'"), "{refused}");
            assert!(refused.contains("FIPS module of AWS-LC: use library"), "{refused}");
        } else {
            assert_eq!(parse(&[]), Ok(RsaGeneratorArg::Fast));
            assert_eq!(parse(&["--rsa-generator=fast"]), Ok(RsaGeneratorArg::Fast));
        }
    }

    #[test]
    fn every_flag_of_run_is_an_environment_variable() {
        let command = Args::command();
        let run = command.find_subcommand("run").unwrap();
        for flag in run.get_arguments().filter(|flag| !["help", "version"].contains(&flag.get_id().as_str())) {
            let long = flag.get_long().unwrap();
            let expected = format!("KEYPAIR_OPERATOR_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(flag.get_env().and_then(|env| env.to_str()), Some(expected.as_str()));
        }
    }
}
