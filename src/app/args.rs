//! The command line. Each flag of `run` is also an environment variable, so that you can patch it in a Deployment.

use std::{
    net::SocketAddr,
    num::{NonZeroU16, NonZeroUsize},
    path::PathBuf,
};

use clap::{
    Parser, Subcommand, ValueEnum,
    builder::{EnumValueParser, PossibleValue, TypedValueParser as _},
};
use http::Uri;

use crate::{
    controller::{FIPS, RsaGenerator},
    domain::{label_selector::LabelSelector, profile::Profile, rules, secret::OPERATOR},
};

const GETTING_STARTED: &str = "\
To get started, install the CRD and the admission policies, then run the operator against the cluster of your kubeconfig:

    keypair-operator crd | kubectl apply --server-side -f -
    keypair-operator policy | kubectl apply --server-side -f -
    keypair-operator run";

/// The version of the program. Builds with the FIPS module of AWS-LC say so.
pub const VERSION: &str =
    if FIPS { concat!(env!("CARGO_PKG_VERSION"), " (FIPS module)") } else { env!("CARGO_PKG_VERSION") };

/// SSH key pairs as Kubernetes resources: import a public key, or generate a key pair, with its private key in a Secret.
#[derive(Debug, Parser)]
#[command(name = "keypair-operator", version = VERSION, max_term_width = 120, after_help = GETTING_STARTED)]
pub struct Args {
    /// The command to execute.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the operator, in a cluster or against the cluster of the kubeconfig.
    Run(Box<RunArgs>),
    /// Print the CustomResourceDefinitions as YAML.
    Crd,
    /// Print the admission policies as YAML, for an installation without the Helm chart.
    ///
    /// Each policy is a ValidatingAdmissionPolicy with its binding. They need Kubernetes 1.30 or later. To set spec.secret.name or
    /// spec.secret.template of a KeyPair, a user needs permission to create Secrets in its namespace. To change spec.secret of an
    /// accepted key pair, a user needs permission to get its Secret. The other policies restrict the operator's service account to
    /// the requests that the operator makes.
    Policy(PolicyArgs),
    /// Check manifests offline, with the same rules as the operator.
    ///
    /// Reads YAML or JSON files with any number of documents and ignores objects that are not KeyPairs. Prints one line for each
    /// error (file, document, error code of the profile's cloud, message, field and remedy) and exits with 1 if it finds one.
    /// Discouraged settings produce a warning on standard error. Does not check what only the cluster knows: quota, names in use,
    /// Secrets.
    Lint(LintArgs),
    /// Print the fingerprint of a public key.
    ///
    /// Reads every format that spec.publicKey accepts. Without --profile, prints what `ssh-keygen -l` prints, for SHA256 and for
    /// MD5. With --profile, prints only the fingerprint in the format of that profile.
    Fingerprint(FingerprintArgs),
}

/// The flags of `run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Maximum number of accepted key pairs in a namespace. The Namespace annotation keypairs.dev/quota overrides it.
    #[arg(long, env = "KEYPAIR_OPERATOR_QUOTA", default_value_t = 500)]
    pub quota: usize,
    /// Label selector for the Namespaces that are regions. KeyPairs in other namespaces are refused. Default: all namespaces.
    #[arg(
        long,
        env = "KEYPAIR_OPERATOR_REGION_SELECTOR",
        value_name = "SELECTOR",
        default_value = "",
        hide_default_value = true
    )]
    pub region_selector: LabelSelector,
    /// Namespace to watch. To watch several, repeat the flag or separate the names with commas. Default: all namespaces.
    #[arg(long = "namespace", env = "KEYPAIR_OPERATOR_NAMESPACE", value_name = "NAMESPACE", value_delimiter = ',')]
    pub namespaces: Vec<String>,
    /// Elect one of several replicas as the leader, with the Lease keypair-operator in the namespace of the pod or of the
    /// kubeconfig.
    #[arg(long, env = "KEYPAIR_OPERATOR_LEADER_ELECT")]
    pub leader_elect: bool,
    /// Duration of the Lease in seconds. If the leader fails, another replica takes over this long after the last renewal.
    #[arg(long, env = "KEYPAIR_OPERATOR_LEASE_DURATION", value_name = "SECONDS", default_value = "15", value_parser = clap::value_parser!(u16).range(3..))]
    pub lease_duration: u16,
    /// Maximum number of concurrent reconciliations. With --namespace, the limit applies to each namespace.
    #[arg(long, env = "KEYPAIR_OPERATOR_CONCURRENCY", default_value = "32")]
    pub concurrency: NonZeroU16,
    /// Maximum number of threads that generate keys. Default: one for each CPU core.
    #[arg(long, env = "KEYPAIR_OPERATOR_KEYGEN_THREADS")]
    pub keygen_threads: Option<NonZeroUsize>,
    /// Number of RSA keys of each requested size to generate in advance, in idle time and at low priority. They are kept in
    /// memory only. Default: none.
    #[arg(long, env = "KEYPAIR_OPERATOR_KEY_POOL", value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub key_pool: usize,
    /// Generator of RSA keys, also for the key pool. fast: FIPS 186-5 A.1.3 with the arithmetic of AWS-LC, two to three times
    /// as fast on x86-64; on other processors the same as library. library: AWS-LC's own generator. A build with the FIPS module
    /// supports only library, which is its default.
    #[arg(
        long,
        env = "KEYPAIR_OPERATOR_RSA_GENERATOR",
        value_name = "GENERATOR",
        default_value = RsaGenerator::DEFAULT.as_str(),
        value_parser = EnumValueParser::<RsaGenerator>::new().try_map(available)
    )]
    pub rsa_generator: RsaGenerator,
    /// Address for /metrics, /livez and /readyz, such as 0.0.0.0:8080. Default: none of them is served.
    #[arg(long, env = "KEYPAIR_OPERATOR_METRICS_ADDR", value_name = "ADDRESS")]
    pub metrics_addr: Option<SocketAddr>,
    /// Address for the admission webhook, such as 0.0.0.0:9443. The webhook refuses invalid KeyPairs at admission, with the
    /// error of the cloud. Default: no webhook is served.
    #[arg(long, env = "KEYPAIR_OPERATOR_WEBHOOK_ADDR", value_name = "ADDRESS")]
    pub webhook_addr: Option<SocketAddr>,
    /// https URL at which the API server reaches --webhook-addr. The operator registers the webhook under this URL. For an
    /// operator outside the cluster; inside, the chart registers the webhook. To unregister it, delete the webhook configurations
    /// that --webhook-configuration names.
    #[arg(long, env = "KEYPAIR_OPERATOR_WEBHOOK_URL", value_name = "URL", requires = "webhook_addr", value_parser = https_url)]
    pub webhook_url: Option<Uri>,
    /// Name of the MutatingWebhookConfiguration and ValidatingWebhookConfiguration of the webhook. In the operator's namespace,
    /// no KeyPair can use a Secret with this name, or with a name that starts with it and "-": those names are reserved for the
    /// operator.
    #[arg(
        long,
        env = "KEYPAIR_OPERATOR_WEBHOOK_CONFIGURATION",
        value_name = "NAME",
        default_value = "keypair-operator"
    )]
    pub webhook_configuration: String,
    /// Directory with tls.crt and tls.key for the webhook, for example from cert-manager. The operator reloads them when they
    /// change. Default: the operator issues and renews a certificate and stores it in a Secret with the name of the webhook
    /// configurations and the suffix -webhook.
    #[arg(long, env = "KEYPAIR_OPERATOR_WEBHOOK_CERT_DIR", value_name = "DIRECTORY")]
    pub webhook_cert_dir: Option<PathBuf>,
    /// Validity in seconds of a certificate that the operator issues. The operator renews it after half of this time.
    #[arg(long, env = "KEYPAIR_OPERATOR_WEBHOOK_CERT_LIFETIME", value_name = "SECONDS", default_value = "7776000", value_parser = clap::value_parser!(u32).range(8..))]
    pub webhook_cert_lifetime: u32,
    /// URL of the OpenTelemetry collector to which spans are exported with OTLP over HTTP, such as http://otel-collector:4318.
    /// The operator appends /v1/traces. The standard OTEL_ variables set the rest. Default: no spans are exported.
    #[arg(long, env = "KEYPAIR_OPERATOR_OTLP_ENDPOINT", value_name = "URL", value_parser = http_url)]
    pub otlp_endpoint: Option<Uri>,
    /// Format of the log.
    #[arg(long, env = "KEYPAIR_OPERATOR_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

impl ValueEnum for RsaGenerator {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Fast, Self::Library]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self {
            Self::Fast => "FIPS 186-5 A.1.3 with the arithmetic of AWS-LC, on x86-64",
            Self::Library => "AWS-LC's own generator",
        };
        Some(PossibleValue::new(self.as_str()).help(help))
    }
}

fn available(generator: RsaGenerator) -> Result<RsaGenerator, String> {
    if generator.is_available() {
        return Ok(generator);
    }
    Err("this build generates RSA keys only with the FIPS module of AWS-LC: use library, or omit the flag".to_owned())
}

/// Parses a URL that the API server accepts for a webhook.
fn https_url(text: &str) -> Result<Uri, String> {
    url(text, &["https"], "https")
}

/// Parses the URL of a collector.
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

/// The formats of the log. `RUST_LOG` sets its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Human-readable lines.
    Text,
    /// One JSON object per line.
    Json,
}

/// The arguments of `lint`.
#[derive(Debug, clap::Args)]
pub struct LintArgs {
    /// Files to check; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// The flags of `policy`.
#[derive(Debug, clap::Args)]
pub struct PolicyArgs {
    /// Prefix of the names of the policies.
    #[arg(long, value_name = "NAME", default_value = OPERATOR, value_parser = name)]
    pub name: String,
    /// Namespace in which the operator runs.
    #[arg(long, value_name = "NAMESPACE", default_value = OPERATOR, value_parser = name)]
    pub namespace: String,
    /// Service account of the operator, in that namespace.
    #[arg(long, value_name = "NAME", default_value = OPERATOR, value_parser = name)]
    pub service_account: String,
    /// Name of the webhook configurations, as in the flag of `run`.
    #[arg(long, value_name = "NAME", default_value = OPERATOR, value_parser = name)]
    pub webhook_configuration: String,
    /// Name of the Service, in that namespace, through which the API server calls the webhook.
    #[arg(long, value_name = "NAME", default_value = "keypair-operator-webhook", value_parser = name)]
    pub webhook_service: String,
    /// URL under which the operator registers the webhook, as in the flag of `run`. Default: the operator does not register it.
    #[arg(long, value_name = "URL", value_parser = https_url)]
    pub webhook_url: Option<Uri>,
}

/// Parses the name of an object.
fn name(text: &str) -> Result<String, String> {
    let rule = &rules::SECRET_NAME;
    if rule.allows(text) { Ok(text.to_owned()) } else { Err(format!("the name must be {}", rule.words)) }
}

/// The arguments of `fingerprint`.
#[derive(Debug, clap::Args)]
pub struct FingerprintArgs {
    /// Profile whose fingerprint format to print.
    #[arg(long, value_enum, ignore_case = true)]
    pub profile: Option<Profile>,
    /// UCloud: project of the key pair.
    #[arg(long, default_value = "")]
    pub project: String,
    /// UCloud: identifier of the key pair, from status.keyPairID.
    #[arg(long = "key-pair-id", value_name = "ID", default_value = "")]
    pub key_pair_id: String,
    /// File with the public key; `-` is standard input.
    #[arg(default_value = "-", value_name = "FILE")]
    pub file: PathBuf,
}

impl ValueEnum for Profile {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.as_str()).help(self.rules().fingerprint.description()))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_fast_generator_is_refused_in_a_fips_build() {
        let parse = |flags: &[&str]| {
            let args = Args::try_parse_from([&["keypair-operator", "run"], flags].concat());
            args.map_err(|error| error.to_string()).map(|args| match args.command {
                Command::Run(run) => run.rsa_generator,
                command => panic!("{command:?}"),
            })
        };
        assert_eq!(parse(&["--rsa-generator=library"]), Ok(RsaGenerator::Library));
        if FIPS {
            assert_eq!(parse(&[]), Ok(RsaGenerator::Library));
            let refused = parse(&["--rsa-generator=fast"]).unwrap_err();
            assert!(refused.contains("'fast' for '--rsa-generator <GENERATOR>'"), "{refused}");
            assert!(refused.contains("FIPS module of AWS-LC: use library"), "{refused}");
        } else {
            assert_eq!(parse(&[]), Ok(RsaGenerator::Fast));
            assert_eq!(parse(&["--rsa-generator=fast"]), Ok(RsaGenerator::Fast));
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
