//! `kubectl keypair private`, and where a private key is.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use kube::ResourceExt as _;
use zeroize::Zeroizing;

use super::{args::PrivateArgs, cluster::Cluster, error::Error, output, wait};
use crate::api::{KeyPair, KeyPairStatus, secret::KEYPAIR_ANNOTATION, translate};

/// Prints the private key as the Secret holds it, or writes it to a new file.
pub async fn private(cluster: &Cluster, args: &PrivateArgs) -> Result<(), Error> {
    let key = read(cluster, &args.name).await?;
    match &args.output {
        Some(path) if path != Path::new("-") => {
            write(path, &key)?;
            output::note(&format!("private key written to {} (mode 0600)", path.display()));
        }
        _ => io::stdout().write_all(&key)?,
    }
    Ok(())
}

/// The private key of a KeyPair, as the Secret holds it.
pub async fn read(cluster: &Cluster, name: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let pair = cluster.key_pair(name).await?;
    let secret_name = &secret_name(&pair)?.to_owned();
    let mut secret = cluster.secret(secret_name).await?;
    // A replay shows the Secret of another KeyPair, whose spec says where the key is in it.
    let owner = secret.annotations().get(KEYPAIR_ANNOTATION).filter(|owner| **owner != name).cloned();
    let owner = match owner.filter(|_| pair.status.as_ref().is_some_and(KeyPairStatus::is_replay)) {
        Some(owner) => cluster.key_pair(&owner).await?,
        None => pair,
    };
    let data_key = translate::parameters(&owner).secret.private_key;
    let entry = secret.data.as_mut().and_then(|data| data.remove(&data_key));
    let entry = entry.ok_or_else(|| {
        Error::state(format!(
            "Secret {secret_name:?} has no entry {data_key:?}, where the private key of KeyPair {name:?} should be: see `kubectl describe keypair {name} -n {}`",
            cluster.namespace
        ))
    })?;
    Ok(Zeroizing::new(entry.0))
}

/// The Secret with the private key.
fn secret_name(pair: &KeyPair) -> Result<&str, Error> {
    let name = pair.name_any();
    if pair.spec.public_key.is_some() {
        return Err(Error::state(format!(
            "KeyPair {name:?} is an imported public key: its private key is not in the cluster, but with whoever made the key pair"
        )));
    }
    pair.status.as_ref().and_then(|status| status.secret_name.as_deref()).ok_or_else(|| wait::not_ready(pair))
}

/// Writes a file that did not exist, for its owner only.
fn write(path: &Path, key: &[u8]) -> Result<(), Error> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Error::state(format!(
            "{} exists already and was not changed: give the name of a new file, or delete that one",
            path.display()
        )),
        _ => Error::file("create", path)(error),
    })?;
    // The umask may have taken away more.
    let written = file.set_permissions(Permissions::from_mode(0o600)).and_then(|()| file.write_all(key));
    written.and_then(|()| file.sync_all()).map_err(|error| {
        // Half a key is of no use. The file is ours: it did not exist.
        let _ = fs::remove_file(path);
        Error::file("write", path)(error)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_created_for_its_owner_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write(&path, b"one").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(write(&path, b"two").unwrap_err().to_string().contains("exists already"));
        assert_eq!(fs::read(&path).unwrap(), b"one");
        // A link to a file that does not exist would create one elsewhere.
        let (link, target) = (folder.path().join("link"), folder.path().join("target"));
        symlink(&target, &link).unwrap();
        assert!(write(&link, b"two").is_err());
        assert!(!target.exists());
        assert!(write(&folder.path().join("no/such/folder"), b"").unwrap_err().to_string().contains("cannot create"));
    }
}
