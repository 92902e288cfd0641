//! Reading: one object, lists in pages, and how watches begin.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Server,
    failure::Failure,
    object,
    request::Asked,
    selector::Selection,
    service::Reply,
    state::{Key, State, within},
    watch::{Beginning, Stream, bookmark, line},
};

/// How long the server waits for a version that has not come.
pub(super) const FRESHNESS_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) fn get(state: &State, asked: &Asked) -> Result<Value, Failure> {
    let found = state.get(asked.resource, &asked.namespace, &asked.name);
    let found = found.ok_or_else(|| Failure::not_found(asked.resource, &asked.name))?;
    Ok(asked.view.of(asked.resource, &found))
}

fn selection(asked: &Asked) -> Result<Selection, Failure> {
    let mut selection = Selection { namespace: asked.scope().map(str::to_owned), ..Selection::default() };
    selection.set_fields(asked.parameter("fieldSelector"), asked.resource)?;
    selection.set_labels(asked.parameter("labelSelector"))?;
    Ok(selection)
}

/// The version that a request names; `None`: none, or any.
fn named_version(asked: &Asked) -> Result<Option<u64>, Failure> {
    match asked.parameter("resourceVersion") {
        "" | "0" => Ok(None),
        text => {
            let words = format!("Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax");
            text.parse().map(Some).map_err(|_| Failure::new(400, "BadRequest", format!("resourceVersion: {words}")))
        }
    }
}

fn invalid_options(asked: &Asked, field: &str, words: &str) -> Failure {
    let resource = asked.resource;
    let message = format!("ListOptions.meta.k8s.io \"\" is invalid: {field}: {words}");
    let reason = if words.starts_with("Forbidden") { "FieldValueForbidden" } else { "FieldValueInvalid" };
    let _ = resource;
    Failure::new(422, "Invalid", message).about("ListOptions", "meta.k8s.io", "").cause(reason, words, field)
}

fn check_match(asked: &Asked) -> Result<(), Failure> {
    let (rule, version) = (asked.parameter("resourceVersionMatch"), asked.parameter("resourceVersion"));
    let streams = asked.flag("sendInitialEvents");
    let field = "resourceVersionMatch";
    if rule.is_empty() {
        if asked.parameter("sendInitialEvents").is_empty() {
            return Ok(());
        }
        let words = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        return Err(invalid_options(asked, field, words));
    }
    if asked.flag("watch") && asked.parameter("sendInitialEvents").is_empty() {
        let words = "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        return Err(invalid_options(asked, field, words));
    }
    if version.is_empty() && !streams {
        let words = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided";
        return Err(invalid_options(asked, field, words));
    }
    if !asked.parameter("continue").is_empty() {
        let words = "Forbidden: resourceVersionMatch is forbidden when continue is provided";
        return Err(invalid_options(asked, field, words));
    }
    if rule != "Exact" && rule != "NotOlderThan" {
        let words = format!("Unsupported value: \"{rule}\": supported values: \"Exact\", \"NotOlderThan\"");
        return Err(invalid_options(asked, field, &words));
    }
    if rule == "Exact" && version == "0" {
        let words = "Forbidden: resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"";
        return Err(invalid_options(asked, field, words));
    }
    Ok(())
}

/// What is answered about a version that is not there yet.
fn too_large(state: &State, version: u64) -> Failure {
    let words = format!("Too large resource version: {version}, current: {}", state.store.version);
    Failure::new(504, "Timeout", format!("Timeout: {words}"))
        .cause("ResourceVersionTooLarge", "Too large resource version", "")
        .retry_after(1)
}

fn expired(state: &State, version: u64) -> Failure {
    let oldest = state.store.compacted;
    Failure::new(410, "Expired", format!("too old resource version: {version} ({oldest})"))
}

/// A list, or a page of one.
pub(super) fn list(state: &State, asked: &Asked) -> Result<Value, Failure> {
    check_match(asked)?;
    let selection = selection(asked)?;
    let token = asked.parameter("continue");
    let named = named_version(asked)?;
    // The newest state that is at hand has no pages.
    let any = asked.parameter("resourceVersion") == "0";
    if !token.is_empty() && named.is_some() {
        return Err(Failure::bad_request("specifying resource version is not allowed when using continue"));
    }
    let (version, start) = if token.is_empty() {
        let version = named.unwrap_or(state.store.version);
        if version > state.store.version {
            return Err(too_large(state, version));
        }
        // A page of a list of a version is of that version; else whatever is not older will do.
        let exact = asked.parameter("resourceVersionMatch") == "Exact"
            || named.is_some() && asked.parameter("resourceVersionMatch").is_empty() && asked.number("limit").is_some();
        (if exact { version } else { state.store.version }, None)
    } else {
        let (version, start) = read_token(token)
            .ok_or_else(|| Failure::bad_request("invalid continue token: continue key is not valid"))?;
        (version, Some((asked.resource.plural, start.0, start.1)))
    };
    if version < state.store.compacted {
        if start.is_some() {
            const WORDS: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
            return Err(Failure::new(410, "Expired", WORDS));
        }
        return Err(Failure::new(410, "Expired", "The resourceVersion for the provided list is too old."));
    }
    let old = (version < state.store.version).then(|| state.at(version));
    let objects = old.as_ref().unwrap_or(&state.store.objects);
    let matching: Vec<(&Key, &std::sync::Arc<Value>)> = within(objects, asked.resource, asked.scope())
        .filter(|(key, object)| start.as_ref().is_none_or(|start| *key > start) && selection.allows(object))
        .collect();
    let limit = asked.number("limit").filter(|limit| *limit > 0 && !any).and_then(|limit| usize::try_from(limit).ok());
    let shown = limit.unwrap_or(usize::MAX).min(matching.len());
    let mut metadata = json!({ "resourceVersion": version.to_string() });
    if let Some(((_, namespace, name), _)) = matching.get(shown.saturating_sub(1)).filter(|_| shown < matching.len()) {
        metadata["continue"] = json!(write_token(version, namespace, name));
        if !selection.is_narrow() {
            metadata["remainingItemCount"] = json!(matching.len() - shown);
        }
    }
    let items = matching.iter().take(shown).map(|(_, object)| asked.view.in_list(asked.resource, object)).collect();
    Ok(asked.view.list(asked.resource, metadata, items))
}

fn write_token(version: u64, namespace: &str, name: &str) -> String {
    let token = json!({ "v": "meta.k8s.io/v1", "rv": version, "start": format!("{namespace}/{name}") });
    Base64UrlUnpadded::encode_string(token.to_string().as_bytes())
}

fn read_token(token: &str) -> Option<(u64, (String, String))> {
    let bytes = Base64UrlUnpadded::decode_vec(token.trim_end_matches('=')).ok()?;
    let token: Value = serde_json::from_slice(&bytes).ok()?;
    let (namespace, name) = object::text(&token, "/start").split_once('/')?;
    Some((token.get("rv")?.as_u64()?, (namespace.to_owned(), name.to_owned())))
}

/// Begins a watch.
pub(super) fn watch(server: &Server, state: &mut State, user: &str, asked: &Asked) -> Result<Reply, Failure> {
    if !asked.parameter("sendInitialEvents").is_empty() && !state.streams_lists {
        let words = "Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
        return Err(invalid_options(asked, "sendInitialEvents", words));
    }
    check_match(asked)?;
    let mut selection = selection(asked)?;
    if !asked.name.is_empty() {
        selection.fields.push(("/metadata/name", asked.name.clone(), true));
    }
    let now = state.store.version;
    let named = named_version(asked)?;
    let streams = asked.flag("sendInitialEvents");
    let whole = match (named, asked.parameter("sendInitialEvents")) {
        (_, "") => named.is_none(),
        _ => streams,
    };
    if let Some(version) = named.filter(|version| streams && *version > now) {
        return Err(too_large(state, version));
    }
    let mut initial: Vec<Bytes> = Vec::new();
    let mut from = named.unwrap_or(now);
    let mut ends = false;
    if whole {
        let there = state.of(asked.resource, asked.scope()).filter(|(_, object)| selection.allows(object));
        initial.extend(there.map(|(_, object)| line("ADDED", &asked.view.of(asked.resource, object))));
        from = now;
    } else if from < state.store.compacted {
        // The connection is there already when that is found out.
        initial.push(line("ERROR", &expired(state, from).to_value()));
        ends = true;
    }
    let bookmarks = asked.flag("allowWatchBookmarks");
    if streams && bookmarks {
        initial.push(bookmark(asked.resource, asked.view, now, true));
    }
    let timeout = asked.number("timeoutSeconds").filter(|seconds| *seconds > 0).map(Duration::from_secs);
    let how = Beginning { selection, view: asked.view, from, initial, bookmarks, timeout, ends };
    Ok(Reply::Watch(Box::new(Stream::begin(server, state, user, asked.resource, how))))
}
