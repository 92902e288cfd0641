//! Public key bodies. CEL checks only how a body begins, so the API server may accept what the Rust check refuses, but never the
//! reverse. Anything that looks like a private key must not even be stored.

use std::{fs, path::Path};

use keypair_operator::domain::{key::PublicKey, profile::Profile};
use serde_json::{Value, json};

use crate::{
    client,
    objects::{PUBLIC_KEY, key_pair},
    random::{Cases, Random},
    referee::{Agreement, Answer, compare, create, ours, theirs},
    texts::EDGES,
};

/// The test vectors in this directory, by name.
fn vectors(directory: &str) -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(directory);
    let mut vectors: Vec<(String, String)> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read_to_string(&path).unwrap()))
        .collect();
    vectors.sort();
    assert!(!vectors.is_empty(), "{}", directory.display());
    vectors
}

fn import(profile: Profile, body: &str) -> Value {
    key_pair("a1", &json!({"profile": profile, "publicKey": body}))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_valid_key_is_accepted_where_its_type_is() {
    let client = client().await;
    let mut objects = Vec::new();
    for (name, body) in vectors("public") {
        let key_type = PublicKey::parse(&body).unwrap_or_else(|error| panic!("{name}: {error}")).key_type();
        for profile in Profile::ALL {
            let object = import(profile, &body);
            let taken = profile.rules().import_types.contains(&key_type);
            assert_eq!(ours(&object).accepts(), taken, "{name} in profile {profile}");
            objects.push(object);
        }
    }
    let tally = compare(&client, Agreement::OneSided, objects).await;
    println!("valid keys: {tally}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_keys_are_never_refused_by_the_api_server_alone() {
    let vectors = [vectors("public"), vectors("private/plain")].concat();
    let mut random = Random::of("public keys");
    let objects: Vec<Value> = (0..Cases::wanted().percent(15))
        .map(|_| {
            let (_, body) = &vectors[random.below(vectors.len())];
            let profile = random.pick(&Profile::ALL);
            let mut body = body.clone();
            for _ in 0..=random.below(2) {
                body = changed(&body, &mut random);
            }
            import(profile, &body)
        })
        .collect();
    let tally = compare(&client().await, Agreement::OneSided, objects).await;
    println!("changed keys: {tally}");
}

fn changed(body: &str, random: &mut Random) -> String {
    const AROUND: [&str; 14] = [
        " ", "\n", "\r\n", "\t", "\u{a0}", "\u{3000}", "\u{2003}", "\u{85}", "\u{200b}", "\u{feff}", "\u{b}", "\u{c}",
        "\u{1c}", "\u{180e}",
    ];
    const COMMENTS: [&str; 8] = [
        "",
        "me@example.com",
        "PRIVATE KEY",
        "my private key",
        "of my PRIVATE KEY holder",
        "中文 注释",
        "PuTTY-User-Key-File",
        "from PuTTY-User-Key-File-3",
    ];
    const BEFORE: [&str; 8] = ["no-pty ", "example.com ", "rsa ", "SSH-RSA ", "ecdsa ", "dsa ", "#", "command=\"x\" "];
    let characters: Vec<char> = body.chars().collect();
    let at = random.below(characters.len().max(1));
    match random.below(10) {
        0 => format!("{}{body}", random.pick(&AROUND)),
        1 => format!("{}{}", body.trim_end(), random.pick(&AROUND)),
        2 => format!("{} {}", body.trim_end(), random.pick(&COMMENTS)),
        3 => format!("{}{body}", random.pick(&BEFORE)),
        4 => format!("{}{body}", body.repeat(random.below(2))),
        5 => characters[..at].iter().collect(),
        6 => {
            let mut changed = characters;
            if let Some(place) = changed.get_mut(at) {
                *place = if random.one_in(2) { random.pick(&EDGES) } else { 'A' };
            }
            changed.into_iter().collect()
        }
        7 => body.replace('\n', "\r\n"),
        8 => {
            let (from, to) = random.pick(&[
                ("ssh-rsa ", "rsa "),
                ("ssh-dss ", "dsa "),
                ("ecdsa-sha2-nistp256 ", "ecdsa "),
                ("ssh-rsa ", "ssh-rsa\t"),
                ("ssh-ed25519 ", "ed25519 "),
                ("ssh-", "SSH-"),
                (" ", "  "),
                ("----", "-----"),
            ]);
            body.replacen(from, to, 1)
        }
        _ => format!("{}\n{}", body.trim_end(), PUBLIC_KEY),
    }
}

/// The maximum length counts characters, including trailing white space.
#[tokio::test(flavor = "multi_thread")]
async fn the_length_of_a_key_counts_characters() {
    let line = PUBLIC_KEY.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    let mut objects = Vec::new();
    for filler in ["c", "é", "中", "😀"] {
        for length in 32_766..=32_770 {
            for end in ["", "\n"] {
                let comment = filler.repeat(length - line.chars().count() - 1 - end.len());
                objects.push(import(Profile::UCloud, &format!("{line} {comment}{end}")));
            }
        }
    }
    let tally = compare(&client().await, Agreement::Exact, objects).await;
    assert!(tally.accepted >= 20 && tally.refused >= 8, "{tally}");
}

#[tokio::test(flavor = "multi_thread")]
async fn private_keys_are_refused_without_being_quoted() {
    let client = client().await;
    let bodies = [vectors("private"), vectors("private/plain"), vectors("private/encrypted")].concat();
    for (name, body) in bodies {
        for profile in Profile::ALL {
            let object = import(profile, &body);
            let Answer::Refused(messages) = theirs(&client, create(&object)).await else {
                panic!("the API server stored {name} in profile {profile}")
            };
            assert!(!ours(&object).accepts(), "{name}");
            for line in body.lines().filter(|line| line.len() > 30 && !line.starts_with("---")) {
                assert!(!messages.iter().any(|message| message.contains(&line[..24])), "{name}: {messages:?}");
            }
        }
    }
}
