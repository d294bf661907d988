//! The rules, one module per family. Each looks at the whole tree and says what to mend.

mod arrows;
mod examples;
mod manifests;
mod modules;
mod pure;
mod size;
mod words;

use super::Finding;
use super::config::Config;
use super::tree::Tree;

/// Applies every rule.
pub(super) fn apply(tree: &Tree, config: &Config) -> Vec<Finding> {
    let rules = [
        arrows::check,
        examples::check,
        manifests::check,
        modules::check,
        pure::check,
        size::check,
        words::check,
    ];
    rules.iter().flat_map(|rule| rule(tree, config)).collect()
}
