//! Reads: single objects, lists in pages, and the start of watches.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Server,
    failure::{Failure, Mistake},
    object,
    request::ApiRequest,
    selector::Selection,
    service::Reply,
    state::{State, within},
    watch::{Beginning, Stream, bookmark, line},
};

/// How long the server waits for a version that does not exist yet.
pub(super) const FRESHNESS_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) fn get(state: &State, request: &ApiRequest) -> Result<Value, Failure> {
    let found = state.get(request.resource, &request.namespace, &request.name);
    let found = found.ok_or_else(|| Failure::not_found(request.resource, &request.name))?;
    Ok(request.representation.of(request.resource, &found))
}

fn selection(request: &ApiRequest) -> Result<Selection, Failure> {
    let mut selection = Selection { namespace: request.scope().map(str::to_owned), ..Selection::default() };
    selection.set_fields(request.parameter("fieldSelector"), request.resource)?;
    selection.set_labels(request.parameter("labelSelector"))?;
    Ok(selection)
}

/// The version that a request names; `None` if it names none, or accepts any.
fn named_version(request: &ApiRequest) -> Result<Option<u64>, Failure> {
    match request.parameter("resourceVersion") {
        "" | "0" => Ok(None),
        text => parse_version(text).map(Some).map_err(|failure| {
            let message = format!("resourceVersion: Invalid value: \"{text}\": {}", failure.message);
            if request.flag("watch") {
                return Failure::new(500, "", message);
            }
            Failure::bad_request(format!("invalid resource version: {message}"))
        }),
    }
}

/// Parses a version that a client sends.
pub(super) fn parse_version(text: &str) -> Result<u64, Failure> {
    let words = || format!("strconv.ParseUint: parsing \"{text}\": invalid syntax");
    text.parse().map_err(|_| Failure::new(500, "", words()))
}

/// Checks the options of a list or a watch that depend on each other.
fn check_options(request: &ApiRequest, streams_lists: bool) -> Result<(), Failure> {
    const MATCH: &str = "resourceVersionMatch";
    const SEND: &str = "sendInitialEvents";
    let (rule, version) = (request.parameter(MATCH), request.parameter("resourceVersion"));
    let (sends, continues) = (!request.parameter(SEND).is_empty(), !request.parameter("continue").is_empty());
    let mut found = Vec::new();
    let mut forbid = |is_broken: bool, field: &'static str, words: &str| {
        if is_broken {
            found.push(Mistake::forbidden(field, words));
        }
    };
    let names = if request.flag("watch") {
        const OLDER: &str = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        const UNKNOWN: &str = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";
        const ALONE: &str = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        forbid(sends && rule != "NotOlderThan", MATCH, OLDER);
        forbid(sends && !streams_lists, SEND, UNKNOWN);
        forbid(!sends && !rule.is_empty(), MATCH, ALONE);
        &["NotOlderThan"][..]
    } else {
        const UNVERSIONED: &str = "resourceVersionMatch is forbidden unless resourceVersion is provided";
        const ANY: &str = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
        forbid(!rule.is_empty() && version.is_empty(), MATCH, UNVERSIONED);
        forbid(rule == "Exact" && version == "0", MATCH, ANY);
        forbid(sends, SEND, "sendInitialEvents is forbidden for list");
        &["Exact", "NotOlderThan", ""][..]
    };
    let is_late = continues && !rule.is_empty();
    forbid(is_late, MATCH, "resourceVersionMatch is forbidden when continue is provided");
    if !rule.is_empty() && !names.contains(&rule) {
        let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
        let words = format!("Unsupported value: \"{rule}\": supported values: {}", names.join(", "));
        found.push(Mistake { reason: "FieldValueNotSupported", field: MATCH.to_owned(), words });
    }
    if found.is_empty() { Ok(()) } else { Err(Failure::invalid_options(&found)) }
}

/// The error for a version that does not exist yet.
fn too_large(state: &State, version: u64) -> Failure {
    let words = format!("Too large resource version: {version}, current: {}", state.store.version);
    Failure::new(504, "Timeout", format!("Timeout: {words}"))
        .cause("ResourceVersionTooLarge", "Too large resource version", "")
        .retry_after(1)
}

fn expired(state: &State, version: u64) -> Failure {
    let oldest = state.store.compacted.max(state.begun);
    Failure::new(410, "Expired", format!("too old resource version: {version} ({oldest})"))
}

/// Returns a list, or one page of it.
pub(super) fn list(state: &State, request: &ApiRequest) -> Result<Value, Failure> {
    check_options(request, state.streams_lists)?;
    let selection = selection(request)?;
    let token = request.parameter("continue");
    let named = named_version(request)?;
    // With `resourceVersion=0`, the API server lists from its cache, without pages.
    let any = request.parameter("resourceVersion") == "0";
    if !token.is_empty() && named.is_some() {
        return Err(Failure::bad_request("specifying resource version is not allowed when using continue"));
    }
    let (version, start) = if token.is_empty() {
        let version = named.unwrap_or(state.store.version);
        if version > state.store.version {
            return Err(too_large(state, version));
        }
        // A page of a list at a version has exactly that version; otherwise, any version that is not older will do.
        let exact = request.parameter("resourceVersionMatch") == "Exact"
            || named.is_some()
                && request.parameter("resourceVersionMatch").is_empty()
                && request.number("limit").is_some();
        (if exact { version } else { state.store.version }, None)
    } else {
        let (version, start) = read_token(token)
            .ok_or_else(|| Failure::bad_request("invalid continue token: continue key is not valid"))?;
        (version, Some((request.resource.plural, start.0, start.1)))
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
    let limit =
        request.number("limit").filter(|limit| *limit > 0 && !any).and_then(|limit| usize::try_from(limit).ok());
    let mut there = within(objects, request.resource, request.scope())
        .filter(|(key, _)| start.as_ref().is_none_or(|start| *key > start))
        .peekable();
    let mut matching: Vec<&Value> = Vec::new();
    let mut metadata = json!({ "resourceVersion": version.to_string() });
    while let Some(((_, namespace, name), object)) = there.next() {
        if selection.allows(object) {
            matching.push(object);
        }
        // A full page does not check whether the selector matches any of the remaining objects.
        if limit.is_some_and(|limit| matching.len() >= limit) && there.peek().is_some() {
            let token = json!(write_token(version, namespace, name));
            object::set_entry(&mut metadata, &[], "continue", token);
            if !selection.is_narrow() {
                let remaining = json!(there.count());
                object::set_entry(&mut metadata, &[], "remainingItemCount", remaining);
            }
            break;
        }
    }
    let items = matching.iter().map(|object| request.representation.in_list(request.resource, object)).collect();
    Ok(request.representation.list(request.resource, metadata, items))
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

/// Starts a watch.
pub(super) fn watch(server: &Server, state: &mut State, user: &str, request: &ApiRequest) -> Result<Reply, Failure> {
    check_options(request, state.streams_lists)?;
    let mut selection = selection(request)?;
    if !request.name.is_empty() {
        selection.fields.push(("/metadata/name", request.name.clone(), true));
    }
    let now = state.store.version;
    let named = named_version(request)?;
    let streams = request.flag("sendInitialEvents");
    let whole = match (named, request.parameter("sendInitialEvents")) {
        (_, "") => named.is_none(),
        _ => streams,
    };
    let mut initial: Vec<Bytes> = Vec::new();
    let mut from = named.unwrap_or(now);
    let mut ends = false;
    if let Some(version) = named.filter(|version| streams && *version > now) {
        initial.push(line("ERROR", &too_large(state, version).to_value()));
        ends = true;
    } else if whole {
        let there = state.of(request.resource, request.scope()).filter(|(_, object)| selection.allows(object));
        initial.extend(there.map(|(_, object)| line("ADDED", &request.representation.of(request.resource, object))));
        from = now;
    } else if from < state.store.compacted.max(state.begun) {
        // The connection is already open when the server notices this.
        initial.push(line("ERROR", &expired(state, from).to_value()));
        ends = true;
    }
    let bookmarks = request.flag("allowWatchBookmarks");
    if whole && bookmarks && !ends {
        initial.push(bookmark(request.resource, request.representation, now, true));
    }
    let timeout = request.number("timeoutSeconds").filter(|seconds| *seconds > 0).map(Duration::from_secs);
    let how = Beginning { selection, representation: request.representation, from, initial, bookmarks, timeout, ends };
    Ok(Reply::Watch(Box::new(Stream::begin(server, state, user, request.resource, how))))
}
