//! The rules of the tree that neither the compiler nor clippy knows.
//!
//! `tidy.toml` at the root says what each rule applies to; `rules/` holds one module per family.
//! The tree is read once; rules only look at it. Clippy counts the lines of functions.

mod config;
#[cfg(test)]
mod fixture;
mod rules;
mod search;
mod source;
mod tree;

use std::fmt;
use std::path::Path;

use crate::failure::Failure;
use config::Config;
use tree::Tree;

/// One thing to mend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    /// Relative to the root of the tree.
    path: String,
    /// Counted from one.
    line: usize,
    rule: &'static str,
    message: String,
    mend: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, rule, message, mend } = self;
        write!(f, "{path}:{line}: {rule}: {message} ({mend})")
    }
}

/// Reads the tree at `root`, prints what breaks a rule.
pub(crate) fn run(root: &Path) -> Result<(), Failure> {
    let findings = inspect(root)?;
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(()),
        1 => Err(Failure::new("1 thing to tidy")),
        count => Err(Failure::new(format!("{count} things to tidy"))),
    }
}

fn inspect(root: &Path) -> Result<Vec<Finding>, Failure> {
    let config = Config::load(&root.join("tidy.toml"))?;
    let tree = Tree::read(root)?;
    let mut findings = rules::apply(&tree, &config);
    findings.sort();
    findings.dedup();
    Ok(findings)
}
