//! Every error of every profile, through the API server.
//!
//! The expected errors are written by hand ([`expected`](crate::expected)). `make docs` writes the responses into
//! `docs/conformance.md`; otherwise the test compares them with that file.

use std::{fmt::Write as _, fs, path::Path};

use http::Method;
use keypair_test_harness::{eventually, namespace};
use serde_json::{Value, json};

use crate::{
    expected,
    stage::{Answer, PATIENCE, Stage, ready},
};

const KEY: &str = include_str!("../vectors/public/rsa2048.pub");
const OTHER_PRIVATE_KEY: &str = include_str!("../vectors/private/plain/rsa3070.pkcs8");

/// A request, and the response to it.
struct Row {
    fault: &'static str,
    request: &'static str,
    answered: &'static str,
    status: u64,
    code: String,
    message: String,
}

/// The namespaces of one profile, with the objects that errors depend on.
struct Scene<'a> {
    stage: &'a Stage,
    profile: &'static str,
    /// A region with one accepted pair, one that waits for its Secret, and no project but `shop`.
    region: String,
    /// A region with a full quota.
    full: String,
    /// A namespace that is not a region.
    elsewhere: String,
    rows: Vec<Row>,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_profile_reports_every_error() {
    let stage = Stage::new("conformance").await;
    let _operator = stage.operator(&["--region-selector=keypairs.dev/region!=no"]).await;
    let mut tables = String::new();
    for profile in *expected::PROFILES {
        let rows = Scene::new(&stage, profile).await.play().await;
        write!(tables, "\n### {profile}\n\n").unwrap();
        writeln!(tables, "| reason | request | answered | HTTP | code | message |\n|---|---|---|---|---|---|").unwrap();
        for Row { fault, request, answered, status, code, message } in rows {
            let reason = expected::reason(fault);
            let message = message.replace('|', "\\|");
            writeln!(tables, "| `{reason}` | {request} | {answered} | {status} | `{code}` | {message} |").unwrap();
        }
    }
    compare(&tables);
}

/// Compares the responses with the documentation, or writes them there.
fn compare(tables: &str) {
    const BEGIN: &str = "<!-- generated: answers -->\n";
    const END: &str = "\n<!-- end -->";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/conformance.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let now = format!("{before}{BEGIN}{tables}{END}{after}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, now).unwrap();
    } else {
        assert!(text == now, "docs/conformance.md is outdated: run `make docs`. The responses are:\n{tables}");
    }
}

impl<'a> Scene<'a> {
    async fn new(stage: &'a Stage, profile: &'static str) -> Self {
        let topic = profile.to_lowercase();
        let space = async |annotations: Value, label: &str| {
            let name = namespace(&stage.client, &topic).await.unwrap();
            let metadata = json!({ "annotations": annotations, "labels": { "keypairs.dev/region": label } });
            let path = format!("/api/v1/namespaces/{name}");
            let change = json!({ "metadata": metadata });
            stage.send(Method::PATCH, &path, "application/merge-patch+json", &change).await.admitted();
            name
        };
        let projects = json!({ "keypairs.dev/projects": "shop", "keypairs.dev/default-project": "shop" });
        let (region, full) = (space(projects, "yes").await, space(json!({ "keypairs.dev/quota": "1" }), "yes").await);
        let elsewhere = space(json!({}), "no").await;
        let scene = Self { stage, profile, region, full, elsewhere, rows: Vec::new() };
        for namespace in [&scene.region, &scene.full] {
            let mut owner = scene.import();
            owner["keyPairName"] = json!("taken");
            owner["clientToken"] = json!("token-1");
            stage.create(namespace, "owner", &owner, false).await.admitted();
            stage.settled(namespace, "owner", "Imported").await;
        }
        scene.secret("in-the-way", "").await;
        let waiting = json!({ "profile": profile, "secret": { "name": "in-the-way" }, "clientToken": "token-2" });
        stage.create(&scene.region, "waiting", &waiting, false).await.admitted();
        stage.settled(&scene.region, "waiting", "SecretConflict").await;
        scene
    }

    async fn play(mut self) -> Vec<Row> {
        self.of_the_request().await;
        self.of_the_namespace().await;
        self.of_the_secret().await;
        self.rows
    }

    /// A valid import.
    fn import(&self) -> Value {
        json!({ "profile": self.profile, "publicKey": KEY.trim() })
    }

    /// Creates a Secret of another owner, with this query string.
    async fn secret(&self, name: &str, query: &str) -> Answer {
        let path = format!("/api/v1/namespaces/{}/secrets{query}", self.region);
        let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name } });
        self.stage.send(Method::POST, &path, "application/json", &secret).await
    }

    /// Errors that depend only on the request.
    async fn of_the_request(&mut self) {
        let name = if self.profile == "Alibaba" { "1st" } else { "a b" };
        let cut = KEY.split_at(40).0.to_owned();
        let mistakes = [
            ("MissingParameter/KeyPairName", "`keyPairName` empty", json!({ "keyPairName": "" })),
            ("MissingParameter/PublicKey", "`publicKey` empty", json!({ "publicKey": " \n" })),
            ("InvalidKeyPairName", "`keyPairName` malformed", json!({ "keyPairName": name })),
            ("InvalidPublicKey", "`publicKey` no key", json!({ "publicKey": "hello" })),
            ("InvalidPublicKey", "`publicKey` cut short", json!({ "publicKey": cut })),
            ("InvalidPublicKey", "`publicKey` and `generate`", json!({ "generate": {} })),
            ("InvalidDescription", "`description` malformed", json!({ "description": "1 digit" })),
            ("InvalidTag/Key", "a tag's `key` malformed", json!({ "tags": [{ "key": "acs:x" }] })),
            ("InvalidTag/Value", "a tag's `value` malformed", json!({ "tags": [{ "key": "k", "value": "acs:x" }] })),
            ("InvalidClientToken", "`clientToken` not ASCII", json!({ "clientToken": "密钥" })),
            ("InvalidSecret", "`secret.name` malformed", json!({ "publicKey": null, "secret": { "name": "A_b" } })),
            ("InvalidRotation", "`rotation` of an import", json!({ "rotation": {} })),
            (
                "InvalidRotation",
                "`rotation.every` shorter than `publishBefore`",
                json!({ "publicKey": null, "rotation": { "every": "1h" } }),
            ),
        ];
        for (fault, request, changes) in mistakes {
            let mut spec = self.import();
            for (field, value) in changes.as_object().unwrap() {
                spec[field] = value.clone();
            }
            let spec: Value =
                spec.as_object().unwrap().clone().into_iter().filter(|(_, value)| !value.is_null()).collect();
            let region = self.region.clone();
            self.refused(fault, request, &region, &spec).await;
        }
    }

    /// Errors that depend on other objects.
    async fn of_the_namespace(&mut self) {
        let (region, full, elsewhere) = (self.region.clone(), self.full.clone(), self.elsewhere.clone());
        let with = |field: &str, value: &str| {
            let mut spec = self.import();
            spec[field] = json!(value);
            spec
        };
        let taken = with("keyPairName", "taken");
        let project = with("project", "other");
        let mut mismatch = with("clientToken", "token-1");
        mismatch["description"] = json!("another request");
        let mut processing = json!({ "profile": self.profile, "clientToken": "token-2" });
        processing["secret"] = json!({ "name": "in-the-way" });
        let import = self.import();
        self.refused("KeyPairNameConflict", "`keyPairName` of another pair", &region, &taken).await;
        self.refused("QuotaExceeded", "one more than the quota", &full, &import).await;
        self.refused("RegionNotFound", "in a namespace that is no region", &elsewhere, &import).await;
        self.refused("ProjectNotFound", "`project` not listed", &region, &project).await;
        self.refused("IdempotentParameterMismatch", "`clientToken` of another request", &region, &mismatch).await;
        self.refused("IdempotentProcessing", "`clientToken` of a pair that waits", &region, &processing).await;
    }

    /// Errors that only the controller can detect.
    async fn of_the_secret(&mut self) {
        let region = self.region.clone();
        self.reported("SecretConflict", "a Secret of that name is there", "waiting").await;
        let generated = json!({ "profile": self.profile });
        for name in ["lost", "changed"] {
            self.stage.create(&region, name, &generated, false).await.admitted();
            self.stage.settled(&region, name, "Generated").await;
        }
        let path = |name: &str| format!("/api/v1/namespaces/{region}/secrets/{name}");
        self.stage.send(Method::DELETE, &path("lost"), "application/json", &json!({})).await.admitted();
        self.reported("PrivateKeyLost", "the Secret is deleted", "lost").await;
        let change = json!({ "stringData": { "ssh-privatekey": OTHER_PRIVATE_KEY } });
        self.stage.send(Method::PATCH, &path("changed"), "application/merge-patch+json", &change).await.admitted();
        self.reported("PrivateKeyMismatch", "the private key is changed", "changed").await;

        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "none" },
            "spec": { "hard": { "secrets": "0" } },
        });
        let quotas = format!("/api/v1/namespaces/{region}/resourcequotas");
        self.stage.send(Method::POST, &quotas, "application/json", &quota).await.admitted();
        // In a dry run, because a Secret that is admitted before the quota is in force would count, and the response
        // contains the number.
        eventually(PATIENCE, "the ResourceQuota to be in force", async || {
            Ok((self.secret("one-more", "?dryRun=All").await.status == 403).then_some(()))
        })
        .await
        .unwrap();
        self.stage.create(&region, "forbidden", &generated, false).await.admitted();
        self.reported("InternalError", "the Secret is forbidden (a ResourceQuota)", "forbidden").await;
    }

    /// Asserts a refusal at admission, with the HTTP status, the code and the message of the document.
    async fn refused(&mut self, fault: &'static str, request: &'static str, namespace: &str, spec: &Value) {
        let answer = self.stage.create(namespace, "refused", spec, false).await;
        let (code, message, status) = expected::answer(self.profile, fault);
        let name = format!("{} {fault} {request}: {}", self.profile, answer.body);
        assert_eq!((answer.status, answer.text("reason")), (status, code), "{name}");
        assert_eq!(answer.body["code"], status, "{name}");
        let advice = answer.said().strip_prefix(message.trim_end_matches('.')).unwrap_or_else(|| panic!("{name}"));
        assert!(advice.len() > 20 && advice.starts_with(". "), "{name}");
        let row = Row {
            fault,
            request,
            answered: "at admission",
            status: answer.status.into(),
            code: answer.text("reason").to_owned(),
            message: answer.said().to_owned(),
        };
        self.rows.push(row);
    }

    /// Asserts an error in the status.
    async fn reported(&mut self, fault: &'static str, request: &'static str, name: &str) {
        let object = self.stage.settled(&self.region, name, fault).await;
        let error = &object["status"]["error"];
        let code = expected::internal_error_code(self.profile);
        assert_eq!((&error["code"], &error["httpStatus"]), (&json!(code), &json!(500)), "{error}");
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with("An internal error has occurred. "), "{message}");
        assert_eq!(ready(&object)["status"], "False");
        let row = Row {
            fault,
            request,
            answered: "in the status",
            status: error["httpStatus"].as_u64().unwrap(),
            code: code.to_owned(),
            message: message.to_owned(),
        };
        self.rows.push(row);
    }
}
