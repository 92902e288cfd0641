//! `kubectl keypair ssh`: the private key goes from the Secret to an ssh-agent of its own, and is gone when ssh ends.

mod agent;
mod directory;
mod session;

use self::{agent::Agent, directory::Directory, session::Session};
use super::{args::SshArgs, cluster::Cluster, error::Error, private};
use crate::domain::key::{Encoding, PrivateKey};

/// The exit code of ssh if it cannot connect. The same if this program cannot even start it.
pub const FAILED: u8 = 255;

/// Runs ssh, and returns its exit code.
pub async fn ssh(cluster: &Cluster, args: &SshArgs) -> Result<u8, Error> {
    let key = read(cluster, &args.name).await?;
    // From here on, a signal ends ssh, and then what belongs to it.
    let mut session = Session::prepare()?;
    let directory = Directory::create()?;
    let comment = format!("{}/{}", cluster.namespace, args.name);
    let failed = |error| Error::state(format!("cannot use the private key of KeyPair {:?}: {error}", args.name));
    // The only format that every version of OpenSSH reads for every key: before 9.6, it cannot read Ed25519 keys in PKCS #8.
    let private = key.encode(Encoding::OpenSsh, &comment).map_err(failed)?;
    let public = key.public_key(&comment).map_err(failed)?;
    let identity = directory.write("key.pub", &format!("{}\n", public.to_openssh()))?;
    let agent = Agent::start(&directory)?;
    agent.add(&private)?;
    drop((private, key));
    session.run(&agent, &identity, args).await
}

async fn read(cluster: &Cluster, name: &str) -> Result<PrivateKey, Error> {
    let bytes = private::read(cluster, name).await?;
    let text = std::str::from_utf8(&bytes).ok();
    let key = text.map(PrivateKey::parse);
    match key {
        Some(Ok(key)) => Ok(key),
        // No error of a private key contains a byte of it.
        Some(Err(error)) => {
            Err(Error::state(format!("the Secret of KeyPair {name:?} holds no usable private key: {error}")))
        }
        None => Err(Error::state(format!("the Secret of KeyPair {name:?} holds no private key: it is not text"))),
    }
}
