//! Writes: create, replace and patch.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    admission::{self, Question},
    built_in, custom,
    failure::{Failure, Mistake},
    metadata, object,
    read::parse_version,
    request::{ApiRequest, Content, json},
    resource::Resource,
    state::State,
};

/// The written object, and whether it is new.
pub(super) struct Written {
    pub object: Arc<Value>,
    pub is_new: bool,
}

/// Carries out one write of a user.
pub(super) struct Writer<'a> {
    pub state: &'a mut State,
    pub user: &'a str,
    pub request: &'a ApiRequest,
}

pub(super) fn create(state: &mut State, user: &str, request: &ApiRequest, body: &[u8]) -> Result<Written, Failure> {
    let mut new = json(body)?;
    identify(request, &mut new)?;
    Writer { state, user, request }.create(new)
}

pub(super) fn replace(state: &mut State, user: &str, request: &ApiRequest, body: &[u8]) -> Result<Written, Failure> {
    let mut new = json(body)?;
    identify(request, &mut new)?;
    Writer { state, user, request }.update(new)
}

pub(super) fn patch(state: &mut State, user: &str, request: &ApiRequest, body: &[u8]) -> Result<Written, Failure> {
    if request.content != Content::MergePatch {
        let words = "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml, application/apply-patch+cbor";
        return Err(Failure::new(415, "UnsupportedMediaType", words));
    }
    let patch = json(body)?;
    let there = state.get(request.resource, &request.namespace, &request.name);
    let there = there.ok_or_else(|| Failure::not_found(request.resource, &request.name))?;
    let mut new = Value::clone(&there);
    object::merge(&mut new, &patch);
    identify(request, &mut new)?;
    Writer { state, user, request }.update(new)
}

/// Checks that an object matches the URL, and reads it as its kind.
fn identify(request: &ApiRequest, new: &mut Value) -> Result<(), Failure> {
    let resource = request.resource;
    if !new.is_object() {
        return Err(Failure::bad_request("the object provided is unrecognized"));
    }
    for (field, wanted) in [("apiVersion", resource.api_version()), ("kind", resource.kind.to_owned())] {
        let given = object::text(new, &format!("/{field}"));
        let is_missing = given.is_empty() && resource.is_custom;
        if is_missing || !given.is_empty() && given != wanted {
            let words =
                format!("the object provided is unrecognized (must be of type {}): {field} {given}", resource.kind);
            return Err(Failure::bad_request(words));
        }
        object::set_entry(new, &[], field, json!(wanted));
    }
    metadata::normalize(new)?;
    if resource.is_custom {
        custom::normalize(resource, new);
    } else {
        built_in::normalize(resource, new)?;
    }
    let namespace = object::text(new, "/metadata/namespace").to_owned();
    if !namespace.is_empty() && namespace != request.namespace {
        let words = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Failure::bad_request(words));
    }
    if resource.is_namespaced {
        object::set_metadata(new, "namespace", json!(request.namespace));
    }
    let name = object::name(new);
    if !request.name.is_empty() && !name.is_empty() && name != request.name {
        let words = format!("the name of the object ({name}) does not match the name on the URL ({})", request.name);
        return Err(Failure::bad_request(words));
    }
    if !request.name.is_empty() && name.is_empty() {
        let words =
            format!("the name of the object ({} based on URL) was undeterminable: name must be provided", request.name);
        return Err(Failure::bad_request(words));
    }
    Ok(())
}

impl Writer<'_> {
    fn resource(&self) -> &'static Resource {
        self.request.resource
    }

    fn create(&mut self, mut new: Value) -> Result<Written, Failure> {
        let resource = self.resource();
        let prefix = object::text(&new, "/metadata/generateName").to_owned();
        if object::name(&new).is_empty() && !prefix.is_empty() {
            let name = format!("{prefix}{}", self.state.suffix());
            object::set_metadata(&mut new, "name", json!(name));
        }
        let name = object::name(&new).to_owned();
        self.namespace_takes(&name)?;
        self.admit(&mut new, &name, true)?;
        if name.is_empty() {
            let mistake = Mistake::required("metadata.name", "name or generateName is required");
            return Err(Failure::invalid(resource, "", &[mistake]));
        }
        if !object::text(&new, "/metadata/resourceVersion").is_empty() {
            return Err(Failure::new(500, "", "resourceVersion should not be set on objects to be created"));
        }
        for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
            object::remove_entry(&mut new, &["metadata"], field);
        }
        let uid = self.state.new_uid();
        object::set_metadata(&mut new, "uid", json!(uid));
        let created = self.state.timestamp();
        object::set_metadata(&mut new, "creationTimestamp", created);
        if resource.is_custom {
            object::set_metadata(&mut new, "generation", json!(1));
            object::remove_entry(&mut new, &[], "status");
            custom::normalize(resource, &mut new);
        } else {
            built_in::complete(resource, None, &mut new);
        }
        self.validate(None, &new, &name)?;
        if let Some(there) = self.state.get(resource, &self.request.namespace, &name) {
            let mut failure = Failure::already_exists(resource, &name);
            if object::is_deleting(&there) {
                failure.message.insert_str(0, "object is being deleted: ");
            }
            return Err(failure);
        }
        Ok(Written { object: self.store(&name, new), is_new: true })
    }

    fn update(&mut self, mut new: Value) -> Result<Written, Failure> {
        let (resource, name) = (self.resource(), self.request.name.clone());
        let there = self.state.get(resource, &self.request.namespace, &name);
        let wanted = (object::uid(&new).to_owned(), object::text(&new, "/metadata/resourceVersion").to_owned());
        let uid = there.as_ref().map(|there| object::uid(there).to_owned()).unwrap_or_default();
        if there.is_none() && !resource.creates_on_update {
            return Err(Failure::not_found(resource, &name));
        }
        let is_patch = self.request.method == http::Method::PATCH;
        if !is_patch && !wanted.0.is_empty() && wanted.0 != uid {
            return Err(Failure::other_uid(resource, &self.request.namespace, &name, &wanted.0, &uid));
        }
        let Some(there) = there else {
            object::remove_entry(&mut new, &["metadata"], "resourceVersion");
            return self.create(new);
        };
        if self.request.subresource == "status" {
            // Everything else stays unchanged.
            let mut whole = Value::clone(&there);
            match new.get("status") {
                Some(status) => object::set_entry(&mut whole, &[], "status", status.clone()),
                None => object::remove_entry(&mut whole, &[], "status"),
            }
            new = whole;
            if resource.is_custom {
                custom::normalize(resource, &mut new);
            }
        } else if let Some(status) = there.get("status") {
            object::set_entry(&mut new, &[], "status", status.clone());
        } else {
            object::remove_entry(&mut new, &[], "status");
        }
        self.admit(&mut new, &name, false)?;
        if wanted.1.is_empty() {
            // Built-in kinds can be replaced without a version; custom resources and Leases cannot.
            if resource.is_custom || resource.plural == "leases" {
                return Err(Failure::unversioned(resource, &name));
            }
        } else if parse_version(&wanted.1)?.to_string() != object::text(&there, "/metadata/resourceVersion") {
            return Err(Failure::modified(resource, &name));
        }
        let given = object::uid(&new).to_owned();
        metadata::keep(&there, &mut new);
        if !resource.is_custom {
            built_in::complete(resource, Some(&there), &mut new);
        }
        if is_patch && !given.is_empty() && given != uid {
            let mistake = Mistake::invalid("metadata.uid", &json!(given), "field is immutable");
            return Err(Failure::invalid(resource, &name, &[mistake]));
        }
        self.validate(Some(&there), &new, &name)?;
        if resource.is_custom && new.get("spec") != there.get("spec") {
            let generation = there.pointer("/metadata/generation").and_then(Value::as_u64).unwrap_or_default();
            object::set_metadata(&mut new, "generation", json!(generation + 1));
        }
        let version = json!(object::text(&there, "/metadata/resourceVersion"));
        object::set_metadata(&mut new, "resourceVersion", version);
        let key = (resource.plural, self.request.namespace.clone(), name.clone());
        let is_fresh = resource.is_custom && self.state.store.fresh.contains(&key);
        if new == *there && !is_fresh {
            return Ok(Written { object: there, is_new: false });
        }
        if object::is_deleting(&new) && object::finalizers(&new).next().is_none() && resource.plural != "namespaces" {
            // The last finalizer was removed.
            if !self.request.is_dry_run() {
                self.state.commit(key, self.user, None);
            }
            return Ok(Written { object: Arc::new(new), is_new: false });
        }
        Ok(Written { object: self.store(&name, new), is_new: false })
    }

    fn store(&mut self, name: &str, new: Value) -> Arc<Value> {
        if self.request.is_dry_run() {
            return Arc::new(new);
        }
        let key = (self.resource().plural, self.request.namespace.clone(), name.to_owned());
        self.state.commit(key, self.user, Some(new)).unwrap_or_default()
    }

    /// Checks that the namespace exists and is not being deleted.
    fn namespace_takes(&self, written: &str) -> Result<(), Failure> {
        let (resource, name) = (self.resource(), &self.request.namespace);
        if !resource.is_namespaced {
            return Ok(());
        }
        let namespaces = Resource::named("namespaces").unwrap_or(resource);
        let Some(namespace) = self.state.get(namespaces, "", name) else {
            return Err(Failure::not_found(namespaces, name));
        };
        if object::is_deleting(&namespace) {
            let words = format!("unable to create new content in namespace {name} because it is being terminated");
            let told = format!("namespace {name} is being terminated");
            return Err(Failure::forbidden(resource, written, &words).cause(
                "NamespaceTerminating",
                &told,
                "metadata.namespace",
            ));
        }
        Ok(())
    }

    fn admit(&self, new: &mut Value, name: &str, is_create: bool) -> Result<(), Failure> {
        let question = Question {
            resource: self.resource().plural,
            user: self.user,
            namespace: &self.request.namespace,
            name,
            is_create,
            present: self.state.of(self.resource(), self.request.scope()).count(),
        };
        admission::admit(&self.state.rules, &question, new)
    }

    fn validate(&self, before: Option<&Value>, after: &Value, name: &str) -> Result<(), Failure> {
        let resource = self.resource();
        let mut found = metadata::mistakes(resource, after);
        found.extend(before.map(|before| metadata::change_mistakes(before, after)).unwrap_or_default());
        if resource.is_custom {
            let rules = custom::mistakes(resource, before, after, &found);
            // The status is decoded on its own, so the paths in its errors start there.
            let is_status = self.request.subresource == "status";
            found.extend(rules.into_iter().map(|mistake| if is_status { mistake.within("status") } else { mistake }));
        } else {
            found.extend(built_in::mistakes(resource, before, after));
        }
        if found.is_empty() { Ok(()) } else { Err(Failure::invalid(resource, name, &found)) }
    }
}
