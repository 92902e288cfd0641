//! The region of a key pair: its namespace, with the quota and the projects that apply there.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    display,
    label_selector::LabelSelector,
    reason::{Parameter, Reason, Refusal},
    rules,
};

/// The Namespace annotation with its quota, which overrides the operator's.
pub const QUOTA_ANNOTATION: &str = "keypairs.dev/quota";
/// The Namespace annotation with its projects, separated by commas.
pub const PROJECTS_ANNOTATION: &str = "keypairs.dev/projects";
/// The Namespace annotation with the project of the key pairs that do not set one.
pub const DEFAULT_PROJECT_ANNOTATION: &str = "keypairs.dev/default-project";

/// The chart truncates the name of its release to this many characters before it appends `-webhook`.
const CHART_PREFIX_MAX: usize = 55;

/// The operator's settings for namespaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegionSettings {
    /// The quota of a namespace without the annotation.
    pub quota: usize,
    /// Selects the namespaces that are regions.
    pub regions: LabelSelector,
    /// The names of the operator's own Secrets.
    pub own: OwnNames,
}

/// The names that are reserved for the operator's own Secrets: in its namespace, the name of its installation, and every name
/// that begins with it and `-`. Among them are the webhook's certificate, `<configuration>-webhook`, and the Secrets that
/// cert-manager keeps for the chart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnNames {
    /// The operator's namespace.
    pub namespace: String,
    /// The name of its installation; empty: no name is reserved.
    pub prefix: String,
}

/// The longest name of an installation in characters: that of a DNS label.
pub const OWN_PREFIX_MAX: usize = 63;
/// The maximum number of projects of a namespace.
pub const MAX_PROJECTS: usize = 256;
/// How many entries of the annotation are read; the rest is ignored.
const MAX_ENTRIES: usize = 4 * MAX_PROJECTS;
/// The form of a quota, to follow "must be".
const QUOTA_WORDS: &str = "a whole number such as 500";
/// How many invalid entries a message quotes.
const MAX_QUOTED: usize = 3;

/// A namespace, with everything that its key pairs depend on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Region {
    /// Whether the namespace is a region.
    pub exists: bool,
    /// How many key pairs it may hold; `None`: the annotation is not a whole number, so no further key pair is accepted.
    pub quota: Option<usize>,
    /// The projects that it lists; `None`: any project is allowed.
    pub projects: Option<BTreeSet<String>>,
    /// The project of the key pairs that do not set one; `None`: the annotation is not a valid project name.
    pub default_project: Option<String>,
    /// The name that the operator's own Secrets in this namespace have or begin with; empty: no name is reserved here.
    pub own_prefix: String,
}

impl Region {
    /// A region with this quota, in which any project is allowed.
    #[must_use]
    pub fn with_quota(quota: usize) -> Self {
        Self {
            exists: true,
            quota: Some(quota),
            projects: None,
            default_project: Some(String::new()),
            own_prefix: String::new(),
        }
    }

    /// The region of the namespace with this name, labels and annotations, and a message if an annotation is invalid.
    ///
    /// An invalid quota accepts no further key pair, since the intended number is unknown. Invalid project names are
    /// ignored, and a list without a valid one allows no project, rather than any.
    #[must_use]
    pub fn new(
        settings: &RegionSettings,
        name: &str,
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> (Self, Option<String>) {
        let mut mistakes = Vec::new();
        let quota = annotations.get(QUOTA_ANNOTATION).map_or(Some(settings.quota), |text| quota(text));
        if let (None, Some(text)) = (quota, annotations.get(QUOTA_ANNOTATION)) {
            mistakes.push(format!(
                "annotation {QUOTA_ANNOTATION} must be {QUOTA_WORDS}, not {}; no further key pair is accepted",
                display::quoted(text.trim())
            ));
        }
        let projects = annotations.get(PROJECTS_ANNOTATION).and_then(|list| projects(list, &mut mistakes));
        let default = annotations.get(DEFAULT_PROJECT_ANNOTATION).map(|name| name.trim()).unwrap_or_default();
        let default_project = rules::PROJECT.allows(default).then(|| default.to_owned());
        if default_project.is_none() {
            mistakes.push(format!(
                "annotation {DEFAULT_PROJECT_ANNOTATION} must be {}, not {}; key pairs without spec.project are refused",
                rules::PROJECT.words,
                display::quoted(default)
            ));
        }
        let region = Self {
            exists: settings.regions.selects(labels),
            quota,
            projects,
            default_project,
            own_prefix: if settings.own.namespace == name {
                settings.own.prefix.chars().take(OWN_PREFIX_MAX).collect()
            } else {
                String::new()
            },
        };
        (region, (!mistakes.is_empty()).then(|| mistakes.join("; ")))
    }

    /// How many key pairs may be accepted.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.quota.unwrap_or_default()
    }

    /// The refusal of a key pair for which there is no slot.
    #[must_use]
    pub fn no_slot(&self) -> Refusal {
        let detail = if self.quota.is_some() {
            format!(
                "the namespace holds as many key pairs as its quota allows: delete a KeyPair, or raise the Namespace annotation {QUOTA_ANNOTATION}; the operator then accepts the oldest waiting KeyPair"
            )
        } else {
            format!(
                "the Namespace annotation {QUOTA_ANNOTATION} is not a whole number, so no further key pair is accepted: set it to {QUOTA_WORDS}, or remove it; the operator then accepts the oldest waiting KeyPair"
            )
        };
        Refusal::new(Reason::QuotaExceeded, Parameter::Quota, detail)
    }

    /// The project that applies to a key pair whose `spec.project` is `project`.
    #[must_use]
    pub fn effective_project<'a>(&'a self, project: &'a str) -> &'a str {
        if project.is_empty() { self.default_project.as_deref().unwrap_or_default() } else { project }
    }

    /// Whether this name of an object is reserved for the operator.
    #[must_use]
    pub fn reserves(&self, name: &str) -> bool {
        let prefix = self.own_prefix.as_str();
        // The chart truncates a long name before it appends a suffix.
        let short = prefix.get(..CHART_PREFIX_MAX).unwrap_or(prefix).trim_end_matches('-');
        let begins =
            |prefix| name.strip_prefix(prefix).is_some_and(|rest: &str| rest.is_empty() || rest.starts_with('-'));
        !prefix.is_empty() && (begins(prefix) || begins(short))
    }

    /// The refusal of this name of a Secret, if it is reserved for the operator.
    #[must_use]
    pub fn reserved(&self, secret: &str) -> Option<Refusal> {
        let prefix = &self.own_prefix;
        self.reserves(secret).then(|| {
            let detail = format!(
                "name must not be {prefix} or begin with {prefix}- in the operator's own namespace, where these names are reserved for its own Secrets: set spec.secret.name to another name"
            );
            Refusal::new(Reason::InvalidSecret, Parameter::Secret, detail)
        })
    }

    /// The refusals of a key pair of `project` in this namespace.
    #[must_use]
    pub fn refusals(&self, project: &str) -> Vec<Refusal> {
        if !self.exists {
            let detail = "this namespace is not a region: the operator's --region-selector does not select it; label the namespace so that it matches, or use another namespace";
            return vec![Refusal::new(Reason::RegionNotFound, Parameter::Region, detail)];
        }
        let refuse = |detail: &str| vec![Refusal::new(Reason::ProjectNotFound, Parameter::Project, detail)];
        if project.is_empty() && self.default_project.is_none() {
            return refuse(&format!(
                "the Namespace annotation {DEFAULT_PROJECT_ANNOTATION} is not a valid project name: set spec.project, or correct the annotation"
            ));
        }
        let effective = self.effective_project(project);
        let Some(projects) = &self.projects else { return Vec::new() };
        if effective.is_empty() || projects.contains(effective) {
            return Vec::new();
        }
        let which = if project.is_empty() { "the namespace's default project" } else { "this project" };
        let remedy = if projects.is_empty() {
            "add it there; no entry of the annotation is a valid project name".to_owned()
        } else {
            format!("use one of {}, or add it there", display::listed(projects.iter().map(String::as_str)))
        };
        refuse(&format!("{which} is not in the Namespace annotation {PROJECTS_ANNOTATION}: {remedy}"))
    }
}

/// The quota in an annotation, without surrounding spaces; `None`: it is not a whole number, or too large.
fn quota(text: &str) -> Option<usize> {
    text.trim().parse().ok()
}

/// The projects in an annotation; `None` if it has no entry. Adds messages about invalid entries to `mistakes`.
fn projects(list: &str, mistakes: &mut Vec<String>) -> Option<BTreeSet<String>> {
    let mut entries = list.split(',').map(str::trim).filter(|name| !name.is_empty());
    let (mut projects, mut invalid, mut is_too_long) = (BTreeSet::new(), Vec::new(), false);
    for name in entries.by_ref().take(MAX_ENTRIES) {
        if !rules::PROJECT.allows(name) {
            invalid.push(name);
        } else if projects.len() < MAX_PROJECTS {
            projects.insert(name.to_owned());
        } else {
            is_too_long |= !projects.contains(name);
        }
    }
    is_too_long |= entries.next().is_some();
    if !invalid.is_empty() {
        let quoted: Vec<String> = invalid.iter().take(MAX_QUOTED).map(|name| display::quoted(name)).collect();
        let more = if invalid.len() > MAX_QUOTED { " and others" } else { "" };
        mistakes.push(format!(
            "annotation {PROJECTS_ANNOTATION}: a project name must be {}; ignored: {}{more}",
            rules::PROJECT.words,
            quoted.join(", ")
        ));
    }
    if is_too_long {
        mistakes.push(format!(
            "annotation {PROJECTS_ANNOTATION} lists more than {MAX_PROJECTS} projects; the others are ignored"
        ));
    }
    (!projects.is_empty() || !invalid.is_empty()).then_some(projects)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn settings() -> RegionSettings {
        let own = OwnNames { namespace: "system".to_owned(), prefix: "keys".to_owned() };
        RegionSettings { quota: 500, regions: "region".parse().unwrap(), own }
    }

    fn reasons(region: &Region, project: &str) -> Vec<Reason> {
        region.refusals(project).into_iter().map(|refusal| refusal.reason).collect()
    }

    #[test]
    fn annotations_override_the_settings_of_the_operator() {
        let annotations =
            map(&[(QUOTA_ANNOTATION, " 3 "), (PROJECTS_ANNOTATION, "a, b,"), (DEFAULT_PROJECT_ANNOTATION, "b")]);
        let (region, mistake) = Region::new(&settings(), "shop", &map(&[("region", "")]), &annotations);
        assert_eq!((region.exists, region.quota, mistake), (true, Some(3), None));
        assert_eq!(region.effective_project(""), "b");
        assert_eq!(region.effective_project("a"), "a");
        assert_eq!(reasons(&region, ""), []);
        assert_eq!(reasons(&region, "a"), []);
        assert_eq!(reasons(&region, "c"), [Reason::ProjectNotFound]);
    }

    #[test]
    fn without_annotations_any_project_is_allowed() {
        let (region, mistake) = Region::new(&settings(), "shop", &map(&[("region", "x")]), &map(&[]));
        assert_eq!((&region, mistake), (&Region::with_quota(500), None));
        assert_eq!(reasons(&region, "any"), []);
        let (elsewhere, _) = Region::new(&settings(), "shop", &map(&[]), &map(&[]));
        assert_eq!(reasons(&elsewhere, ""), [Reason::RegionNotFound]);
    }

    #[test]
    fn an_invalid_quota_accepts_no_pair_and_is_reported() {
        let digits = "9".repeat(100_000);
        let region = |quota: &str| Region::new(&settings(), "shop", &map(&[]), &map(&[(QUOTA_ANNOTATION, quota)]));
        for (quota, expected) in [
            ("-1", "\"-1\""),
            ("1\n\u{1b}[2J", "\"1\\n\\u{1b}[2J\""),
            (&digits, "9…\""),
            ("", "not \"\""),
            (" \t", "not \"\""),
            ("500.0", "\"500.0\""),
            ("5e2", "\"5e2\""),
            ("0x10", "\"0x10\""),
            ("1_000", "\"1_000\""),
            ("1,000", "\"1,000\""),
            ("1 000", "\"1 000\""),
            ("５", "\"５\""),
            ("many", "\"many\""),
            ("18446744073709551616", "\"18446744073709551616\""),
        ] {
            let (region, mistake) = region(quota);
            let mistake = mistake.unwrap();
            assert_eq!((region.quota, region.limit()), (None, 0), "{quota:?}");
            assert!(mistake.contains(expected) && mistake.len() < 1000, "{mistake}");
            let refusal = region.no_slot();
            assert_eq!((refusal.reason, refusal.parameter), (Reason::QuotaExceeded, Parameter::Quota));
            assert!(
                refusal.detail.contains(QUOTA_ANNOTATION) && refusal.detail.contains("not a whole number"),
                "{refusal}"
            );
        }
        for (quota, number) in [("0", 0), (" 3\n", 3), ("+3", 3), ("007", 7), ("18446744073709551615", usize::MAX)] {
            let (region, mistake) = region(quota);
            assert_eq!((region.quota, region.limit(), mistake), (Some(number), number, None), "{quota:?}");
            assert!(!region.no_slot().detail.contains("not a whole number"));
        }
    }

    /// An annotation cannot put lines of its own, or megabytes, into the statuses of key pairs.
    #[test]
    fn invalid_project_names_are_ignored_and_reported() {
        let labels = map(&[("region", "")]);
        let region =
            |projects: &str| Region::new(&settings(), "shop", &labels, &map(&[(PROJECTS_ANNOTATION, projects)]));
        let (region_of_two, mistake) = region("a, b\nReady: True ,\u{1b}[2J,c\u{202e}d,\u{200b},e f");
        let mistake = mistake.unwrap();
        assert_eq!(region_of_two.projects, Some(["a".to_owned()].into()));
        assert!(mistake.contains(r#""b\nReady: True", "\u{1b}[2J", "c\u{202e}d" and others"#), "{mistake}");
        assert!(region_of_two.refusals("x")[0].detail.contains("use one of a, or add it there"));
        // A list without a valid name differs from no list.
        let (none_left, mistake) = region("\u{202e}");
        assert!(mistake.is_some() && none_left.projects == Some(BTreeSet::new()));
        assert_eq!(reasons(&none_left, "a"), [Reason::ProjectNotFound]);
        assert_eq!(reasons(&none_left, ""), []);
        assert_eq!(region(" ,, ").0.projects, None);
    }

    #[test]
    fn the_list_and_its_messages_are_bounded() {
        let names: Vec<String> = (0..10_000).map(|n| format!("p{n:05}")).collect();
        let annotations = map(&[(PROJECTS_ANNOTATION, &names.join(","))]);
        let (region, mistake) = Region::new(&settings(), "shop", &map(&[("region", "")]), &annotations);
        assert_eq!(region.projects.as_ref().unwrap().len(), MAX_PROJECTS);
        assert!(mistake.unwrap().contains("lists more than 256 projects"));
        let detail = &region.refusals("other")[0].detail;
        assert!(detail.contains("p00009, and 246 more, or add it there") && detail.len() < 400, "{detail}");
    }

    #[test]
    fn an_invalid_default_project_is_not_used() {
        let annotations = map(&[(DEFAULT_PROJECT_ANNOTATION, "a\nb")]);
        let (region, mistake) = Region::new(&settings(), "shop", &map(&[("region", "")]), &annotations);
        assert!(mistake.unwrap().contains(r#""a\nb""#));
        assert_eq!(reasons(&region, ""), [Reason::ProjectNotFound]);
        assert_eq!(reasons(&region, "a"), []);
        assert_eq!(region.effective_project(""), "");
    }

    #[test]
    fn the_operators_own_names_are_reserved_in_its_namespace() {
        let region = |name| Region::new(&settings(), name, &map(&[("region", "")]), &map(&[])).0;
        for name in ["keys", "keys-webhook", "keys-webhook-tls", "keys-"] {
            let refusal = region("system").reserved(name).unwrap();
            assert_eq!((refusal.reason, refusal.parameter), (Reason::InvalidSecret, Parameter::Secret));
            assert_eq!(region("shop").reserved(name), None);
        }
        for name in ["keyset", "my-keys-webhook", "web"] {
            assert_eq!(region("system").reserved(name), None);
        }
        assert_eq!(Region::with_quota(1).reserved("keys"), None);
        let long = Region { own_prefix: "k".repeat(60), ..Region::with_quota(1) };
        assert!(long.reserved(&format!("{}-webhook-tls", "k".repeat(55))).is_some());
        assert!(long.reserved(&format!("{}-webhook", "k".repeat(60))).is_some());
        assert!(long.reserved(&"k".repeat(58)).is_none());
    }

    #[test]
    fn a_default_project_that_is_not_listed_is_refused() {
        let annotations = map(&[(PROJECTS_ANNOTATION, "a"), (DEFAULT_PROJECT_ANNOTATION, "z")]);
        let (region, _) = Region::new(&settings(), "shop", &map(&[("region", "")]), &annotations);
        assert_eq!(reasons(&region, ""), [Reason::ProjectNotFound]);
    }
}
