//! How the referee handles keys of other projects, which shows why `ssh-key` is the referee and not the parser of the
//! operator. `docs/architecture.md` has these figures.

#![allow(missing_docs, clippy::expect_used, reason = "a panic fails the test")]

use keypair_fuzzing::{
    armor,
    referee::{self, UNREAD_PRIVATE, UnreadPrivate},
    seeds,
};
use keypair_operator::{
    domain::key::{Encoding, KeySpec, PublicKey},
    keygen,
};
use serde_json::Value;

/// The corpus was sorted by an OpenSSH before 10.4, which did not know this key type; the operator does.
const KNOWN_SINCE: &str = "0039-openssh-sshkey-mldsa44_ed25519_2.pub";

fn body(entry: &Value) -> &str {
    entry["body"].as_str().unwrap_or_default()
}

#[test]
fn the_second_parser_disagrees_as_often_as_documented() {
    let (Some(valid), Some(invalid)) = (seeds::corpus("valid.jsonl"), seeds::corpus("invalid.jsonl")) else {
        println!("the corpus is not there; set KEYPAIR_CORPUS to test with it");
        return;
    };
    let must_refuse = |entry: &&Value| entry["mustRefuse"] == true && entry["name"] != KNOWN_SINCE;
    let must_refuse: Vec<&Value> = invalid.iter().filter(must_refuse).collect();
    let reads =
        |entries: &[&Value], read: &dyn Fn(&str) -> bool| entries.iter().filter(|entry| read(body(entry))).count();
    let valid: Vec<&Value> = valid.iter().collect();
    let theirs = |body: &str| referee::read_public(body).is_ok();
    let ours = |body: &str| PublicKey::parse(body).is_ok();
    let figures =
        [reads(&valid, &theirs), reads(&valid, &ours), reads(&must_refuse, &theirs), reads(&must_refuse, &ours)];
    println!("of {} valid keys ssh-key reads {}, the operator {}", valid.len(), figures[0], figures[1]);
    println!("of {} that must be refused ssh-key reads {}, the operator {}", must_refuse.len(), figures[2], figures[3]);
    assert_eq!((valid.len(), must_refuse.len()), (277, 53));
    assert_eq!(figures, [241, 277, 7, 0]);
}

/// For one in 512 P-256 keys, the scalar begins with a zero byte and then a byte below 128.
#[test]
fn the_second_parser_cannot_read_some_valid_files() {
    let count = std::env::var("KEYPAIR_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(4096_u32);
    let mut unread = 0;
    for _ in 0..count {
        let key = keygen::generate(KeySpec::EcdsaP256).expect("a key can be generated");
        let text = key.encode(Encoding::OpenSsh, "").expect("it can be written");
        let file = armor::inner(&text).expect("it is PEM");
        if let Err(theirs) = referee::read_private(&file) {
            unread += 1;
            assert!(referee::is_known(UNREAD_PRIVATE, &UnreadPrivate { algorithm: key.algorithm(), file, theirs }));
        }
    }
    println!("of {count} P-256 keys of ours ssh-key cannot read {unread}, one in {}", count / unread.max(1));
    assert!(unread < count / 128, "{unread} of {count}");
}
