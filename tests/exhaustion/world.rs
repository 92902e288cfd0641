//! The API server: its stored objects, and the events that its watches have not sent yet.

use std::{
    borrow::Cow,
    cell::RefCell,
    collections::{BTreeSet, HashMap, VecDeque},
    rc::Rc,
};

use k8s_openapi::{
    NamespaceResourceScope,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use keypair_operator::{
    api::{ClaimRequest, KeyPair, KeyPairSpec, KeyPairStatus},
    cache::Claimant,
    domain::{profile::Profile, region::Region},
};
use kube::Resource;

pub const NAMESPACE: &str = "shop";
/// The names of pairs. The object with the same number has the name at first.
const NAMES: [&str; 2] = ["web", "db"];
/// The project of the first object.
const PROJECT: &str = "p";

/// The settings of a Namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Config {
    One,
    Two,
    /// A quota of one, and a list of projects without that of the first object.
    OneWithoutProject,
    /// The annotation is not a number.
    Malformed,
}

impl Config {
    pub const ALL: [Self; 4] = [Self::One, Self::Two, Self::OneWithoutProject, Self::Malformed];

    pub fn region(self) -> Region {
        match self {
            Self::One => Region::with_quota(1),
            Self::Two => Region::with_quota(2),
            Self::OneWithoutProject => {
                Region { projects: Some(BTreeSet::from(["other".to_owned()])), ..Region::with_quota(1) }
            }
            Self::Malformed => Region { quota: None, ..Region::with_quota(1) },
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    None,
    /// Counts the writes whose only effect is a new version.
    Refused(u8),
    Accepted,
}

/// A `KeyPair` as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pair {
    pub object: usize,
    /// Also the age: later objects have a greater one.
    pub uid: u8,
    pub version: u8,
    pub name: usize,
    pub status: Status,
}

impl Pair {
    pub fn is_accepted(&self) -> bool {
        self.status == Status::Accepted
    }

    pub fn object_name(object: usize) -> String {
        format!("kp-{object}")
    }

    pub fn uid_text(&self) -> String {
        format!("uid-{}", self.uid)
    }

    /// The object as a watch delivers it. There are few distinct ones, and each is parsed once.
    pub fn shown(&self) -> Rc<Shown> {
        thread_local!(static SHOWN: RefCell<HashMap<Pair, Rc<Shown>>> = RefCell::default());
        SHOWN.with_borrow_mut(|known| {
            let shown = known.entry(*self).or_insert_with(|| {
                let key_pair = self.key_pair();
                Rc::new(Shown { request: ClaimRequest::of(&key_pair), key_pair })
            });
            Rc::clone(shown)
        })
    }

    fn key_pair(&self) -> KeyPair {
        let mut key_pair = KeyPair::new(&Self::object_name(self.object), KeyPairSpec::default());
        key_pair.spec.profile = Profile::OpenSSH;
        key_pair.spec.key_pair_name = Some(NAMES[self.name].to_owned());
        key_pair.spec.project = (self.object == 0).then(|| PROJECT.to_owned());
        let metadata = &mut key_pair.metadata;
        metadata.namespace = Some(NAMESPACE.to_owned());
        metadata.uid = Some(self.uid_text());
        metadata.resource_version = Some(self.version.to_string());
        metadata.creation_timestamp = Some(Time(Timestamp::from_second(i64::from(self.uid)).unwrap()));
        let id = self.is_accepted().then(|| format!("kp-{}", self.uid));
        key_pair.status =
            (self.status != Status::None).then(|| KeyPairStatus { key_pair_id: id, ..Default::default() });
        key_pair
    }
}

/// A `KeyPair` and its request.
#[derive(Clone)]
pub struct Shown {
    key_pair: KeyPair,
    pub request: ClaimRequest,
}

impl Claimant for Shown {
    fn claim_request(&self) -> ClaimRequest {
        self.request.clone()
    }

    fn fingerprint(&self) -> Option<String> {
        None
    }

    fn is_decoded(&self) -> bool {
        true
    }
}

impl Resource for Shown {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        KeyPair::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        KeyPair::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        KeyPair::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        KeyPair::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        self.key_pair.meta()
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.key_pair.meta_mut()
    }
}

/// A status write in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Write {
    /// The version to replace.
    pub pair: Pair,
    pub status: Status,
    /// The greatest quota that the operator has seen since it decided.
    pub limit: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub namespace: Option<Config>,
    pub pairs: Vec<Option<Pair>>,
    next_uid: u8,
    /// What the Namespace watch has not sent yet; `None` is a deletion.
    pub namespace_events: VecDeque<Option<Config>>,
    /// What the `KeyPair` watch has not sent yet, and whether the object still exists.
    pub pair_events: VecDeque<(Pair, bool)>,
    /// The violated property, if any.
    pub violation: Option<&'static str>,
}

impl World {
    pub fn new(objects: usize) -> Self {
        Self {
            namespace: Some(Config::One),
            pairs: vec![None; objects],
            next_uid: 1,
            namespace_events: VecDeque::new(),
            pair_events: VecDeque::new(),
            violation: None,
        }
    }

    pub fn create(&mut self, object: usize, name: usize) {
        let pair = Pair { object, uid: self.next_uid, version: 1, name, status: Status::None };
        self.next_uid += 1;
        self.put(pair);
    }

    pub fn rename(&mut self, object: usize) {
        if let Some(pair) = self.pairs[object] {
            self.put(Pair { name: 1 - pair.name, version: pair.version + 1, ..pair });
        }
    }

    pub fn delete(&mut self, object: usize) {
        if let Some(pair) = self.pairs[object].take() {
            self.pair_events.push_back((pair, false));
        }
    }

    pub fn configure(&mut self, config: Config) {
        self.namespace = Some(config);
        self.namespace_events.push_back(Some(config));
    }

    /// Deletes the Namespace with everything in it.
    pub fn delete_namespace(&mut self) {
        (0..self.pairs.len()).for_each(|object| self.delete(object));
        self.namespace = None;
        self.namespace_events.push_back(None);
    }

    /// Handles a write, and returns whether it succeeds.
    pub fn write(&mut self, write: &Write) -> bool {
        let object = write.pair.object;
        let Some(pair) =
            self.pairs[object].filter(|pair| (pair.uid, pair.version) == (write.pair.uid, write.pair.version))
        else {
            return false;
        };
        self.put(Pair { version: pair.version + 1, status: write.status, ..pair });
        if write.status == Status::Accepted {
            let accepted: Vec<&Pair> = self.pairs.iter().flatten().filter(|pair| pair.is_accepted()).collect();
            let names: BTreeSet<usize> = accepted.iter().map(|pair| pair.name).collect();
            if names.len() < accepted.len() {
                self.violation = Some("two accepted pairs of one name");
            } else if accepted.len() > write.limit {
                self.violation = Some("more accepted pairs than the quota");
            }
        }
        true
    }

    fn put(&mut self, pair: Pair) {
        self.pairs[pair.object] = Some(pair);
        self.pair_events.push_back((pair, true));
    }
}
