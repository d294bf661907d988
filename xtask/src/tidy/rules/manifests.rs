//! What every member's `Cargo.toml` says.

use toml::{Table, Value};

use crate::tidy::Finding;
use crate::tidy::config::Config;
use crate::tidy::tree::{Package, Tree};

/// One entry of a dependency table.
#[derive(Debug)]
pub(super) struct Dependency<'t> {
    pub(super) key: &'t str,
    value: &'t Value,
}

/// All dependencies of a manifest: of the crate, its tests, its build script, and of targets.
pub(super) fn dependencies(manifest: &Table) -> Vec<Dependency<'_>> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let targets = targets.into_iter().flat_map(Table::values).filter_map(Value::as_table);
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    std::iter::once(manifest)
        .chain(targets)
        .flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()))
        .flatten()
        .map(|(key, value)| Dependency { key, value })
        .collect()
}

/// `manifest`: lints and publishing are inherited, versions stand in the root alone.
pub(super) fn check(tree: &Tree, _config: &Config) -> Vec<Finding> {
    tree.packages.iter().filter(|package| package.is_member).flat_map(of_member).collect()
}

fn of_member(package: &Package) -> Vec<Finding> {
    let manifest = &package.manifest;
    let finding = |key: &str, message: String, mend: &str| Finding {
        path: manifest.path.clone(),
        line: manifest.line_of(key),
        rule: "manifest",
        message,
        mend: mend.to_owned(),
    };
    let mut findings = Vec::new();
    if !manifest.table.get("lints").is_some_and(is_inherited) {
        let message = "the workspace's lints do not apply".to_owned();
        findings.push(finding("lints", message, "add `[lints]` with `workspace = true`"));
    }
    let publish = manifest.table.get("package").and_then(|package| package.get("publish"));
    if !publish.is_some_and(is_inherited) {
        let message = "the crate could be published".to_owned();
        findings.push(finding("publish", message, "add `publish.workspace = true`"));
    }
    for dependency in dependencies(&manifest.table) {
        if !is_inherited(dependency.value) {
            let message = format!("{} is not taken from the workspace", dependency.key);
            let mend = "its version or path goes to the root's [workspace.dependencies]";
            findings.push(finding(dependency.key, message, mend));
        }
    }
    findings
}

fn is_inherited(value: &Value) -> bool {
    value.get("workspace").and_then(Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use crate::tidy::fixture::{Fixture, manifest};

    #[test]
    fn lints_and_publishing_are_inherited() {
        let text = "[package]\nname = \"low\"\npublish = false\n";
        Fixture::tidy().with("low/Cargo.toml", text).check(&[
            "low/Cargo.toml:1: manifest: the workspace's lints do not apply \
             (add `[lints]` with `workspace = true`)",
            "low/Cargo.toml:3: manifest: the crate could be published \
             (add `publish.workspace = true`)",
        ]);
    }

    #[test]
    fn versions_and_paths_stand_in_the_root() {
        let tables = "[dependencies]\na = \"1\"\nb.workspace = true\n[dev-dependencies]\n\
                      c = { workspace = true, features = [\"d\"] }\ne = { path = \"../e\" }\n";
        let mend = "(its version or path goes to the root's [workspace.dependencies])";
        Fixture::tidy().with("low/Cargo.toml", &manifest("low", tables)).check(&[
            &format!("low/Cargo.toml:7: manifest: a is not taken from the workspace {mend}"),
            &format!("low/Cargo.toml:11: manifest: e is not taken from the workspace {mend}"),
        ]);
    }

    #[test]
    fn a_package_outside_the_workspace_is_its_own_affair() {
        let text = "[package]\nname = \"fuzz\"\n[dependencies]\na = \"1\"\n";
        Fixture::tidy().with("fuzz/Cargo.toml", text).check(&[]);
    }
}
