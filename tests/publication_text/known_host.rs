//! `ssh` knows the hosts of a `known_hosts` file.

use keypair_operator::domain::publication::{EntryParameters, KeyOptions, Marker};

use crate::{Key, authorized_keys, entry, known_hosts, path, run, server::Server};

/// Whether `ssh` connects to the server under this name; `None`: under its address and port.
fn connects(server: &Server, user: &Key, alias: Option<&str>, known: &str) -> bool {
    server.know(known);
    let alias = alias.map(|alias| format!("HostKeyAlias={alias}"));
    let args: Vec<&str> = alias.iter().flat_map(|alias| ["-o", alias.as_str()]).collect();
    let login = server.ssh(user, &args, &["echo in"]);
    assert_eq!(login.code == Some(255), login.err.contains("Host key verification failed"), "{login:?} {known}");
    login.out == "in\n"
}

#[tokio::test]
async fn ssh_connects_to_known_hosts_only() {
    let server = Server::start("").await;
    let user = Key::new();
    server.authorize(&authorized_keys(vec![(KeyOptions::default(), vec![&user])]));
    let (host, other) = (&server.host_key, Key::new());
    let here = format!("[127.0.0.1]:{}", server.port());
    let connects = |alias: Option<&str>, hosts: &[&str], key: &Key, hash_hosts: bool| {
        connects(&server, &user, alias, &known_hosts(vec![(entry(hosts), vec![key])], hash_hosts))
    };
    for hash_hosts in [false, true] {
        assert!(connects(None, &[&here], host, hash_hosts));
        assert!(!connects(None, &[&here], &other, hash_hosts));
        assert!(!connects(None, &["[127.0.0.1]:1"], host, hash_hosts));
        assert!(connects(Some("db.example.com"), &["a.example.com", "DB.example.com"], host, hash_hosts));
        assert!(!connects(Some("db.example.com"), &["a.example.com"], host, hash_hosts));
    }
    let patterns = ["*.example.com", "!bad.example.com"];
    assert!(connects(Some("db.example.com"), &patterns, host, false));
    assert!(!connects(Some("bad.example.com"), &patterns, host, false));
    assert!(!connects(Some("example.com"), &patterns, host, false));
    assert!(connects(None, &["[127.0.0.*]:*"], host, false));
}

#[tokio::test]
async fn a_revoked_key_is_refused() {
    let server = Server::start("").await;
    let user = Key::new();
    server.authorize(&authorized_keys(vec![(KeyOptions::default(), vec![&user])]));
    for (hosts, connects_still) in [(&["db", "web"] as &[&str], false), (&["web"], true)] {
        for hash_hosts in [false, true] {
            let key = &server.host_key;
            let known =
                known_hosts(vec![(entry(&["db"]), vec![key]), (marked(hosts, Marker::Revoked), vec![key])], hash_hosts);
            assert_eq!(connects(&server, &user, Some("db"), &known), connects_still, "{known}");
        }
    }
}

fn marked(hosts: &[&str], marker: Marker) -> EntryParameters {
    EntryParameters { marker: Some(marker), ..entry(hosts) }
}

/// Trusts a certificate authority for some hosts.
fn trust(authority: &Key) -> Vec<(EntryParameters, Vec<&Key>)> {
    vec![(marked(&["*.example.com"], Marker::CertAuthority), vec![authority])]
}

#[tokio::test]
async fn a_certificate_authority_vouches_for_hosts() {
    let authority = Key::new();
    let server = Server::start_with(|directory| {
        let ca = authority.write(directory, "ca");
        let host = path(&directory.join("host.pub"));
        run("ssh-keygen", &["-q", "-s", &ca, "-I", "host", "-h", "-n", "db.example.com", &host]).unwrap();
        format!("HostCertificate {}", path(&directory.join("host-cert.pub")))
    })
    .await;
    let user = Key::new();
    server.authorize(&authorized_keys(vec![(KeyOptions::default(), vec![&user])]));
    let connects = |entries: Vec<(EntryParameters, Vec<&Key>)>, alias: &str| {
        connects(&server, &user, Some(alias), &known_hosts(entries, false))
    };
    assert!(connects(trust(&authority), "db.example.com"));
    // The certificate is for another host, the authority for other hosts, or another one.
    assert!(!connects(trust(&authority), "web.example.com"));
    assert!(!connects(vec![(marked(&["*.example.org"], Marker::CertAuthority), vec![&authority])], "db.example.com"));
    assert!(!connects(trust(&Key::new()), "db.example.com"));
    // Without the marker, the key of the authority is that of a host.
    assert!(!connects(vec![(entry(&["*.example.com"]), vec![&authority])], "db.example.com"));
    // The authority is revoked, or the key of the host.
    for revoked in [&authority, &server.host_key] {
        let mut entries = trust(&authority);
        entries.push((marked(&["*"], Marker::Revoked), vec![revoked]));
        assert!(!connects(entries, "db.example.com"));
    }
}
