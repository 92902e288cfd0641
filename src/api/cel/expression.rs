//! CEL expressions.

use crate::domain::text_rule::TextRule;

/// A CEL string literal.
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"))
}

/// A CEL list of string literals.
pub fn list<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", texts.map(quote).collect::<Vec<_>>().join(", "))
}

/// The CEL expression that is true if `text_rule` allows the value of the variable `text`.
pub fn allows(text: &str, text_rule: &TextRule) -> String {
    let mut terms = Vec::new();
    if text_rule.min_chars > 0 {
        terms.push(format!("size({text}) >= {}", text_rule.min_chars));
    }
    terms.push(format!("size({text}) <= {}", text_rule.max_chars));
    terms.extend(text_rule.forbidden_prefixes.iter().map(|prefix| format!("!{text}.startsWith({})", quote(prefix))));
    if let Some(pattern) = text_rule.anchored() {
        terms.push(format!("{text}.matches(r'{pattern}')"));
    }
    terms.join(" && ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_keeps_its_text() {
        assert_eq!(quote(r"it's a \d"), r"'it\'s a \\d'");
    }
}
