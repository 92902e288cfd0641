//! What a namespace is to its key pairs: whether it is a region, how many it may hold, and which projects it has.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    label_selector::LabelSelector,
    reason::{Parameter, Reason, Refusal},
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

/// A namespace, as far as its key pairs depend on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Region {
    /// Whether it is a region at all.
    pub exists: bool,
    /// How many key pairs it may hold.
    pub quota: usize,
    /// The projects that it lists; empty: any.
    pub projects: BTreeSet<String>,
    /// The project of the key pairs that name none; empty: none.
    pub default_project: String,
    /// The name that the operator's own Secrets in this namespace have or begin with; empty: it has none here.
    pub own_prefix: String,
}

impl Region {
    /// A region without projects.
    #[must_use]
    pub fn with_quota(quota: usize) -> Self {
        Self { exists: true, quota, ..Self::default() }
    }

    /// The namespace of this name, with these labels and annotations, and what is wrong with the annotations: a quota that is no
    /// number leaves the operator's in force.
    #[must_use]
    pub fn new(
        policy: &Policy,
        name: &str,
        labels: &BTreeMap<String, String>,
        annotations: &BTreeMap<String, String>,
    ) -> (Self, Option<String>) {
        let quota = annotations.get(QUOTA_ANNOTATION).map(|quota| (quota, quota.trim().parse::<usize>()));
        let mistake = match &quota {
            Some((text, Err(_))) => Some(format!(
                "annotation {QUOTA_ANNOTATION} must be a whole number, not {text:?}; the operator's own quota of {} holds",
                policy.quota
            )),
            _ => None,
        };
        let projects = annotations.get(PROJECTS_ANNOTATION).map(String::as_str).unwrap_or_default();
        let region = Self {
            exists: policy.regions.selects(labels),
            quota: quota.and_then(|(_, quota)| quota.ok()).unwrap_or(policy.quota),
            projects: projects.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            default_project: annotations
                .get(DEFAULT_PROJECT_ANNOTATION)
                .map(|name| name.trim().to_owned())
                .unwrap_or_default(),
            own_prefix: if policy.own.namespace == name { policy.own.prefix.clone() } else { String::new() },
        };
        (region, mistake)
    }

    /// The project of a key pair that names `project`.
    #[must_use]
    pub fn effective_project<'a>(&'a self, project: &'a str) -> &'a str {
        if project.is_empty() { &self.default_project } else { project }
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
        let effective = self.effective_project(project);
        if effective.is_empty() || self.projects.is_empty() || self.projects.contains(effective) {
            return Vec::new();
        }
        let projects: Vec<&str> = self.projects.iter().map(String::as_str).collect();
        let which = if project.is_empty() { "the namespace's default project" } else { "this project" };
        let detail = format!(
            "{which} is none of those that the namespace's annotation {PROJECTS_ANNOTATION} lists: use one of {}, or have it listed",
            projects.join(", ")
        );
        vec![Refusal::new(Reason::ProjectNotFound, Parameter::Project, detail)]
    }
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
        assert_eq!((region.exists, region.quota, mistake), (true, 3, None));
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
    fn a_quota_that_is_no_number_is_told_and_not_used() {
        let (region, mistake) = Region::new(&policy(), "shop", &map(&[]), &map(&[(QUOTA_ANNOTATION, "-1")]));
        assert_eq!(region.quota, 500);
        assert!(mistake.unwrap().contains("\"-1\""));
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
