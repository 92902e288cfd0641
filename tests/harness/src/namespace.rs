//! Separate namespaces for tests.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ObjectMeta, PostParams};
use kube::{Client, ResourceExt as _};

/// The label, name and value, of each namespace that [`namespace`] creates.
///
/// Namespaces disappear with the control plane that was started for a test. On an external cluster they remain for
/// inspection; `kubectl delete namespace -l` with this label removes them.
pub const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "keypair-test-harness");

/// Creates a namespace whose name begins with `prefix` and is unique, and returns the name.
///
/// # Errors
///
/// If the API server refuses it, or cannot be reached.
pub async fn namespace(client: &Client, prefix: &str) -> Result<String> {
    let (label, value) = MANAGED_BY;
    let wanted = Namespace {
        metadata: ObjectMeta {
            generate_name: Some(format!("{prefix}-")),
            labels: Some([(label.to_owned(), value.to_owned())].into()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    let made = Api::all(client.clone())
        .create(&PostParams::default(), &wanted)
        .await
        .with_context(|| format!("create a namespace {prefix}-…"))?;
    Ok(made.name_any())
}
