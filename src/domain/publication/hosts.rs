//! The host names of a line of a `known_hosts` file (sshd(8)).

use core::net::{Ipv4Addr, Ipv6Addr};

use aws_lc_rs::hmac;
use base64ct::{Base64, Encoding as _};

use super::{
    Marker,
    bounds::{HOST, MAX_HOSTS},
};
use crate::domain::digest;

/// The port for which ssh looks up a host without a port.
const DEFAULT_PORT: &str = "22";
/// The number of bytes of a salt, that of a SHA-1.
const SALT_BYTES: usize = 20;

/// The fields of an entry that are invalid, each with what is wrong.
pub(super) fn mistakes(hosts: &[String], are_hashed: bool) -> Vec<(String, String)> {
    let mut mistakes = Vec::new();
    let mut mistake = |field: String, detail: &str| mistakes.push((field, detail.to_owned()));
    if hosts.is_empty() {
        mistake("hosts".to_owned(), "is required: list the names and addresses of the hosts");
    } else if hosts.len() > MAX_HOSTS {
        mistake(
            "hosts".to_owned(),
            &format!("at most {MAX_HOSTS} hosts are allowed: use patterns, or several entries"),
        );
    } else if hosts.iter().all(|host| host.starts_with('!')) {
        mistake("hosts".to_owned(), "has only exclusions, so that no host matches: add what matches, such as '*'");
    }
    for (index, host) in hosts.iter().enumerate().take(MAX_HOSTS) {
        let field = format!("hosts[{index}]");
        if !HOST.allows(host) {
            mistake(field, &format!("must be {}", HOST.words));
        } else if are_hashed && is_pattern(host) {
            mistake(field, "is a pattern, which cannot be hashed: set hashHosts to false, or list the names");
        } else if let Some(detail) = host_mistake(host) {
            mistake(field, detail);
        }
    }
    mistakes
}

/// The hosts that can be in a line. An exclusion that is left out makes the others match more.
pub(super) fn valid(hosts: &[String]) -> Vec<String> {
    let is_valid = |host: &&String| HOST.allows(host) && host_mistake(host).is_none();
    hosts.iter().take(MAX_HOSTS).filter(is_valid).cloned().collect()
}

/// Whether a host has wildcards or is an exclusion: it cannot be hashed.
fn is_pattern(host: &str) -> bool {
    host.contains(['*', '?', '!'])
}

/// What is wrong with a host that follows the rule.
///
/// ssh looks up a name as it is given, but an address in its shortest form, and neither with the default port. What it never looks up is
/// refused, because the line would have no effect.
fn host_mistake(host: &str) -> Option<&'static str> {
    let host = host.strip_prefix('!').unwrap_or(host);
    let (name, port) = match host.strip_prefix('[').and_then(|rest| rest.split_once("]:")) {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    if port == Some(DEFAULT_PORT) {
        return Some("has the default port, which ssh leaves out: write the host without brackets and port");
    }
    if port.is_some_and(|port| !is_port(port)) {
        return Some("must have a port from 1 to 65535, or '*'");
    }
    if name.contains(['*', '?']) {
        return None;
    }
    if name.contains([':', '%']) {
        let address = name.split_once('%').map_or(name, |(address, _)| address);
        // A mixed address such as ::ffff:10.0.0.1 has another shortest form on some systems.
        let is_shortest = |parsed: Ipv6Addr| address.contains('.') || parsed.to_string().eq_ignore_ascii_case(address);
        let is_address = address.parse().is_ok_and(is_shortest);
        return (!is_address)
            .then_some("must be an IPv6 address in its shortest form; a host with a port is written as [host]:2222");
    }
    let is_incomplete = is_numeric(name) && name.parse::<Ipv4Addr>().is_err();
    is_incomplete.then_some("must be a complete address, such as 10.0.0.1")
}

/// Whether systems read a name as an IPv4 address: its last part is a number, in decimal, octal or hexadecimal digits.
pub(super) fn is_numeric(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_hexadecimal = || last.starts_with("0x") || last.starts_with("0X");
    !last.is_empty() && (last.bytes().all(|byte| byte.is_ascii_digit()) || is_hexadecimal())
}

/// Whether a text of digits is a port, or `*`.
pub(super) fn is_port(text: &str) -> bool {
    text == "*" || text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// The hosts as ssh looks them up: in lower case, each once.
pub(super) fn normalized(hosts: &[String]) -> Vec<String> {
    let mut normalized: Vec<String> = Vec::new();
    for host in hosts {
        let host = host.to_ascii_lowercase();
        if !normalized.contains(&host) {
            normalized.push(host);
        }
    }
    normalized
}

/// What precedes a key on each of its lines. `salt` is `None` if the hosts are not hashed.
///
/// Patterns that should be hashed, which only an invalid entry has, are on a line of their own. Exclusions alone match nothing.
pub(super) fn prefixes(hosts: &[String], marker: Option<Marker>, salt: Option<&str>) -> Vec<String> {
    let marker = match marker {
        Some(Marker::CertAuthority) => "@cert-authority ",
        Some(Marker::Revoked) => "@revoked ",
        None => "",
    };
    let (to_hash, plain): (Vec<&str>, Vec<&str>) =
        hosts.iter().map(String::as_str).partition(|host| salt.is_some() && !is_pattern(host));
    let hashes = salt.into_iter().flat_map(|uid| to_hash.iter().map(move |host| hashed(uid, host)));
    let plain = plain.iter().any(|host| !host.starts_with('!')).then(|| plain.join(","));
    hashes.chain(plain).map(|hosts| format!("{marker}{hosts}")).collect()
}

/// A host as `ssh-keygen -H` hashes it. The salt is derived, so that the same spec always has the same text.
fn hashed(uid: &str, host: &str) -> String {
    let digest = digest::of_parts(["keypairs.dev/known-hosts-salt", uid, host]);
    let salt: [u8; SALT_BYTES] = digest.first_chunk().copied().unwrap_or_default();
    let hash = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &salt), host.as_bytes());
    format!("|1|{}|{}", Base64::encode_string(&salt), Base64::encode_string(hash.as_ref()))
}
