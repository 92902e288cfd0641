//! What a publication renders, read by OpenSSH: `ssh-keygen`, `ssh`, and an `sshd` on loopback that enforces every option.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod hosts;
mod keys;
mod known_host;
mod logins;
mod server;

use std::{fs, path::Path, process::Command, sync::Arc};

use keypair_operator::{
    domain::{
        key::{Algorithm, Encoding, KeySpec, PrivateKey},
        publication::{
            EntryParameters, KeyOptions, Layout, PublicationKind, PublicationParameters, PublishedKey, PublishedPair,
            Rendered, Resolved, TargetParameters, check, render,
        },
    },
    keygen::generate,
};

const UID: &str = "6f0c1c2e-0d3e-4f3c-9b52-3f1f3f9e9a11";

/// A new key.
struct Key {
    private: PrivateKey,
    /// Type and base64.
    line: String,
}

impl Key {
    fn new() -> Self {
        Self::of(KeySpec::from_parts(Algorithm::Ed25519, None).unwrap())
    }

    fn of(spec: KeySpec) -> Self {
        let private = generate(spec).unwrap();
        let line = private.public_key("").unwrap().to_openssh();
        Self { private, line }
    }

    /// Writes the private key and, beside it, the public key.
    fn write(&self, directory: &Path, name: &str) -> String {
        use std::os::unix::fs::OpenOptionsExt as _;
        let file = directory.join(name);
        let mut options = fs::OpenOptions::new();
        let open = options.write(true).create(true).truncate(true).mode(0o600).open(&file);
        let text = self.private.encode(Encoding::OpenSsh, "").unwrap();
        std::io::Write::write_all(&mut open.unwrap(), text.as_bytes()).unwrap();
        fs::write(file.with_extension("pub"), format!("{}\n", self.line)).unwrap();
        path(&file)
    }

    fn pair(&self, name: &str) -> Arc<PublishedPair> {
        let keys = vec![PublishedKey::from_line(1, &self.line).unwrap()];
        Arc::new(PublishedPair { namespace: "shop".into(), name: name.into(), keys })
    }
}

fn path(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// The output of a program, with its errors if it fails.
fn run(program: &str, args: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(args).env("LC_ALL", "C").output().expect("run hack/test-tools.sh");
    let out = String::from_utf8(output.stdout).unwrap();
    if output.status.success() { Ok(out) } else { Err(format!("{out}{}", String::from_utf8_lossy(&output.stderr))) }
}

/// The data for these entries and the keys of each, which must be valid.
fn rendered(kind: PublicationKind, entries: Vec<(EntryParameters, Vec<&Key>)>, hash_hosts: bool) -> Rendered {
    let (entries, keys): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
    let parameters = PublicationParameters {
        kind,
        namespace: "shop".to_owned(),
        name: "servers".to_owned(),
        entries,
        target: TargetParameters::default(),
        layout: Layout::File,
        hash_hosts,
        is_too_large: false,
    };
    let publication = check(&parameters);
    assert_eq!(publication.mistakes, []);
    let resolved: Vec<Resolved> = keys
        .iter()
        .enumerate()
        .map(|(entry, keys)| {
            let pairs = keys.iter().enumerate().map(|(index, key)| key.pair(&format!("e{entry}-k{index}")));
            Resolved { pairs: pairs.collect(), problem: None }
        })
        .collect();
    render(&publication, UID, &resolved)
}

/// The `authorized_keys` file of keys with these options.
fn authorized_keys(entries: Vec<(KeyOptions, Vec<&Key>)>) -> String {
    let entry = |options| EntryParameters { options, key_pair: Some("web".to_owned()), ..EntryParameters::default() };
    let entries = entries.into_iter().map(|(options, keys)| (entry(options), keys)).collect();
    rendered(PublicationKind::AuthorizedKeys, entries, false).data.remove("authorized_keys").unwrap()
}

/// The `known_hosts` file of these entries.
fn known_hosts(entries: Vec<(EntryParameters, Vec<&Key>)>, hash_hosts: bool) -> String {
    rendered(PublicationKind::KnownHosts, entries, hash_hosts).data.remove("known_hosts").unwrap()
}

/// An entry of `known_hosts`.
fn entry(hosts: &[&str]) -> EntryParameters {
    EntryParameters { hosts: texts(hosts), key_pair: Some("web".to_owned()), ..EntryParameters::default() }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
