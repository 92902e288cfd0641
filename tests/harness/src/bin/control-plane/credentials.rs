//! Keys, certificates and tokens, generated for each control plane.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use keypair_test_harness::USERS;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};

/// The group with all permissions.
const ADMINISTRATORS: &str = "system:masters";
/// The user of the kubeconfig's default context, and the context's name.
const ADMIN: &str = "admin";
const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";

/// The files that the servers are started with.
pub(crate) struct Credentials {
    pub(crate) ca: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// The key that signs the tokens of service accounts.
    pub(crate) signing_key: PathBuf,
    /// Its public half, which verifies them.
    pub(crate) verifying_key: PathBuf,
    /// The token file of the API server.
    pub(crate) tokens: PathBuf,
    users: Vec<User>,
}

struct User {
    name: &'static str,
    group: Option<&'static str>,
    token: String,
}

impl Credentials {
    /// Generates the files in `dir`, a directory that other users cannot read.
    pub(crate) fn generate(dir: &Path) -> Result<Self> {
        let mut users = Vec::new();
        for name in [ADMIN, CONTROLLER_MANAGER] {
            users.push(User::new(name, Some(ADMINISTRATORS))?);
        }
        for name in USERS {
            users.push(User::new(name, None)?);
        }

        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "keypair-test-harness");
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"];
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(names.map(String::from))?.signed_by(&key, &ca)?;

        let signer = KeyPair::generate()?;

        let write = |name: &str, content: &str| {
            let path = dir.join(name);
            fs::write(&path, content).with_context(|| format!("write {}", path.display()))?;
            anyhow::Ok(path)
        };
        Ok(Self {
            ca: write("ca.crt", &ca.pem())?,
            certificate: write("apiserver.crt", &certificate.pem())?,
            key: write("apiserver.key", &key.serialize_pem())?,
            signing_key: write("service-account.key", &signer.serialize_pem())?,
            verifying_key: write("service-account.pub", &signer.public_key_pem())?,
            tokens: write("tokens.csv", &tokens(&users)?)?,
            users,
        })
    }

    /// A kubeconfig for the API server at `url`, with a context for each user. The current context is that of the administrator.
    pub(crate) fn kubeconfig(&self, url: &str) -> Value {
        self.kubeconfig_as(url, ADMIN)
    }

    /// The same, with the context of the controller manager as the current one.
    pub(crate) fn controller_manager_kubeconfig(&self, url: &str) -> Value {
        self.kubeconfig_as(url, CONTROLLER_MANAGER)
    }

    fn kubeconfig_as(&self, url: &str, current: &str) -> Value {
        let contexts: Vec<_> = self
            .users
            .iter()
            .map(|user| json!({ "name": user.name, "context": { "cluster": "test", "user": user.name } }))
            .collect();
        let users: Vec<_> =
            self.users.iter().map(|user| json!({ "name": user.name, "user": { "token": user.token } })).collect();
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "test", "cluster": { "server": url, "certificate-authority": self.ca } }],
            "contexts": contexts,
            "users": users,
            "current-context": current,
        })
    }
}

impl User {
    fn new(name: &'static str, group: Option<&'static str>) -> Result<Self> {
        let mut secret = [0; 16];
        aws_lc_rs::rand::fill(&mut secret).context("generate a token")?;
        let mut token = String::new();
        for byte in secret {
            write!(token, "{byte:02x}")?;
        }
        Ok(Self { name, group, token })
    }
}

/// The token file: one line for each user, with token, user, user ID and, if any, the group.
fn tokens(users: &[User]) -> Result<String> {
    let mut lines = String::new();
    for User { name, group, token } in users {
        write!(lines, "{token},{name},{name}")?;
        if let Some(group) = group {
            write!(lines, ",{group}")?;
        }
        lines.push('\n');
    }
    Ok(lines)
}
