//! The checks of the namespaces that a pair is shared with.

use super::{
    expression::allows,
    tree::{Node, check, present, when},
};
use crate::domain::{
    reason::{Parameter, Reason},
    share_with::{MAX_SHARE_WITH, SHARE_WITH},
};

/// The checks of `spec.shareWith`.
pub fn checks() -> Vec<Node> {
    let of_list = |condition: String, words: String| -> Node {
        check("shareWith", (Reason::RegionNotFound, Parameter::ShareWith), condition, words).into()
    };
    let is_short = format!("size(list) <= {MAX_SHARE_WITH}");
    let number = of_list(is_short.clone(), format!("At most {MAX_SHARE_WITH} namespaces are allowed."));
    let names = of_list(
        format!("list.all(text, {})", allows("text", &SHARE_WITH)),
        format!("Each element must be {}.", SHARE_WITH.words),
    );
    // No other check needs the value, so it has no variable, which would cost every write.
    let list = present("list", "spec.?shareWith", vec![number, when(is_short, vec![names])]);
    vec![when("hasMore", vec![list])]
}
