//! Tests every code point against each rule that checks characters.

use keypair_operator::domain::{profile::Profile, rules::DESCRIPTION, text_rule::TextRule};
use serde_json::{Value, json};

use crate::{
    client, objects,
    objects::key_pair,
    random::{Cases, Random},
    referee::{Agreement, Disagreement, compare, disagreements},
    texts::EDGES,
};

/// How many accepted characters one object tests.
const PACKED: usize = 60;

/// A field whose rule checks each character.
struct Field {
    name: &'static str,
    spec: Value,
    rule: &'static TextRule,
}

impl Field {
    /// Whether the rule allows the character inside a text.
    fn allows(&self, c: char) -> bool {
        self.rule.allows(&format!("a{c}a"))
    }

    fn object(&self, characters: &[char]) -> Value {
        let mut spec = self.spec.clone();
        // Surround the characters with letters: the first and last positions have rules of their own.
        spec[self.name] = json!(format!("a{}a", characters.iter().collect::<String>()));
        key_pair("a1", &spec)
    }
}

fn fields() -> [Field; 3] {
    let name = |profile: Profile, import: bool| {
        let (rules, mut spec) = (profile.rules(), json!({"profile": profile}));
        if import {
            spec["publicKey"] = json!(objects::PUBLIC_KEY);
        }
        Field { name: "keyPairName", spec, rule: if import { rules.import_name } else { rules.generate_name } }
    };
    [
        // UCloud allows the same characters; `cel_and_rust_agree_on_names` covers its edge cases.
        name(Profile::OpenSSH, false),
        name(Profile::Alibaba, true),
        Field { name: "description", spec: json!({}), rule: &DESCRIPTION },
    ]
}

/// The characters to test: all code points, or every edge of a Unicode category and a sample of the others.
fn characters(cases: Cases, random: &mut Random) -> Vec<char> {
    let mut characters = EDGES.clone();
    match cases {
        Cases::All => characters = ('\0'..=char::MAX).collect(),
        Cases::Some(_) => characters.extend((0..cases.percent(20)).map(|_| random.char())),
    }
    characters
}

#[tokio::test(flavor = "multi_thread")]
async fn cel_and_rust_agree_on_every_code_point() {
    let client = client().await;
    let cases = Cases::wanted();
    for field in fields() {
        let mut random = Random::of("code points");
        let (accepted, refused): (Vec<char>, Vec<char>) =
            characters(cases, &mut random).into_iter().partition(|c| field.allows(*c));
        // One refused character makes the whole text invalid, so refused characters need one object each; there are too many to test all.
        let edges: Vec<char> = refused.iter().copied().filter(|c| EDGES.binary_search(c).is_ok()).collect();
        let sample: Vec<char> = (0..cases.percent(1)).map(|_| random.pick(&refused)).collect();
        let alone: Vec<Value> = edges.iter().chain(&sample).map(|c| field.object(&[*c])).collect();
        let packed = accepted.chunks(PACKED).map(|chunk| field.object(chunk)).collect::<Vec<Value>>();
        let (in_packs, disagreements) = disagreements(&client, Agreement::Exact, packed).await;
        // A pack that disagrees does not show which character caused it, so test each of its characters alone.
        let suspects: Vec<Value> =
            disagreements.iter().flat_map(|pack| text(pack, field.name)).map(|c| field.object(&[c])).collect();
        let alone = compare(&client, Agreement::Exact, suspects.into_iter().chain(alone)).await;
        assert!(disagreements.is_empty(), "the characters disagree only in combination: {}", disagreements[0]);
        println!(
            "{} {}: {} characters in packs: {in_packs}; one by one: {alone}",
            field.name,
            field.spec["profile"],
            accepted.len()
        );
    }
}

fn text(disagreement: &Disagreement, field: &str) -> Vec<char> {
    disagreement.object["spec"][field].as_str().unwrap_or_default().chars().collect()
}
