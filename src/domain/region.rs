//! What a namespace is to its key pairs: whether it is a region, how many it may hold, and which projects it has.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    display,
    label_selector::LabelSelector,
    reason::{Parameter, Reason, Refusal},
    rules,
};

/// The annotation of a Namespace with its quota, in the place of the operator's.
pub const QUOTA_ANNOTATION: &str = "keypairs.dev/quota";
/// The annotation of a Namespace with its projects, separated by commas.
pub const PROJECTS_ANNOTATION: &str = "keypairs.dev/projects";
/// The annotation of a Namespace with the project of the key pairs that name none.
pub const DEFAULT_PROJECT_ANNOTATION: &str = "keypairs.dev/default-project";

/// To how many characters the chart shortens the name of its release before it puts `-webhook` behind it.
const CHART_PREFIX_MAX: usize = 55;

/// What holds for every namespace that does not say otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// How many key pairs a namespace may hold.
    pub quota: usize,
    /// Which namespaces are regions, by their labels.
    pub regions: LabelSelector,
    /// What the operator itself has in one of them.
    pub own: OwnNames,
}

/// The names of the operator's own Secrets: in its namespace, the name that its installation has, and whatever begins with that and
/// a `-`. So has the certificate of its webhook, `<configuration>-webhook`, and whatever cert-manager keeps for the chart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OwnNames {
    /// The operator's namespace.
    pub namespace: String,
    /// The name of its installation; empty: it has nothing of its own.
    pub prefix: String,
}

/// The longest name of an installation in characters, which is that of objects with the name of a DNS label.
pub const OWN_PREFIX_MAX: usize = 63;
/// How many projects a namespace can list.
pub const MAX_PROJECTS: usize = 256;
/// How many entries of an annotation are looked at, whatever there is behind them.
const MAX_ENTRIES: usize = 4 * MAX_PROJECTS;
/// What a quota is.
const QUOTA_WORDS: &str = "a whole number such as 500";
/// How many wrong entries of a list are told of.
const TOLD: usize = 3;

/// A namespace, as far as its key pairs depend on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Region {
    /// Whether it is a region at all.
    pub exists: bool,
    /// How many key pairs it may hold; `None`: the annotation is there, but is no number, so that nobody new is let in.
    pub quota: Option<usize>,
    /// The projects that it lists; `None`: any.
    pub projects: Option<BTreeSet<String>>,
    /// The project of the key pairs that name none; `None`: the annotation is there, but is no name of a project.
    pub default_project: Option<String>,
    /// The name that the operator's own Secrets in this namespace have or begin with; empty: it has none here.
    pub own_prefix: String,
}

impl Region {
    /// A region without projects.
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

    /// The namespace of this name, with these labels and annotations, and what is wrong with the annotations.
    ///
    /// A quota that is no number lets nobody new in, since nobody knows how many were meant. What cannot be the name of a project is left out of the list,
    /// and a list that has nothing left allows no project, rather than any.
    #[must_use]
    pub fn new(
        policy: &Policy,
        name: &str,
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> (Self, Option<String>) {
        let mut mistakes = Vec::new();
        let quota = annotations.get(QUOTA_ANNOTATION).map_or(Some(policy.quota), |text| quota(text));
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
                "annotation {DEFAULT_PROJECT_ANNOTATION} must be {}, not {}; key pairs that name no project are refused",
                rules::PROJECT.words,
                display::quoted(default)
            ));
        }
        let region = Self {
            exists: policy.regions.selects(labels),
            quota,
            projects,
            default_project,
            own_prefix: if policy.own.namespace == name {
                policy.own.prefix.chars().take(OWN_PREFIX_MAX).collect()
            } else {
                String::new()
            },
        };
        (region, (!mistakes.is_empty()).then(|| mistakes.join("; ")))
    }

    /// How many key pairs may be accepted in it.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.quota.unwrap_or_default()
    }

    /// Why no more key pairs are accepted in it.
    #[must_use]
    pub fn no_slot(&self) -> Refusal {
        let detail = if self.quota.is_some() {
            format!(
                "the namespace holds as many key pairs as its quota allows: delete one, or raise the Namespace's annotation {QUOTA_ANNOTATION}; the oldest that waits is accepted then"
            )
        } else {
            format!(
                "the Namespace's annotation {QUOTA_ANNOTATION} is no number, so that no further key pair is accepted: have it set to {QUOTA_WORDS}, or removed; the oldest that waits is accepted then"
            )
        };
        Refusal::new(Reason::QuotaExceeded, Parameter::Quota, detail)
    }

    /// The project of a key pair that names `project`.
    #[must_use]
    pub fn effective_project<'a>(&'a self, project: &'a str) -> &'a str {
        if project.is_empty() { self.default_project.as_deref().unwrap_or_default() } else { project }
    }

    /// What is wrong with a Secret of this name, if it is one of the operator's own names.
    #[must_use]
    pub fn reserved(&self, secret: &str) -> Option<Refusal> {
        let prefix = Some(self.own_prefix.as_str()).filter(|prefix| !prefix.is_empty())?;
        // The chart shortens a long name before it adds to it.
        let short = prefix.get(..CHART_PREFIX_MAX).unwrap_or(prefix).trim_end_matches('-');
        let begins =
            |prefix| secret.strip_prefix(prefix).is_some_and(|rest: &str| rest.is_empty() || rest.starts_with('-'));
        (begins(prefix) || begins(short)).then(|| {
            let detail = format!(
                "name must not be {prefix} or begin with {prefix}- in the operator's own namespace, where it keeps its own Secrets under such names: set spec.secret.name to another name"
            );
            Refusal::new(Reason::InvalidSecret, Parameter::Secret, detail)
        })
    }

    /// What is wrong with a key pair of `project` in this namespace.
    #[must_use]
    pub fn refusals(&self, project: &str) -> Vec<Refusal> {
        if !self.exists {
            let detail = "this namespace is not a region: the operator's --region-selector leaves it out; label the namespace so that it is selected, or use another one";
            return vec![Refusal::new(Reason::RegionNotFound, Parameter::Region, detail)];
        }
        let refuse = |detail: &str| vec![Refusal::new(Reason::ProjectNotFound, Parameter::Project, detail)];
        if project.is_empty() && self.default_project.is_none() {
            return refuse(&format!(
                "the namespace's annotation {DEFAULT_PROJECT_ANNOTATION} is no name of a project: name one here, or have the annotation corrected"
            ));
        }
        let effective = self.effective_project(project);
        let Some(projects) = &self.projects else { return Vec::new() };
        if effective.is_empty() || projects.contains(effective) {
            return Vec::new();
        }
        let which = if project.is_empty() { "the namespace's default project" } else { "this project" };
        let there = if projects.is_empty() {
            "have it listed; no entry of the annotation is a name that a project can have".to_owned()
        } else {
            format!("use one of {}, or have it listed", display::listed(projects.iter().map(String::as_str)))
        };
        refuse(&format!(
            "{which} is none of those that the namespace's annotation {PROJECTS_ANNOTATION} lists: {there}"
        ))
    }
}

/// The quota that an annotation gives, spaces around it aside; `None`: it is no whole number, or a greater one than any number of
/// objects.
fn quota(text: &str) -> Option<usize> {
    text.trim().parse().ok()
}

/// The projects of an annotation; `None` if it lists nothing. What is wrong with it is added to `mistakes`.
fn projects(list: &str, mistakes: &mut Vec<String>) -> Option<BTreeSet<String>> {
    let mut entries = list.split(',').map(str::trim).filter(|name| !name.is_empty());
    let (mut projects, mut wrong, mut over) = (BTreeSet::new(), Vec::new(), false);
    for name in entries.by_ref().take(MAX_ENTRIES) {
        if !rules::PROJECT.allows(name) {
            wrong.push(name);
        } else if projects.len() < MAX_PROJECTS {
            projects.insert(name.to_owned());
        } else {
            over |= !projects.contains(name);
        }
    }
    over |= entries.next().is_some();
    if !wrong.is_empty() {
        let quoted: Vec<String> = wrong.iter().take(TOLD).map(|name| display::quoted(name)).collect();
        let more = if wrong.len() > TOLD { " and others" } else { "" };
        mistakes.push(format!(
            "in the annotation {PROJECTS_ANNOTATION} {}{more} cannot be the name of a project, which is {}: left out",
            quoted.join(", "),
            rules::PROJECT.words
        ));
    }
    if over {
        mistakes.push(format!(
            "the annotation {PROJECTS_ANNOTATION} lists more than {MAX_PROJECTS} projects: the others are left out"
        ));
    }
    (!projects.is_empty() || !wrong.is_empty()).then_some(projects)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn policy() -> Policy {
        let own = OwnNames { namespace: "system".to_owned(), prefix: "keys".to_owned() };
        Policy { quota: 500, regions: "region".parse().unwrap(), own }
    }

    fn reasons(region: &Region, project: &str) -> Vec<Reason> {
        region.refusals(project).into_iter().map(|refusal| refusal.reason).collect()
    }

    #[test]
    fn annotations_override_what_holds_elsewhere() {
        let annotations =
            map(&[(QUOTA_ANNOTATION, " 3 "), (PROJECTS_ANNOTATION, "a, b,"), (DEFAULT_PROJECT_ANNOTATION, "b")]);
        let (region, mistake) = Region::new(&policy(), "shop", &map(&[("region", "")]), &annotations);
        assert_eq!((region.exists, region.quota, mistake), (true, Some(3), None));
        assert_eq!(region.effective_project(""), "b");
        assert_eq!(region.effective_project("a"), "a");
        assert_eq!(reasons(&region, ""), []);
        assert_eq!(reasons(&region, "a"), []);
        assert_eq!(reasons(&region, "c"), [Reason::ProjectNotFound]);
    }

    #[test]
    fn without_annotations_everything_goes() {
        let (region, mistake) = Region::new(&policy(), "shop", &map(&[("region", "x")]), &map(&[]));
        assert_eq!((&region, mistake), (&Region::with_quota(500), None));
        assert_eq!(reasons(&region, "any"), []);
        let (elsewhere, _) = Region::new(&policy(), "shop", &map(&[]), &map(&[]));
        assert_eq!(reasons(&elsewhere, ""), [Reason::RegionNotFound]);
    }

    #[test]
    fn a_quota_that_is_no_number_lets_nobody_in_and_is_told() {
        let digits = "9".repeat(100_000);
        let region = |quota: &str| Region::new(&policy(), "shop", &map(&[]), &map(&[(QUOTA_ANNOTATION, quota)]));
        for (quota, told) in [
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
            assert!(mistake.contains(told) && mistake.len() < 1000, "{mistake}");
            let refusal = region.no_slot();
            assert_eq!((refusal.reason, refusal.parameter), (Reason::QuotaExceeded, Parameter::Quota));
            assert!(refusal.detail.contains(QUOTA_ANNOTATION) && refusal.detail.contains("no number"), "{refusal}");
        }
        for (quota, number) in [("0", 0), (" 3\n", 3), ("+3", 3), ("007", 7), ("18446744073709551615", usize::MAX)] {
            let (region, mistake) = region(quota);
            assert_eq!((region.quota, region.limit(), mistake), (Some(number), number, None), "{quota:?}");
            assert!(!region.no_slot().detail.contains("no number"));
        }
    }

    /// Whoever may annotate a Namespace writes no line of his own into the statuses of its key pairs, nor megabytes.
    #[test]
    fn what_cannot_be_a_project_is_left_out_and_told() {
        let labels = map(&[("region", "")]);
        let region = |projects: &str| Region::new(&policy(), "shop", &labels, &map(&[(PROJECTS_ANNOTATION, projects)]));
        let (region_of_two, mistake) = region("a, b\nReady: True ,\u{1b}[2J,c\u{202e}d,\u{200b},e f");
        let mistake = mistake.unwrap();
        assert_eq!(region_of_two.projects, Some(["a".to_owned()].into()));
        assert!(mistake.contains(r#""b\nReady: True", "\u{1b}[2J", "c\u{202e}d" and others"#), "{mistake}");
        assert!(region_of_two.refusals("x")[0].detail.contains("use one of a, or have it listed"));
        // Nothing left is not the same as no list.
        let (none_left, mistake) = region("\u{202e}");
        assert!(mistake.is_some() && none_left.projects == Some(BTreeSet::new()));
        assert_eq!(reasons(&none_left, "a"), [Reason::ProjectNotFound]);
        assert_eq!(reasons(&none_left, ""), []);
        assert_eq!(region(" ,, ").0.projects, None);
    }

    #[test]
    fn the_list_is_bounded_and_so_is_what_is_told_of_it() {
        let names: Vec<String> = (0..10_000).map(|n| format!("p{n:05}")).collect();
        let annotations = map(&[(PROJECTS_ANNOTATION, &names.join(","))]);
        let (region, mistake) = Region::new(&policy(), "shop", &map(&[("region", "")]), &annotations);
        assert_eq!(region.projects.as_ref().unwrap().len(), MAX_PROJECTS);
        assert!(mistake.unwrap().contains("lists more than 256 projects"));
        let detail = &region.refusals("other")[0].detail;
        assert!(detail.contains("p00009, and 246 more, or have it listed") && detail.len() < 400, "{detail}");
    }

    #[test]
    fn a_default_that_cannot_be_a_project_is_no_default() {
        let annotations = map(&[(DEFAULT_PROJECT_ANNOTATION, "a\nb")]);
        let (region, mistake) = Region::new(&policy(), "shop", &map(&[("region", "")]), &annotations);
        assert!(mistake.unwrap().contains(r#""a\nb""#));
        assert_eq!(reasons(&region, ""), [Reason::ProjectNotFound]);
        assert_eq!(reasons(&region, "a"), []);
        assert_eq!(region.effective_project(""), "");
    }

    #[test]
    fn the_operators_own_names_are_its_own_in_its_namespace() {
        let region = |name| Region::new(&policy(), name, &map(&[("region", "")]), &map(&[])).0;
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
    fn a_default_project_that_is_not_listed_is_none() {
        let annotations = map(&[(PROJECTS_ANNOTATION, "a"), (DEFAULT_PROJECT_ANNOTATION, "z")]);
        let (region, _) = Region::new(&policy(), "shop", &map(&[("region", "")]), &annotations);
        assert_eq!(reasons(&region, ""), [Reason::ProjectNotFound]);
    }
}
