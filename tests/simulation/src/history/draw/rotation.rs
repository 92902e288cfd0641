//! Rotation: requests, gate conditions, and edits of the settings.

use serde_json::{Value, json};

use super::{Drawing, one};
use crate::history::{
    Action, Verb,
    rotation::{GATES, settings},
};

impl Drawing {
    /// Adds steps about the rotation of a KeyPair.
    pub(super) fn rotation(&mut self) {
        let (namespace, name) = self.known();
        match self.dice.below(12) {
            0..=3 => {
                let request = if self.dice.happens(100) { Value::Null } else { json!(self.dice.below(4).to_string()) };
                let patch = json!({ "metadata": { "annotations": { "keypairs.dev/rotate": request } } });
                self.user(Verb::Patch, "keypairs", namespace, name, patch);
            }
            4..=6 => self.gates(namespace, name),
            7..=8 => self.edit_rotation(namespace, name),
            9 => {
                let algorithm = *one(&mut self.dice, &["Ed25519", "ECDSA"]);
                let patch = json!({ "spec": { "generate": { "algorithm": algorithm } } });
                self.user(Verb::Patch, "keypairs", namespace, name, patch);
            }
            _ => self.edit_entries(namespace, name),
        }
    }

    /// Opens or closes the gates of a KeyPair, sometimes only one of them.
    fn gates(&mut self, namespace: &str, name: &str) {
        for gate in GATES {
            if self.dice.happens(800) {
                let moment = self.moment();
                let is_open = self.dice.happens(800);
                let (namespace, name) = (namespace.to_owned(), name.to_owned());
                self.later(moment, Action::Gate { namespace, name, gate, is_open });
            }
        }
    }

    fn edit_rotation(&mut self, namespace: &'static str, name: &'static str) {
        let before = self.specs.get(&(namespace, name)).and_then(|spec| spec.get("rotation")).cloned();
        let rotation = if self.dice.happens(300) { Value::Null } else { settings(&mut self.dice) };
        // A merge patch keeps the fields that it does not name, so this one names all of them.
        let replacing = |rotation: &Value| {
            let mut all = json!({ "every": null, "publishBefore": null, "keepAfter": null, "gates": null });
            match (all.as_object_mut(), rotation.as_object()) {
                (Some(all), Some(fields)) => all.extend(fields.clone()),
                _ => return json!({ "spec": { "rotation": null } }),
            }
            json!({ "spec": { "rotation": all } })
        };
        self.user(Verb::Patch, "keypairs", namespace, name, replacing(&rotation));
        if self.dice.happens(500) {
            let moment = self.moment();
            let back = replacing(&before.unwrap_or_default());
            self.users_later(moment, Verb::Patch, "keypairs", namespace, name, back);
        } else if let Some(spec) = self.specs.get_mut(&(namespace, name)).and_then(Value::as_object_mut) {
            spec.insert("rotation".to_owned(), rotation);
        }
    }

    /// Edits a rotation entry of a Secret, as a user might.
    fn edit_entries(&mut self, namespace: &str, name: &str) {
        let entry = *one(&mut self.dice, &["ssh-privatekey.next", "ssh-privatekey.previous", "ssh-publickey.next"]);
        let value = if self.dice.happens(600) { Value::Null } else { json!(format!("$KEY{}", self.dice.below(4))) };
        self.user(Verb::Patch, "secrets", namespace, name, json!({ "data": { entry: value } }));
    }
}
