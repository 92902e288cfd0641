//! All checks report the same error code and message of the profile for the same mistake: runs one list of mistakes through the crate's
//! own check, `lint`, the CEL rules of the CRD, the webhook and the controller. The explanation that follows is the same too, except
//! that the CEL rules have their own.

use std::{
    collections::BTreeMap,
    io::{Error, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::LazyLock,
};

use keypair_operator::{
    api::{KeyPair, translate},
    domain::request,
};
use keypair_test_harness::{Operator, eventually, free_port};
use serde_json::{Value, json};

use crate::{
    expected::{answer, reason},
    mistakes::{Mistake, mistakes},
    support::{BINARY, PATIENCE, QUIET, STRIPPED, Scene, Stage, condition, for_each_profile, stripped_crd, text},
};

/// A CRD without rules, so that every object reaches the webhook, and an operator that serves the webhook.
static ASKED: LazyLock<(Stage, Operator)> = LazyLock::new(|| {
    let stage = Stage::new(&stripped_crd());
    let address = format!("127.0.0.1:{}", free_port().unwrap());
    let url = format!("https://{address}/");
    // Use the admin kubeconfig: the operator registers its webhook itself, which needs more rights than the chart grants.
    let args = ["run", "--webhook-addr", &address, "--webhook-url", &url];
    let operator = Operator::spawn(Path::new(BINARY), stage.plane.kubeconfig(), args, [("RUST_LOG", "info")]).unwrap();
    (stage, operator)
});

/// The answer about one object.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    code: String,
    /// The cloud's message.
    message: String,
    /// The problems and their remedies, in the order of the answer.
    words: Vec<String>,
}

impl Told {
    /// The whole answer in one text: the cloud's message first, then all problems.
    fn as_one(&self) -> String {
        format!("{}. {}", self.message.trim_end_matches('.'), self.words.join("; "))
    }
}

/// The answer of the crate's own check.
fn by_the_check(object: Value) -> (Told, Vec<String>) {
    let mut object = object;
    let fields = object.as_object_mut().unwrap();
    fields.remove("apiVersion");
    fields.remove("kind");
    let key_pair: KeyPair = serde_json::from_value(object).unwrap();
    let parameters = translate::parameters(&key_pair);
    let refusals = request::check(&parameters).unwrap_err();
    let errors: Vec<_> = refusals.iter().map(|refusal| parameters.profile.error(refusal)).collect();
    let lines = refusals.iter().zip(&errors);
    let lines = lines.map(|(refusal, error)| format!("{}: {}", error.code, parameters.profile.explain(refusal)));
    let told = Told {
        code: errors[0].code.clone(),
        message: errors[0].message.clone(),
        words: refusals.iter().map(ToString::to_string).collect(),
    };
    (told, lines.collect())
}

/// The answers of `lint` for all objects in one file: the lines about each object, starting with the code.
fn by_lint(objects: &[Value]) -> BTreeMap<String, Vec<String>> {
    // JSON allows this character unescaped, YAML does not.
    let documents: Vec<String> = objects.iter().map(|object| object.to_string().replace('\u{7f}', "\\u007f")).collect();
    let mut process =
        Command::new(BINARY).args(["lint", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(documents.join("\n---\n").as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let (_, rest) = line.split_once("(KeyPair ").unwrap();
        let (name, words) = rest.split_once("): ").unwrap();
        told.entry(name.to_owned()).or_default().push(words.to_owned());
    }
    told
}

async fn by_the_webhook(scene: &Scene, mistake: &Mistake) -> (u16, String, String) {
    let error = scene.try_create(&mistake.name, &mistake.spec).await.err();
    let Some(kube::Error::Api(status)) = error else { panic!("admitted {}", mistake.spec) };
    let said = status.message.split_once(" denied the request: ").map(|(_, said)| said.to_owned());
    (
        status.code,
        status.reason.clone(),
        said.unwrap_or_else(|| panic!("the refusal is not from the webhook: {}", status.message)),
    )
}

/// Checks that a CEL rule reports the mistake, if CEL can detect it.
async fn by_cel(scene: &Scene, mistake: &Mistake, told: &Told) {
    if !mistake.at_admission {
        return;
    }
    let error = scene.try_create(&mistake.name, &mistake.spec).await.err();
    let Some(kube::Error::Api(status)) = error else { panic!("admitted {}", mistake.spec) };
    let words = format!("{}: {}. ", told.code, told.message.trim_end_matches('.'));
    assert!(status.message.contains(&words), "CEL does not report {words:?} for {}: {}", mistake.spec, status.message);
}

async fn same_words(profile: &'static str) {
    let (quiet, stripped) = (QUIET.scene("words-cel").await, STRIPPED.scene("words-controller").await);
    let asked = ASKED.0.scene("words-webhook").await;
    let mistakes = mistakes(profile);
    eventually(PATIENCE, "the webhook to be asked", async || {
        let error = asked.try_create("probe", &json!({ "keyPairName": "" })).await.err();
        let Some(kube::Error::Api(status)) = error else { return Err(Error::other("admitted").into()) };
        Ok((status.reason == "MissingParameter").then_some(()))
    })
    .await
    .unwrap();

    let objects: Vec<Value> = mistakes.iter().map(|mistake| quiet.manifest(&mistake.name, &mistake.spec)).collect();
    let mut by_lint = by_lint(&objects);
    for mistake in &mistakes {
        stripped.create(&mistake.name, &mistake.spec).await;
    }
    for (mistake, object) in mistakes.iter().zip(objects) {
        let (told, lines) = by_the_check(object);
        let what = format!("{profile} {}", mistake.spec);
        let (code, message, http_status) = answer(profile, mistake.fault);
        assert_eq!((told.code.as_str(), told.message.as_str()), (code, message), "the check: {what}");
        assert_eq!(by_lint.remove(&mistake.name), Some(lines), "lint: {what}");
        let webhook = by_the_webhook(&asked, mistake).await;
        assert_eq!(webhook, (http_status, code.to_owned(), told.as_one()), "the webhook: {what}");
        by_cel(&quiet, mistake, &told).await;

        let settled = stripped.settled(&mistake.name, &format!("False/{}", reason(mistake.fault))).await;
        let error = &settled["status"]["error"];
        assert_eq!((text(&error["code"]), text(&error["message"])), (code, message), "the controller: {what}");
        let ready = condition(&settled, "Ready");
        let words = told.words.join("; ");
        let shown = text(&ready["message"]);
        assert!(
            shown == words || shown.strip_suffix('…').is_some_and(|start| words.starts_with(start)),
            "{what}: {shown}"
        );
    }
    assert_eq!(by_lint, BTreeMap::new(), "lint reported other objects as well");
}

for_each_profile!(same_words);
