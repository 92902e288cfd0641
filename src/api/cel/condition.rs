//! The CEL rules as a match condition of a webhook.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;

use super::{object_rules, spec_rules};

/// The CEL expression, for `matchConditions` of a webhook, that is true if a rule of the CRD rejects the object.
///
/// The API server calls mutating webhooks before it evaluates the rules, and answers 422 if an object breaks one. The mutating
/// webhook gives the cloud's own answer to such objects and is called only for them; the validating webhook gets all others
/// later.
#[must_use]
pub fn refused_condition() -> String {
    let spec = spec_rules();
    let spec = spec.iter().map(|rule| within(rule, "object.spec"));
    let object = object_rules();
    let object = object.iter().map(|rule| within(rule, "object"));
    let kept: Vec<String> = spec.chain(object).map(|rule| format!("({rule})")).collect();
    format!("!({})", kept.join(" && "))
}

/// The rule with `self` replaced by `this`, the new object or a part of it.
fn within(rule: &ValidationRule, this: &str) -> String {
    let is_optional = rule.optional_old_self == Some(true);
    let is_transition = rule.rule.contains("oldSelf");
    let rule = rule.rule.replace("oldSelf.hasValue()", "oldObject != null").replace("oldSelf.value()", "oldObject");
    let rule = rule.replace("oldSelf", "oldObject").replace("self.", &format!("{this}."));
    // With `generateName`, the object has no name yet. The API server appends five characters to the prefix.
    let rule = rule.replace(
        "object.metadata.name",
        "(has(object.metadata.name) ? object.metadata.name : object.metadata.generateName + 'xxxxx')",
    );
    // On creation there is no old object to compare with.
    if is_transition && !is_optional { format!("oldObject == null || {rule}") } else { rule }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_speaks_of_the_object_that_is_to_be() {
        let rule = |text: &str, optional| ValidationRule {
            rule: text.to_owned(),
            optional_old_self: optional,
            ..ValidationRule::default()
        };
        assert_eq!(within(&rule("has(self.name)", None), "object.spec"), "has(object.spec.name)");
        let transition = rule("oldSelf.spec.a == self.spec.a", None);
        assert_eq!(within(&transition, "object"), "oldObject == null || oldObject.spec.a == object.spec.a");
        let optional = rule("oldSelf.hasValue() && oldSelf.value().spec.a == self.spec.a", Some(true));
        assert_eq!(within(&optional, "object"), "oldObject != null && oldObject.spec.a == object.spec.a");
    }
}
