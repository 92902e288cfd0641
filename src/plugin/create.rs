//! `kubectl keypair create`.

use std::{
    fs,
    io::{self, Read as _},
    path::Path,
};

use kube::api::PostParams;
use zeroize::Zeroizing;

use super::{
    args::CreateArgs,
    cluster::{Cluster, FIELD_MANAGER, request},
    error::{Error, Kind, shown},
    output, public, wait,
};
use crate::{
    api::{
        KeyPair, KeyPairSpec,
        key_pair::{GenerateSpec, SecretSpec},
        translate,
    },
    domain::{key::holds_private_key, request},
};

/// More than any public key has. A larger file is not one.
const MAX_IMPORT_BYTES: u64 = 1 << 20;

/// Creates a KeyPair. With `--wait`, prints its public key when it is Ready.
pub async fn create(cluster: &Cluster, args: &CreateArgs) -> Result<(), Error> {
    let import = args.import.as_deref().map(read_public_key).transpose()?;
    let pair = KeyPair::new(&args.name, spec(args, import));
    if let Some(path) = &args.import {
        check_import(&pair, path)?;
    }
    let created = create_object(cluster, &pair).await?;
    if !args.wait.wait {
        return output::line(&created);
    }
    // Standard output has the public key, so that it can be appended to a file.
    output::note(&created);
    let pair = wait::ready(cluster, &args.name, args.wait.timeout, &[]).await?;
    output::line(&public::current(&pair)?)
}

/// Creates the object, and returns what kubectl would print.
pub async fn create_object(cluster: &Cluster, pair: &KeyPair) -> Result<String, Error> {
    let name = pair.metadata.name.as_deref().unwrap_or_default();
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    request(cluster.subject("create", Kind::KeyPair, name), cluster.key_pairs().create(&params, pair)).await?;
    Ok(format!("keypair.keypairs.dev/{name} created"))
}

/// The spec with what the flags say, and the documented defaults for the rest.
fn spec(args: &CreateArgs, import: Option<String>) -> KeyPairSpec {
    let generate = (args.algorithm.is_some() || args.bits.is_some())
        .then(|| GenerateSpec { algorithm: args.algorithm.unwrap_or_default(), bits: args.bits });
    let secret = args.encoding.map(|encoding| SecretSpec { encoding: Some(encoding), ..SecretSpec::default() });
    KeyPairSpec {
        profile: args.profile.unwrap_or_default(),
        public_key: import,
        generate,
        secret,
        ..KeyPairSpec::default()
    }
}

/// Refuses what the operator would refuse later, and only in the status: the rules of the API server do not parse keys.
fn check_import(pair: &KeyPair, path: &Path) -> Result<(), Error> {
    let parameters = translate::parameters(pair);
    let Err(refusals) = request::check(&parameters) else { return Ok(()) };
    let profile = parameters.profile;
    let explain = |refusal| format!("{}: {}", profile.error(refusal).code, profile.explain(refusal));
    let explained = refusals.iter().map(explain).collect::<Vec<_>>().join(" ");
    Err(Error::state(format!("{} was not sent: {explained}", shown(path))))
}

/// Reads a public key. A private key is not sent to the API server, whose audit log would keep it.
fn read_public_key(path: &Path) -> Result<String, Error> {
    let failed = || Error::file("read", path);
    let mut bytes = Zeroizing::new(Vec::new());
    if path == Path::new("-") {
        io::stdin().take(MAX_IMPORT_BYTES).read_to_end(&mut bytes).map_err(failed())?;
    } else {
        fs::File::open(path).and_then(|file| file.take(MAX_IMPORT_BYTES).read_to_end(&mut bytes)).map_err(failed())?;
    }
    let shown = shown(path);
    let text = std::str::from_utf8(&bytes)
        .map_err(|_| Error::state(format!("{shown} is not a public key: it is not text")))?;
    if holds_private_key(text) {
        return Err(Error::state(format!(
            "{shown} is a private key, and was not sent: give the public key, which ssh-keygen wrote to a file with the suffix .pub"
        )));
    }
    Ok(text.to_owned())
}
