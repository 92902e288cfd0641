//! Client tokens: which claim is the original of each.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Claim, Ledger,
    slots::{all_for, first_for, queue_position},
};

impl Ledger {
    /// The original of the token of `claim`.
    pub(super) fn original_of(&self, claim: &Claim) -> Option<&Claim> {
        self.token_claims.get(self.originals.get(&claim.token.as_ref()?.token)?)
    }

    pub(super) fn objects_with_token(&self, token: &Arc<str>) -> BTreeSet<String> {
        all_for(&self.by_token, token).map(|(seniority, _)| seniority.object_name.to_string()).collect()
    }

    /// Adds `claim` to the claims with its token. The first is the original until another is elected.
    pub(super) fn add_to_token(&mut self, claim: Claim) {
        let Some(token) = claim.token.as_ref().map(|token| &token.token) else { return };
        self.originals.entry(Arc::clone(token)).or_insert_with(|| Arc::clone(&claim.uid));
        let member = (Arc::clone(token), queue_position(&claim));
        if claim.accepted {
            self.accepted_by_token.insert(member.clone());
        } else {
            self.accepted_by_token.remove(&member);
        }
        self.by_token.insert(member);
        self.token_claims.insert(Arc::clone(&claim.uid), claim);
    }

    /// Removes a claim from the claims with its token.
    pub(super) fn remove_from_token(&mut self, uid: &str) -> BTreeSet<String> {
        let Some(claim) = self.token_claims.remove(uid) else { return BTreeSet::new() };
        let Some(token) = claim.token.as_ref().map(|token| &token.token) else { return BTreeSet::new() };
        let member = (Arc::clone(token), queue_position(&claim));
        self.by_token.remove(&member);
        self.accepted_by_token.remove(&member);
        if first_for(&self.by_token, token).is_none() {
            self.originals.remove(token);
        }
        self.elect_original(token)
    }

    /// Makes the granted claim with this token the original, or else the oldest.
    pub(super) fn elect_original(&mut self, token: &Arc<str>) -> BTreeSet<String> {
        let Some(original) = self.originals.get_mut(token) else { return BTreeSet::new() };
        let is_current = self
            .token_claims
            .get(original)
            .is_some_and(|claim| self.by_token.contains(&(Arc::clone(token), queue_position(claim))));
        if is_current && self.slots.has_slot(original) {
            return BTreeSet::new();
        }
        // A granted claim that is not the original is accepted.
        let first = first_for(&self.accepted_by_token, token).or_else(|| first_for(&self.by_token, token));
        let Some((_, wanted)) = first.filter(|(_, uid)| uid != original) else { return BTreeSet::new() };
        let wanted = Arc::clone(wanted);
        let before = std::mem::replace(original, Arc::clone(&wanted));
        let mut changed = self.objects_with_token(token);
        if !self.slots.has_slot(&before) {
            // It is no longer the original, so it no longer waits for a slot or a name.
            changed.extend(self.slots.withdraw(&before));
        }
        if let Some(claim) = self.token_claims.get(&wanted).cloned() {
            changed.extend(self.slots.claim(claim));
        }
        changed
    }
}
