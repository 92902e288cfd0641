//! The rules as the condition of a webhook.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;

use super::{object_rules, spec_rules};

/// The CEL expression, for `matchConditions` of a webhook, that is true where a rule of the CRD will refuse the object.
///
/// The API server asks mutating webhooks before it looks at the rules, and answers 422 to whatever breaks them. A webhook
/// that has the cloud's own answer is to be asked then, and only then: whatever keeps the rules it is asked about later.
#[must_use]
pub fn refused_condition() -> String {
    let spec = spec_rules();
    let spec = spec.iter().map(|rule| within(rule, "object.spec"));
    let object = object_rules();
    let object = object.iter().map(|rule| within(rule, "object"));
    let kept: Vec<String> = spec.chain(object).map(|rule| format!("({rule})")).collect();
    format!("!({})", kept.join(" && "))
}

/// A rule on `this`, which is a part of the object that there is to be.
fn within(rule: &ValidationRule, this: &str) -> String {
    let is_optional = rule.optional_old_self == Some(true);
    let is_transition = rule.rule.contains("oldSelf");
    let rule = rule.rule.replace("oldSelf.hasValue()", "oldObject != null").replace("oldSelf.value()", "oldObject");
    let rule = rule.replace("oldSelf", "oldObject").replace("self.", &format!("{this}."));
    // Where the API server will generate the name, it has not done so yet; it adds five characters.
    let rule = rule.replace(
        "object.metadata.name",
        "(has(object.metadata.name) ? object.metadata.name : object.metadata.generateName + 'xxxxx')",
    );
    // On creation there is nothing that could be changed.
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
