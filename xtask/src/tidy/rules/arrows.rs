//! Which crate may depend on which.

use super::manifests::dependencies;
use crate::tidy::Finding;
use crate::tidy::config::{Arrows, Config};
use crate::tidy::tree::{Package, Tree};

/// `arrows`: dependencies between members, those of tests and build scripts too, point downward.
pub(super) fn check(tree: &Tree, config: &Config) -> Vec<Finding> {
    let members = || tree.packages.iter().filter(|package| package.is_member);
    let mut findings = Vec::new();
    for package in members() {
        if place(&config.arrows, &package.name).is_none() {
            findings.push(unplaced(package));
            continue;
        }
        for dependency in dependencies(&package.manifest.table) {
            let name = tree.package_named(dependency.key);
            let to_member = members().any(|member| member.name == name);
            if to_member && !points_down(&config.arrows, &package.name, name) {
                findings.push(Finding {
                    path: package.manifest.path.clone(),
                    line: package.manifest.line_of(dependency.key),
                    rule: "arrows",
                    message: format!("{} may not depend on {name}", package.name),
                    mend: "move the code down a layer; a new arrow is an ADR".to_owned(),
                });
            }
        }
    }
    findings
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Layer(usize),
    Standalone,
}

fn place(arrows: &Arrows, name: &str) -> Option<Place> {
    if arrows.standalone.iter().any(|crate_name| crate_name == name) {
        return Some(Place::Standalone);
    }
    let layer = arrows.layers.iter().position(|layer| layer.iter().any(|found| found == name));
    layer.map(Place::Layer)
}

fn points_down(arrows: &Arrows, from: &str, to: &str) -> bool {
    match (place(arrows, from), place(arrows, to)) {
        (Some(Place::Layer(from)), Some(Place::Layer(to))) => to < from,
        _ => false,
    }
}

fn unplaced(package: &Package) -> Finding {
    Finding {
        path: package.manifest.path.clone(),
        line: package.manifest.line_of("name"),
        rule: "arrows",
        message: format!("no layer is known for {}", package.name),
        mend: "give it its place in tidy.toml, `arrows.layers`".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::tidy::fixture::{Fixture, manifest};

    const MEND: &str = "(move the code down a layer; a new arrow is an ADR)";

    fn with_members(members: &[(&str, &str)]) -> Fixture {
        let names: Vec<&str> = members.iter().map(|(name, _)| *name).collect();
        let tree = Fixture::tidy().with_members(&names);
        members.iter().fold(tree, |tree, (name, tables)| {
            tree.with(&format!("{name}/Cargo.toml"), &manifest(name, tables))
        })
    }

    #[test]
    fn an_arrow_downward_is_fine() {
        with_members(&[("low", ""), ("high", "[dependencies]\nlow.workspace = true\n")]).check(&[]);
    }

    #[test]
    fn an_arrow_upward_is_found_in_every_kind_of_dependency() {
        for kind in ["dependencies", "dev-dependencies", "target.'cfg(unix)'.build-dependencies"] {
            let tables = format!("[{kind}]\nhigh.workspace = true\n");
            let found = format!("low/Cargo.toml:7: arrows: low may not depend on high {MEND}");
            with_members(&[("low", &tables), ("high", "")]).check(&[&found]);
        }
    }

    #[test]
    fn crates_of_one_layer_do_not_depend_on_each_other() {
        let found = format!("side/Cargo.toml:7: arrows: side may not depend on high {MEND}");
        let side = ("side", "[dependencies]\nhigh.workspace = true\n");
        with_members(&[("low", ""), ("high", ""), side]).check(&[&found]);
    }

    #[test]
    fn a_standalone_crate_depends_on_no_member() {
        let found = format!("tool/Cargo.toml:7: arrows: tool may not depend on low {MEND}");
        let tool = ("tool", "[dependencies]\nlow.workspace = true\n");
        with_members(&[("low", ""), tool]).check(&[&found]);
    }

    #[test]
    fn a_crate_without_a_layer_is_found() {
        with_members(&[("low", ""), ("stray", "")])
            .check(&["stray/Cargo.toml:2: arrows: no layer is known for stray \
             (give it its place in tidy.toml, `arrows.layers`)"]);
    }
}
