//! Builds one CEL rule.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::ValidationRule;

use crate::domain::{
    profile::Profile,
    reason::{Parameter, Reason, Refusal},
    request::Generate,
    text_rule::TextRule,
};

/// The level of the schema that holds a rule, which determines `self`.
#[derive(Debug, Clone, Copy)]
pub enum Level {
    /// The whole object.
    Object,
    /// The spec.
    Spec,
}

impl Level {
    /// The CEL expression for the spec.
    pub const fn spec(self) -> &'static str {
        match self {
            Self::Object => "self.spec",
            Self::Spec => "self",
        }
    }

    /// The `fieldPath` of a field of the spec.
    fn path(self, field: &str) -> String {
        match self {
            Self::Object => format!(".spec.{field}"),
            Self::Spec => format!(".{field}"),
        }
    }
}

/// A rule on `field` of the spec, for `profiles`. If `condition` is false, the object is refused for the reason and the parameter
/// in `about`. The message is the profile's own, followed by `words`: what is wrong and what to do.
pub fn rule(
    level: Level,
    field: &str,
    profiles: &[Profile],
    condition: &str,
    about: (Reason, Parameter),
    words: &str,
) -> ValidationRule {
    let rule = if profiles.len() == Profile::ALL.len() {
        condition.to_owned()
    } else {
        let names = list(profiles.iter().map(|profile| profile.as_str()));
        format!("!({}.profile in {names}) || ({condition})", level.spec())
    };
    let answers: Vec<(&str, String)> = profiles
        .iter()
        .map(|profile| {
            let error = profile.error(&Refusal::new(about.0, about.1, ""));
            (profile.as_str(), format!("{}: {}.", error.code, error.message.trim_end().trim_end_matches('.')))
        })
        .collect();
    let message = answers.first().map(|(_, answer)| format!("{answer} {words}"));
    let differ = answers.windows(2).any(|pair| matches!(pair, [(_, one), (_, other)] if one != other));
    let message_expression = differ.then(|| {
        let answers: Vec<String> =
            answers.iter().map(|(profile, answer)| format!("{}: {}", quote(profile), quote(answer))).collect();
        format!("{{{}}}[{}.profile] + {}", answers.join(", "), level.spec(), quote(&format!(" {words}")))
    });
    ValidationRule {
        rule,
        message,
        message_expression,
        field_path: Some(level.path(field)),
        ..ValidationRule::default()
    }
}

/// A CEL string literal.
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

/// A CEL list of string literals.
pub fn list<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", texts.map(quote).collect::<Vec<_>>().join(", "))
}

/// The CEL expression for the optional value at `path` below `object`, or for `default` if the value or one of its parents is
/// absent.
pub fn effective(object: &str, path: &[&str], default: &str) -> String {
    let mut value = object.to_owned();
    let mut present = Vec::new();
    for step in path {
        value = format!("{value}.{step}");
        present.push(format!("has({value})"));
    }
    format!("({} ? {value} : {default})", present.join(" && "))
}

/// The CEL expression for the algorithm that `spec` requests.
pub fn effective_algorithm(spec: &str) -> String {
    effective(spec, &["generate", "algorithm"], &quote(Generate::default().algorithm.name()))
}

/// The CEL expression that is true if `text_rule` allows the value of the expression `text`.
pub fn allows(text: &str, text_rule: &TextRule) -> String {
    let mut terms = Vec::new();
    if text_rule.min_chars > 0 {
        terms.push(format!("size({text}) >= {}", text_rule.min_chars));
    }
    terms.push(format!("size({text}) <= {}", text_rule.max_chars));
    if let Some(pattern) = text_rule.anchored() {
        terms.push(format!("{text}.matches(r'{pattern}')"));
    }
    terms.extend(text_rule.forbidden_prefixes.iter().map(|prefix| format!("!{text}.startsWith({})", quote(prefix))));
    terms.join(" && ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_keeps_its_text() {
        assert_eq!(quote(r"it's a \d"), r"'it\'s a \\d'");
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        assert_eq!(effective("self", &["a", "b"], "'c'"), "(has(self.a) && has(self.a.b) ? self.a.b : 'c')");
    }

    #[test]
    fn profiles_that_answer_alike_need_no_expression() {
        let about = (Reason::InvalidDescription, Parameter::Description);
        let alike = rule(Level::Spec, "description", &[Profile::Volcengine, Profile::OpenSSH], "false", about, "No.");
        assert_eq!(alike.message_expression, None);
        assert_eq!(alike.rule, "!(self.profile in ['Volcengine', 'OpenSSH']) || (false)");
        let all = rule(Level::Object, "description", &Profile::ALL, "false", about, "No.");
        assert_eq!(all.rule, "false");
        assert!(all.message_expression.unwrap().contains("'UCloud': '230: Params [Description] not available.'"));
        assert_eq!(all.field_path.as_deref(), Some(".spec.description"));
    }
}
