//! The requests for targets.

use http::header::ACCEPT;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Client, Resource,
    api::{DeleteParams, GetParams, PartialObjectMeta, Patch, PatchParams, PostParams, Preconditions},
    core::Request,
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use super::targets::{TargetName, TargetVersion};
use crate::{controller::METADATA_ONLY, domain::publication::TargetKind};

/// An object, as text: the client would log a response that it cannot parse, and that may be a foreign Secret.
pub type Text = Zeroizing<String>;

/// The requests for the target of this name.
#[derive(Clone, Copy)]
pub struct TargetRequests<'a> {
    /// The client.
    pub client: &'a Client,
    /// The namespace.
    pub namespace: &'a str,
    /// The target.
    pub target: &'a TargetName,
}

impl TargetRequests<'_> {
    fn request(&self) -> Request {
        Request::new(match self.target.kind {
            TargetKind::ConfigMap => ConfigMap::url_path(&(), Some(self.namespace)),
            TargetKind::Secret => Secret::url_path(&(), Some(self.namespace)),
        })
    }

    /// The object.
    pub async fn get(&self) -> kube::Result<Text> {
        let request = self.request().get(&self.target.name, &GetParams::default());
        let text = self.client.request_text(request.map_err(kube::Error::BuildRequest)?).await?;
        Ok(Zeroizing::new(text))
    }

    /// Its metadata, without the data: it may be foreign.
    pub async fn get_metadata(&self) -> kube::Result<PartialObjectMeta> {
        let request = self.request().get(&self.target.name, &GetParams::default());
        let mut request = request.map_err(kube::Error::BuildRequest)?;
        request.headers_mut().insert(ACCEPT, METADATA_ONLY);
        self.client.request(request).await
    }

    /// Creates the object.
    pub async fn create(&self, object: &Value) -> kube::Result<Text> {
        let request = self.request().create(&PostParams::default(), object.to_string().into_bytes());
        let text = self.client.request_text(request.map_err(kube::Error::BuildRequest)?).await?;
        Ok(Zeroizing::new(text))
    }

    /// Applies a merge patch to the object, if it still has the UID and version in the patch.
    pub async fn patch(&self, patch: &Value) -> kube::Result<Text> {
        let request = self.request().patch(&self.target.name, &PatchParams::default(), &Patch::Merge(patch));
        let text = self.client.request_text(request.map_err(kube::Error::BuildRequest)?).await?;
        Ok(Zeroizing::new(text))
    }

    /// Deletes the object, if it still has this version.
    pub async fn delete(&self, version: &TargetVersion) -> kube::Result<()> {
        let TargetVersion { uid, version } = version.clone();
        let preconditions = Preconditions { resource_version: Some(version), uid: Some(uid) };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let request = self.request().delete(&self.target.name, &parameters).map_err(kube::Error::BuildRequest);
        let mut request = request?;
        request.headers_mut().insert(ACCEPT, METADATA_ONLY);
        self.client.request_text(request).await.map(drop)
    }
}

/// An object in a response.
pub fn parse<T: DeserializeOwned>(text: &Text) -> Option<T> {
    serde_json::from_str(text).ok()
}
