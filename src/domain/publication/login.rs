//! The options of a line of an `authorized_keys` file (sshd(8)).
//!
//! sshd reads an option's value up to the next quotation mark that no backslash precedes, and takes away only the backslashes before
//! quotation marks. So every text can be quoted, except one that ends with a backslash, and a list is separated by commas inside the quotes.

use core::net::{IpAddr, Ipv6Addr};
use std::fmt::Write as _;

use jiff::{
    SignedDuration,
    civil::{DateTime, date},
};

use super::{
    KeyOptions,
    bounds::{
        COMMAND, ENVIRONMENT_NAME, ENVIRONMENT_VALUE, EXPIRY_TIME, FROM, MAX_ELEMENTS, PERMIT_LISTEN, PERMIT_OPEN,
        PRINCIPAL, TUNNEL,
    },
    hosts::{is_numeric, is_port},
};
use crate::domain::text_rule::TextRule;

/// The fields below `options` that are invalid, each with what is wrong.
pub(super) fn mistakes(options: &KeyOptions) -> Vec<(String, String)> {
    let mut mistakes = Vec::new();
    let mut list = |field: &str, elements: &[String], rule: &TextRule, check: &dyn Fn(&str) -> Option<&'static str>| {
        if elements.len() > MAX_ELEMENTS {
            mistakes.push((field.to_owned(), format!("at most {MAX_ELEMENTS} elements are allowed")));
        }
        for (index, element) in elements.iter().enumerate().take(MAX_ELEMENTS) {
            let field = format!("{field}[{index}]");
            if !rule.allows(element) {
                mistakes.push((field, format!("must be {}", rule.words)));
            } else if let Some(detail) = check(element) {
                mistakes.push((field, detail.to_owned()));
            }
        }
    };
    list("from", &options.from, &FROM, &from_mistake);
    list("principals", &options.principals, &PRINCIPAL, &|_| None);
    list("permitOpen", &options.permit_open, &PERMIT_OPEN, &permit_mistake);
    list("permitListen", &options.permit_listen, &PERMIT_LISTEN, &permit_mistake);
    if !options.from.is_empty() && options.from.iter().all(|element| element.starts_with('!')) {
        let detail = "has only exclusions, so that no client matches: add what matches, such as '*'";
        mistakes.push(("from".to_owned(), detail.to_owned()));
    }
    if !options.principals.is_empty() && options.cert_authority != Some(true) {
        let detail = "needs certAuthority: true, since only certificates have principals: set it, or omit principals";
        mistakes.push(("principals".to_owned(), detail.to_owned()));
    }
    mistakes.extend(environment_mistakes(options));
    let texts = [("command", &options.command, &COMMAND), ("tunnel", &options.tunnel, &TUNNEL)];
    for (field, text, rule) in texts {
        if text.as_ref().is_some_and(|text| !rule.allows(text)) {
            mistakes.push((field.to_owned(), format!("must be {}", rule.words)));
        }
    }
    if options.expiry_time.as_ref().is_some_and(|text| expiry_time(text).is_none()) {
        mistakes.push(("expiryTime".to_owned(), format!("must be {}", EXPIRY_TIME.words)));
    }
    mistakes
}

fn environment_mistakes(options: &KeyOptions) -> Vec<(String, String)> {
    let mut mistakes = Vec::new();
    let mut mistake = |detail: String| mistakes.push(("environment".to_owned(), detail));
    if options.environment.len() > MAX_ELEMENTS {
        mistake(format!("at most {MAX_ELEMENTS} variables are allowed"));
    }
    // A message does not repeat names, which can be long and arbitrary.
    for (index, (name, value)) in options.environment.iter().enumerate().take(MAX_ELEMENTS) {
        let position = index + 1;
        if !ENVIRONMENT_NAME.allows(name) {
            mistake(format!("name {position} in alphabetical order must be {}", ENVIRONMENT_NAME.words));
        }
        if !ENVIRONMENT_VALUE.allows(value) {
            mistake(format!("value {position} in alphabetical order must be {}", ENVIRONMENT_VALUE.words));
        }
    }
    mistakes
}

/// What is wrong with an element of `from` that follows its rule.
///
/// sshd treats what it cannot read as a CIDR block as a pattern, which then matches nobody, and refuses everybody if the bits behind the
/// prefix are not zero. It also reads the short and the octal forms of an address, such as `10.1`, which readers understand differently.
fn from_mistake(element: &str) -> Option<&'static str> {
    let element = element.strip_prefix('!').unwrap_or(element);
    if let Some((address, length)) = element.split_once('/') {
        let is_network = address.parse().is_ok_and(|address| is_network(address, length));
        return (!is_network)
            .then_some("must be a CIDR block whose bits behind the prefix are zero, such as 10.0.0.0/8");
    }
    let is_address = !element.contains(['*', '?']) && (element.contains(':') || is_numeric(element));
    (is_address && element.parse::<IpAddr>().is_err()).then_some("must be a complete address, such as 10.0.0.1 or ::1")
}

fn is_network(address: IpAddr, length: &str) -> bool {
    let Ok(length) = length.parse::<u32>() else { return false };
    match address {
        IpAddr::V4(address) => length <= 32 && address.to_bits().checked_shl(length).unwrap_or_default() == 0,
        IpAddr::V6(address) => length <= 128 && address.to_bits().checked_shl(length).unwrap_or_default() == 0,
    }
}

/// What is wrong with an element of `permitOpen` or `permitListen` that follows its rule.
fn permit_mistake(element: &str) -> Option<&'static str> {
    let (host, port) = element.rsplit_once(':').unwrap_or(("*", element));
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if !is_port(port) {
        Some("must have a port from 1 to 65535, or '*'")
    } else if address.is_some_and(|text| !text.contains(['*', '?']) && text.parse::<Ipv6Addr>().is_err()) {
        Some("must have an IPv6 address in the brackets")
    } else {
        None
    }
}

/// `expiryTime` in UTC, if it is valid. sshd takes the time 0 for no time.
///
/// Not as a `Timestamp`, which ends a day earlier than the year 9999: users write the last second of that year for "never".
fn expiry_time(text: &str) -> Option<DateTime> {
    const LOCAL_CHARS: usize = "2027-01-01T00:00:00".len();
    if !EXPIRY_TIME.allows(text) {
        return None;
    }
    let (local, offset) = text.split_at_checked(LOCAL_CHARS)?;
    let time: DateTime = local.parse().ok()?;
    let time = match offset.split_once(':') {
        None => time,
        Some((hours, minutes)) => {
            let is_west = hours.starts_with('-');
            let hours: i64 = hours.trim_start_matches(['+', '-']).parse().ok()?;
            let ahead = SignedDuration::from_mins(60 * hours + minutes.parse::<i64>().ok()?);
            if is_west { time.checked_add(ahead).ok()? } else { time.checked_sub(ahead).ok()? }
        }
    };
    (time > date(1970, 1, 1).at(0, 0, 0, 0)).then_some(time)
}

/// The options as sshd reads them, without white space around them; empty if there are none. The options must be valid.
pub(super) fn text(options: &KeyOptions) -> String {
    let mut text = Options(String::new());
    text.flag(options.cert_authority == Some(true), "cert-authority");
    text.list("principals", &options.principals);
    // First, because it resets those that follow.
    text.flag(options.restrict == Some(true), "restrict");
    for (permission, name) in [
        (options.agent_forwarding, "agent-forwarding"),
        (options.port_forwarding, "port-forwarding"),
        (options.pty, "pty"),
        (options.user_rc, "user-rc"),
        (options.x11_forwarding, "x11-forwarding"),
    ] {
        if let Some(is_permitted) = permission {
            text.flag(true, &format!("{}{name}", if is_permitted { "" } else { "no-" }));
        }
    }
    text.flag(options.no_touch_required == Some(true), "no-touch-required");
    text.flag(options.verify_required == Some(true), "verify-required");
    text.list("from", &options.from);
    if let Some(time) = options.expiry_time.as_deref().and_then(expiry_time) {
        text.value("expiry-time", &time.strftime("%Y%m%d%H%M%SZ").to_string());
    }
    options.permit_open.iter().for_each(|element| text.value("permitopen", element));
    options.permit_listen.iter().for_each(|element| text.value("permitlisten", element));
    options.tunnel.iter().for_each(|device| text.value("tunnel", device));
    for (name, value) in &options.environment {
        text.value("environment", &format!("{name}={value}"));
    }
    options.command.iter().for_each(|command| text.value("command", command));
    text.0
}

/// Options, separated by commas.
struct Options(String);

impl Options {
    fn flag(&mut self, is_set: bool, name: &str) {
        if is_set {
            self.0.push_str(if self.0.is_empty() { "" } else { "," });
            self.0.push_str(name);
        }
    }

    fn value(&mut self, name: &str, value: &str) {
        // Writing to a `String` does not fail.
        let separator = if self.0.is_empty() { "" } else { "," };
        let _ = write!(self.0, "{separator}{name}=\"{}\"", value.replace('"', "\\\""));
    }

    /// One option for all elements, since sshd allows it only once.
    fn list(&mut self, name: &str, elements: &[String]) {
        if !elements.is_empty() {
            self.value(name, &elements.join(","));
        }
    }
}
