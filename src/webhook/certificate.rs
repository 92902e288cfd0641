//! Certificates of the webhook: how they are issued, and when the next one is due.
//!
//! Each certificate has its own certificate authority, which signs nothing else: its key is dropped at once. So no key exists that
//! could sign another certificate, and renewing the authority is no special case. A renewal has two steps, so that no connection is
//! refused. First the API server also trusts the next authority; then, after every API server has had time to load it, the next
//! certificate is served. The previous authority stays trusted until it expires, for slower replicas.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::{
    RootCertStore, ServerConfig,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier as _},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use x509_cert::{
    der::Decode as _,
    ext::pkix::{SubjectAltName, name::GeneralName},
};
use zeroize::Zeroizing;

use super::Error;

/// How long before its creation a certificate becomes valid, for API servers whose clocks are slow.
const BACKDATED: Duration = Duration::from_secs(300);
/// The longest time that API servers get to load an authority before its certificate is served.
const LONGEST_NOTICE: Duration = Duration::from_secs(60);

/// A certificate, with its private key.
pub struct Certificate {
    /// The certificate, followed by that of its authority, in PEM.
    pub chain: String,
    /// The private key in PEM (PKCS#8).
    pub key: Zeroizing<String>,
    /// The authority that signed it.
    pub authority: Authority,
    /// The names and addresses for which it is valid.
    pub hosts: BTreeSet<String>,
}

/// The certificate of an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// The certificate in PEM.
    pub pem: String,
    /// When it, and the certificate that it signed, expires.
    pub expires: SystemTime,
}

impl Certificate {
    /// Issues a certificate for these hosts.
    ///
    /// # Errors
    ///
    /// If a host is neither a DNS name nor an IP address.
    pub fn issue(hosts: &BTreeSet<String>, now: SystemTime, lifetime: Duration) -> Result<Self, Error> {
        let (from, until) = (now - BACKDATED, now + lifetime);
        let mut authority = CertificateParams::new(Vec::new())?;
        // Clients would confuse two authorities with the same name.
        let number = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        authority.distinguished_name.push(DnType::CommonName, format!("keypair-operator webhook authority {number}"));
        authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        (authority.not_before, authority.not_after) = (from.into(), until.into());
        let authority_key = KeyPair::generate()?;
        let authority_certificate = authority.self_signed(&authority_key)?;

        let mut leaf = CertificateParams::new(hosts.iter().cloned().collect::<Vec<_>>())?;
        leaf.distinguished_name.push(DnType::CommonName, "keypair-operator webhook");
        leaf.use_authority_key_identifier_extension = true;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        (leaf.not_before, leaf.not_after) = (from.into(), until.into());
        let key = KeyPair::generate()?;
        let certificate = leaf.signed_by(&key, &Issuer::from_params(&authority, &authority_key))?;

        let pem = authority_certificate.pem();
        let chain = format!("{}{pem}", certificate.pem());
        Ok(Self {
            chain,
            key: Zeroizing::new(key.serialize_pem()),
            authority: Authority { pem, expires: until },
            hosts: hosts.clone(),
        })
    }

    /// Reads an issued certificate; `None` if it is not one, for example because its authority did not sign it for its hosts, or it is
    /// not valid yet.
    #[must_use]
    pub fn read(chain: &str, key: &str, now: SystemTime) -> Option<Self> {
        let certificates: Vec<CertificateDer<'_>> =
            CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().ok()?;
        let [leaf, authority] = certificates.as_slice() else { return None };
        let parsed = x509_cert::Certificate::from_der(leaf).ok()?;
        let hosts = hosts(&parsed)?;
        let validity = parsed.tbs_certificate().validity();
        let begins = SystemTime::UNIX_EPOCH + validity.not_before.to_unix_duration();
        let ends = SystemTime::UNIX_EPOCH + validity.not_after.to_unix_duration();
        // An expired certificate still tells for which hosts it was issued.
        if begins > now + BACKDATED
            || hosts.is_empty()
            || !is_trusted(leaf, authority, &hosts, now.min(ends).max(begins))
        {
            return None;
        }
        let (_, authority) = chain.split_at(chain.rfind(BEGIN)?);
        let authority = authorities(authority).pop()?;
        let certificate = Self { chain: chain.to_owned(), key: Zeroizing::new(key.to_owned()), authority, hosts };
        (ends <= certificate.expires() && certificate.server_config().is_ok()).then_some(certificate)
    }

    /// When it expires.
    #[must_use]
    pub fn expires(&self) -> SystemTime {
        self.authority.expires
    }

    /// The TLS configuration of a server with this certificate.
    ///
    /// # Errors
    ///
    /// If the key is not that of the certificate.
    pub fn server_config(&self) -> Result<Arc<ServerConfig>, Error> {
        server_config(&self.chain, &self.key)
    }
}

/// Whether a client that trusts the authority accepts `leaf` for each of these hosts at the time `when`.
fn is_trusted(
    leaf: &CertificateDer<'_>,
    authority: &CertificateDer<'_>,
    hosts: &BTreeSet<String>,
    when: SystemTime,
) -> bool {
    let mut roots = RootCertStore::empty();
    if roots.add(authority.clone()).is_err() {
        return false;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let Ok(verifier) = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build() else {
        return false;
    };
    let when = UnixTime::since_unix_epoch(when.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
    hosts.iter().all(|host| {
        let name = ServerName::try_from(host.as_str());
        name.is_ok_and(|name| verifier.verify_server_cert(leaf, &[], &name, &[], when).is_ok())
    })
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// The TLS configuration of a server with this certificate, followed by those of its authorities, and this private key, in PEM.
///
/// # Errors
///
/// If they are not valid PEM, or the key does not match the certificate.
pub fn server_config(chain: &str, key: &str) -> Result<Arc<ServerConfig>, Error> {
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|_| Error::Pem("tls.crt".to_owned()))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| Error::Pem("tls.key".to_owned()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    // With HTTP/2, API servers send all requests over one connection.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The authorities in a bundle, without unreadable ones.
#[must_use]
pub fn authorities(bundle: &str) -> Vec<Authority> {
    let blocks = bundle
        .split_inclusive("-----END CERTIFICATE-----")
        .filter_map(|block| block.find(BEGIN).and_then(|at| block.get(at..)));
    blocks
        .filter_map(|pem| {
            let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
            let certificate = x509_cert::Certificate::from_der(&der).ok()?;
            let expires = certificate.tbs_certificate().validity().not_after.to_unix_duration();
            Some(Authority { pem: format!("{pem}\n"), expires: SystemTime::UNIX_EPOCH + expires })
        })
        .collect()
}

fn hosts(leaf: &x509_cert::Certificate) -> Option<BTreeSet<String>> {
    let (_, names) = leaf.tbs_certificate().get_extension::<SubjectAltName>().ok()??;
    let host = |name: &GeneralName| match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(bytes) => match bytes.as_bytes() {
            v4 if v4.len() == 4 => <[u8; 4]>::try_from(v4).ok().map(|v4| IpAddr::from(v4).to_string()),
            v6 => <[u8; 16]>::try_from(v6).ok().map(|v6| IpAddr::from(v6).to_string()),
        },
        _ => None,
    };
    names.0.iter().map(host).collect()
}

/// The certificates of the webhook at one moment.
#[derive(Default)]
pub struct CertState {
    /// The certificate in use.
    pub current: Option<Certificate>,
    /// The certificate to serve next.
    pub next: Option<Certificate>,
    /// The authorities that the API server trusts.
    pub trusted: Vec<Authority>,
}

/// The next step of the rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationStep {
    /// Do nothing before this moment.
    Keep(SystemTime),
    /// Issue a certificate and serve it at once, because no usable one exists.
    Issue,
    /// Issue the next certificate and have its authority trusted.
    Prepare,
    /// Serve the next certificate.
    Promote,
}

impl CertState {
    /// Adds the authorities of the current and the next certificate to the trusted ones, if they are missing.
    pub fn complete(&mut self) {
        for certificate in self.current.iter().chain(&self.next) {
            if !self.trusted.contains(&certificate.authority) {
                self.trusted.push(certificate.authority.clone());
            }
        }
    }

    /// The next step for the certificates of these hosts, which are valid for `lifetime` each.
    #[must_use]
    pub fn next_step(&self, hosts: &BTreeSet<String>, now: SystemTime, lifetime: Duration) -> RotationStep {
        let notice = LONGEST_NOTICE.min(lifetime / 8);
        let usable = |certificate: &&Certificate| certificate.hosts.is_superset(hosts) && certificate.expires() > now;
        let Some(current) = self.current.as_ref().filter(usable) else { return RotationStep::Issue };
        let (due, step) = if let Some(next) = self.next.as_ref().filter(usable) {
            let issued = next.expires() - lifetime;
            ((issued + notice).min(current.expires() - notice), RotationStep::Promote)
        } else {
            (current.expires() - lifetime / 2, RotationStep::Prepare)
        };
        if due <= now { step } else { RotationStep::Keep(due) }
    }

    /// Takes that step; `Keep` does nothing.
    ///
    /// # Errors
    ///
    /// As [`Certificate::issue`].
    pub fn take(
        &mut self,
        step: RotationStep,
        hosts: &BTreeSet<String>,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<(), Error> {
        match step {
            RotationStep::Keep(_) => return Ok(()),
            RotationStep::Issue => {
                // Replicas may have different host names. The certificate needs all of them, or replicas would replace each other's.
                let known = self.current.take().filter(|certificate| certificate.expires() > now);
                let hosts = known.into_iter().flat_map(|certificate| certificate.hosts).chain(hosts.iter().cloned());
                self.current = Some(Certificate::issue(&hosts.collect(), now, lifetime)?);
                self.next = None;
            }
            RotationStep::Prepare => {
                let hosts = self.current.as_ref().map_or(hosts, |current| &current.hosts);
                self.next = Some(Certificate::issue(hosts, now, lifetime)?);
            }
            RotationStep::Promote => self.current = self.next.take(),
        }
        self.trusted.retain(|authority| authority.expires > now);
        self.complete();
        Ok(())
    }

    /// The trusted authorities, in PEM.
    #[must_use]
    pub fn bundle(&self) -> String {
        self.trusted.iter().map(|authority| authority.pem.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(800);
    const SECOND: Duration = Duration::from_secs(1);

    fn hosts(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Whole seconds, as certificates have them.
    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000)
    }

    #[test]
    fn an_issued_certificate_is_read_back() {
        let hosts = hosts(&["127.0.0.1", "::1", "webhook.system.svc"]);
        let made = Certificate::issue(&hosts, now(), LIFETIME).unwrap();
        let read = Certificate::read(&made.chain, &made.key, now()).unwrap();
        assert_eq!(read.hosts, hosts);
        assert_eq!(read.authority, made.authority);
        assert_eq!(read.expires(), now() + LIFETIME);
        let other = Certificate::issue(&hosts, now(), LIFETIME).unwrap();
        assert!(Certificate::read(&made.chain, &other.key, now()).is_none(), "the key of another certificate");
        assert!(Certificate::read(&made.chain, "", now()).is_none());
        assert!(Certificate::read(&made.authority.pem, &made.key, now()).is_none());
        assert!(Certificate::read("", "", now()).is_none());
        let expired = Certificate::read(&made.chain, &made.key, now() + 2 * LIFETIME).unwrap();
        assert_eq!(expired.hosts, hosts, "for the hosts that were asked for");
        assert!(Certificate::read(&made.chain, &made.key, now() - LIFETIME).is_none(), "it is not valid yet");
        assert_eq!(authorities(&format!("junk {}{}", made.authority.pem, other.authority.pem)).len(), 2);
    }

    #[test]
    fn a_certificate_is_trusted_before_it_is_served() {
        let hosts = hosts(&["localhost"]);
        let mut state = CertState::default();
        let mut now = now();
        let mut trusted_since = Vec::new();
        let (mut steps, mut served) = (Vec::new(), Vec::new());
        for _ in 0..4000 {
            let step = state.next_step(&hosts, now, LIFETIME);
            if let RotationStep::Keep(due) = step {
                assert!(due > now);
            } else {
                steps.push(step);
                state.take(step, &hosts, now, LIFETIME).unwrap();
            }
            for authority in &state.trusted {
                if !trusted_since.iter().any(|(known, _)| known == authority) {
                    trusted_since.push((authority.clone(), now));
                }
            }
            let current = state.current.as_ref().unwrap();
            assert!(current.expires() > now);
            assert!(state.trusted.contains(&current.authority));
            if served.last() != Some(&current.authority) {
                let since = trusted_since.iter().find(|(known, _)| *known == current.authority).unwrap().1;
                assert!(served.is_empty() || now - LONGEST_NOTICE >= since, "its authority was trusted too late");
                // A replica that has not loaded it yet serves the previous one.
                assert!(served.last().is_none_or(|last| state.trusted.contains(last)));
                served.push(current.authority.clone());
            }
            now += SECOND;
        }
        assert!(served.len() > 7, "{steps:?}");
        assert!(state.trusted.len() <= 3);
        assert_eq!(steps.iter().filter(|step| **step == RotationStep::Issue).count(), 1);
    }

    #[test]
    fn an_unusable_certificate_is_replaced_at_once() {
        let (here, elsewhere) = (hosts(&["localhost"]), hosts(&["127.0.0.1"]));
        let mut state = CertState::default();
        state.take(RotationStep::Issue, &here, now(), LIFETIME).unwrap();
        assert!(matches!(state.next_step(&here, now(), LIFETIME), RotationStep::Keep(_)));
        assert_eq!(state.next_step(&elsewhere, now(), LIFETIME), RotationStep::Issue);
        state.take(RotationStep::Issue, &elsewhere, now(), LIFETIME).unwrap();
        for hosts in [&here, &elsewhere] {
            assert!(
                matches!(state.next_step(hosts, now(), LIFETIME), RotationStep::Keep(_)),
                "replicas undo each other's work"
            );
        }
        assert_eq!(state.next_step(&here, now() + LIFETIME, LIFETIME), RotationStep::Issue);
        state.take(RotationStep::Issue, &here, now() + LIFETIME, LIFETIME).unwrap();
        assert_eq!(state.trusted.len(), 1, "what has expired is not trusted any more");
        state.trusted.clear();
        state.complete();
        assert_eq!(state.trusted.len(), 1, "what is served is trusted, whatever the Secret says");
    }

    #[test]
    fn a_shorter_lifetime_does_not_delay_renewal() {
        let here = hosts(&["localhost"]);
        let mut state = CertState::default();
        state.take(RotationStep::Issue, &here, now() + 2 * SECOND - LIFETIME, LIFETIME).unwrap();
        state.take(RotationStep::Prepare, &here, now(), LIFETIME * 9).unwrap();
        assert_eq!(state.next_step(&here, now(), LIFETIME), RotationStep::Promote);
    }
}
