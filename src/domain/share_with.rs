//! `spec.shareWith` of a `KeyPair`: the other namespaces whose publications may select its public keys.

use super::{
    publication::bounds::NAMESPACE,
    reason::{Parameter, Reason, Refusal},
    text_rule::TextRule,
};

/// The maximum number of elements.
pub const MAX_SHARE_WITH: usize = 16;
/// Shares a pair with every namespace.
pub const EVERY_NAMESPACE: &str = "*";

/// An element: the name of a namespace, or [`EVERY_NAMESPACE`].
pub static SHARE_WITH: TextRule = TextRule::new(
    1,
    63,
    r"\*|[a-z0-9](?:[-a-z0-9]*[a-z0-9])?",
    "'*' or the name of a namespace: 1 to 63 lower-case letters, digits and '-', beginning and ending with a letter or digit",
);

/// The refusals of a list. An invalid element shares nothing, see [`shares_with`].
///
/// A namespace is a region, and the cloud documents have no code for the malformed name of one. So, as with projects, such a name counts as
/// that of a region that does not exist.
#[must_use]
pub fn check_share_with(namespaces: &[String]) -> Vec<Refusal> {
    let refuse = |detail: String| Refusal::new(Reason::RegionNotFound, Parameter::ShareWith, detail);
    if namespaces.len() > MAX_SHARE_WITH {
        return vec![refuse(format!("at most {MAX_SHARE_WITH} namespaces are allowed: use '*' to share with all"))];
    }
    let invalid = namespaces.iter().enumerate().filter(|(_, namespace)| !SHARE_WITH.allows(namespace));
    invalid.map(|(index, _)| refuse(format!("[{index}] must be {}", SHARE_WITH.words))).collect()
}

/// Whether a pair with this list is shared with `namespace`. A list that is too long shares nothing beyond the limit.
#[must_use]
pub fn shares_with(namespaces: &[String], namespace: &str) -> bool {
    NAMESPACE.allows(namespace)
        && namespaces.iter().take(MAX_SHARE_WITH).any(|shared| shared == EVERY_NAMESPACE || shared == namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_pair_is_shared_with_the_listed_namespaces() {
        for (names, is_shared) in [
            (&["web"] as &[&str], true),
            (&["shop", "web"], true),
            (&["*"], true),
            (&[], false),
            (&["we", "webs", "Web", "w*", "", " web"], false),
        ] {
            assert_eq!(shares_with(&list(names), "web"), is_shared, "{names:?}");
        }
        let mut many = vec!["a".to_owned(); MAX_SHARE_WITH];
        many.push("web".to_owned());
        assert!(!shares_with(&many, "web"));
    }

    #[test]
    fn invalid_elements_are_refused_and_share_nothing() {
        assert_eq!(check_share_with(&list(&["web", "*", "a-1"])), []);
        for name in ["", "Web", "a.b", "-a", "a-", "w*", "a\n", "**"] {
            let refusals = check_share_with(&list(&["web", name]));
            assert_eq!(refusals.len(), 1, "{name:?}");
            assert!(refusals[0].detail.starts_with("[1] must be"), "{}", refusals[0]);
            assert!(!shares_with(&list(&[name]), name), "{name:?}");
        }
        assert_eq!(check_share_with(&vec!["*".to_owned(); MAX_SHARE_WITH + 1]).len(), 1);
    }
}
