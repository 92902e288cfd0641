//! Texts that are not a public key body, and the error for each of them.

use keypair_operator::domain::key::{KeyType, PublicKey, PublicKeyError as E};

use crate::vectors::{list, path, public_vectors, read};

#[test]
fn the_token_must_name_the_type_of_the_blob() {
    for vector in public_vectors().iter().filter(|vector| vector.is_line()) {
        let rest = vector.body.split_once(' ').expect("a line").1;
        for key_type in KeyType::ALL.iter().filter(|key_type| key_type.name() != vector.key_type) {
            assert_eq!(PublicKey::parse(&format!("{key_type} {rest}")), Err(E::TypeMismatch), "{}", vector.file);
        }
    }
}

#[test]
fn texts_without_a_public_key_have_distinct_errors() {
    let key = read("public/ed25519.pub");
    let key = key.trim();
    let (_, rest) = key.split_once(' ').expect("a line");
    let base64 = rest.split(' ').next().expect("base64");
    let pem = read("public/ecdsa256.spki");
    let block = read("public/ecdsa256.rfc4716");
    for (body, expected) in [
        (String::new(), E::Empty),
        (" \r\n\t".into(), E::Empty),
        ("hello".into(), E::NotAKey),
        ("hello\nworld".into(), E::NotAKey),
        (format!("{key}\n{key}"), E::SeveralKeys),
        (format!("{key}\r\n\r\n{key}"), E::SeveralKeys),
        (format!("{key} {key}"), E::SeveralKeys),
        ("rsa AAAA\nrsa AAAA".into(), E::SeveralKeys),
        (format!("{pem}{pem}"), E::SeveralKeys),
        (format!("{pem}{block}"), E::SeveralKeys),
        (format!("{block}{block}"), E::SeveralKeys),
        (format!("{key}\n{pem}"), E::SeveralKeys),
        (format!("{pem}{key}"), E::TextAfterKey),
        (format!("# my key\n{key}"), E::SeveralLines),
        (key.replacen(' ', "\n", 1), E::SeveralLines),
        (format!("no-pty {key}"), E::Options),
        (format!("restrict,command=\"echo hello\" {key}"), E::Options),
        (format!("FROM=\"10.0.0.1\" {key}"), E::Options),
        (format!("cert-authority,principals=\"a b\" {key}"), E::Options),
        (format!("example.com,192.0.2.1 {key}"), E::KnownHostsLine),
        (format!("|1|abc=|def= {key}"), E::KnownHostsLine),
        (format!("@cert-authority *.example.com {key}"), E::KnownHostsLine),
        ("1024 65537 1234567890 me@example.com".into(), E::Ssh1),
        (base64.into(), E::MissingType),
        ("ssh-ed25519".into(), E::MissingKey),
        (format!("ssh-unknown {base64}"), E::UnknownType),
        (format!("SSH-ED25519 {base64}"), E::UnknownType),
        (format!("ssh-ed25519 {}", &base64[..base64.len() - 1]), E::NotBase64),
        (format!("ssh-ed25519 {}", &base64[..40]), E::Malformed),
        ("ssh-ed25519 ****".into(), E::NotBase64),
        ("ssh-ed25519 AAAA".into(), E::Malformed),
        (format!("ssh-ed25519\u{a0}{base64}"), E::InvisibleCharacter { character: '\u{a0}', place: 12 }),
        (format!("\u{3000}ssh-ed25519 \u{3000}{base64}"), E::InvisibleCharacter { character: '\u{3000}', place: 1 }),
        (format!("{key}\u{7}"), E::ControlCharacter),
        (format!("{key} a\rb"), E::ControlCharacter),
        (pem.replace("-----END PUBLIC KEY-----", ""), E::BrokenArmor),
        (pem.replace("END PUBLIC", "END RSA PUBLIC"), E::BrokenArmor),
        (pem.replace("PUBLIC KEY", "CERTIFICATE"), E::UnsupportedPem),
        (pem.replace("PUBLIC KEY", "RSA PUBLIC KEY"), E::Malformed),
        (format!("Public key:\n{pem}"), E::SeveralLines),
        (pem.replace('\n', " "), E::BrokenArmor),
        (block.replace('\n', " "), E::BrokenArmor),
    ] {
        assert_eq!(PublicKey::parse(&body), Err(expected), "{body:?}");
    }
}

#[test]
fn private_keys_are_refused_in_every_position() {
    let key = read("public/ed25519.pub");
    let files = [list("private/plain"), list("private/encrypted"), list("private")].concat();
    let texts = files.iter().filter(|file| path(file).is_file()).map(read);
    let ppk =
        "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\nPrivate-Lines: 1\nAAAA\nPrivate-MAC: 00\n".to_owned();
    let mut seen = 0;
    for private in texts.chain([ppk]) {
        let one_line = private.trim().replace('\n', " ");
        let content: Vec<_> = private.lines().filter(|line| !line.contains("-----") && !line.contains(": ")).collect();
        let naked = content.join("");
        let block =
            format!("---- BEGIN SSH2 PUBLIC KEY ----\nComment: {one_line}\nAAAA\n---- END SSH2 PUBLIC KEY ----");
        let mut bodies = vec![private.clone(), format!("{key}{private}"), format!("{private}{key}"), block];
        bodies.push(format!("{} {one_line}", key.trim()));
        bodies.push(private.trim().replace('\n', "\\n"));
        // Without its armor, OpenSSL's traditional encryption has no recognizable content.
        if !private.contains("Proc-Type") && !private.contains("PuTTY") {
            bodies.extend([naked.clone(), format!("ssh-rsa {naked}"), format!("{} {naked}", key.trim())]);
        }
        for body in bodies {
            assert_eq!(PublicKey::parse(&body), Err(E::PrivateKey), "{body}");
            seen += 1;
        }
    }
    assert!(seen > 200);
}

/// One character of each class, and those that people paste: invisible, bidirectional, a separator, private use, a
/// noncharacter, a tag.
const INVISIBLE: [char; 12] = [
    '\u{ad}',
    '\u{200b}',
    '\u{200d}',
    '\u{202e}',
    '\u{2028}',
    '\u{2029}',
    '\u{2066}',
    '\u{e000}',
    '\u{fdd0}',
    '\u{feff}',
    '\u{1ffff}',
    '\u{e0041}',
];

/// In any form of the key and at any position, the error names the character and quotes nothing of the text.
#[test]
fn invisible_characters_are_refused_by_name() {
    let line = read("public/ed25519.pub");
    let line = line.trim();
    let block = read("public/ed25519.rfc4716");
    let pem = read("public/ecdsa256.spki");
    for character in INVISIBLE {
        let within = |text: &str, after: usize| format!("{}{character}{}", &text[..after], &text[after..]);
        let header = |tag: &str| block.replace("Comment: ", &format!("{tag}: a{character}b\nComment: "));
        for body in [
            // At the start, like a byte order mark; within type, base64 and comment; at the end.
            within(line, 0),
            within(line, 3),
            within(line, 30),
            within(line, line.len() - 2),
            within(line, line.len()),
            format!("  {character}\n{line}"),
            format!("{line}\n{character}"),
            within(&block, 0),
            within(&block, block.len() - 60),
            header("Subject"),
            header("x-private"),
            header("Comment"),
            block.replace("Comment: \"", &format!("Comment: \"{character}")),
            within(&pem, 0),
            within(&pem, 60),
            within(&pem, pem.len()),
        ] {
            let place = body.chars().position(|c| c == character).expect("the body contains the character") + 1;
            assert_eq!(PublicKey::parse(&body), Err(E::InvisibleCharacter { character, place }), "{body:?}");
            let words = E::InvisibleCharacter { character, place }.to_string();
            assert!(words.contains(&format!("U+{:04X}", u32::from(character))), "{words}");
            assert!(words.contains(&format!("at character {place}")) && !words.contains(character), "{words}");
        }
    }
}
