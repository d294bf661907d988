//! Which files cargo would compile, and what modules are called.

use std::collections::{BTreeMap, BTreeSet};

use toml::Value;

use crate::tidy::Finding;
use crate::tidy::config::Config;
use crate::tidy::search::{is_word, whole};
use crate::tidy::tree::{Package, RustFile, Tree};

/// `orphan`: a file in no module tree. `module-name`: a name that says nothing.
pub(super) fn check(tree: &Tree, config: &Config) -> Vec<Finding> {
    let names = tree.rust.iter().filter_map(|file| module_name(file, config));
    orphans(tree).into_iter().chain(names).collect()
}

fn module_name(file: &RustFile, config: &Config) -> Option<Finding> {
    let module = file.path.strip_suffix("/mod.rs").or_else(|| file.path.strip_suffix(".rs"))?;
    let name = module.rsplit('/').next()?;
    config.module_names_banned.iter().any(|banned| banned == name).then(|| Finding {
        path: file.path.clone(),
        line: 1,
        rule: "module-name",
        message: format!("a module named `{name}`"),
        mend: "name it after what it holds".to_owned(),
    })
}

fn orphans(tree: &Tree) -> Vec<Finding> {
    let files: BTreeMap<&str, &RustFile> =
        tree.rust.iter().map(|file| (file.path.as_str(), file)).collect();
    let roots = tree.packages.iter().flat_map(|package| roots(package, tree));
    let mut open: Vec<(String, bool)> = roots.map(|path| (path, true)).collect();
    let mut reached = BTreeSet::new();
    while let Some((path, is_root)) = open.pop() {
        if let Some(file) = files.get(path.as_str())
            && reached.insert(path)
        {
            open.extend(children(file, is_root).into_iter().map(|child| (child, false)));
        }
    }
    let orphans = files.keys().filter(|path| !reached.contains(**path));
    orphans
        .map(|path| Finding {
            path: (*path).to_owned(),
            line: 1,
            rule: "orphan",
            message: "no `mod` leads here from a crate's root, so it is never compiled".to_owned(),
            mend: "declare the module, or delete the file".to_owned(),
        })
        .collect()
}

/// The files at which cargo starts to compile a package.
fn roots(package: &Package, tree: &Tree) -> Vec<String> {
    let below = |path: &str| match package.dir.as_str() {
        "" => path.to_owned(),
        dir => format!("{dir}/{path}"),
    };
    let mut roots = vec![below("src/lib.rs"), below("src/main.rs"), below("build.rs")];
    for dir in ["src/bin", "tests", "benches", "examples"] {
        let dir = below(dir) + "/";
        let found = tree.rust.iter().filter(|file| {
            let rest = file.path.strip_prefix(&dir);
            rest.is_some_and(|rest| match rest.split_once('/') {
                None => true,
                Some((_, inner)) => inner == "main.rs",
            })
        });
        roots.extend(found.map(|file| file.path.clone()));
    }
    let targets = ["lib", "bin", "test", "bench", "example"];
    let targets = targets.iter().filter_map(|kind| package.manifest.table.get(*kind));
    let paths = targets.flat_map(|target| match target {
        Value::Array(entries) => entries.iter().collect(),
        one => vec![one],
    });
    let paths = paths.filter_map(|target| target.get("path")?.as_str());
    roots.extend(paths.map(|path| normal(&below(path))));
    roots
}

/// Where the files that `file` declares with `mod name;` may stand.
fn children(file: &RustFile, is_root: bool) -> Vec<String> {
    let code = &file.views.code;
    let (dir, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
    let home = match name.strip_suffix(".rs") {
        Some(stem) if !is_root && stem != "mod" => format!("{dir}/{stem}"),
        _ => dir.to_owned(),
    };
    let mut found = Vec::new();
    for at in whole(code, "mod") {
        let declared = code.get(at + "mod".len()..).unwrap_or_default().trim_start();
        let name: String = declared.chars().take_while(|letter| is_word(*letter)).collect();
        let after = declared.strip_prefix(name.as_str()).unwrap_or_default().trim_start();
        if name.is_empty() || !after.starts_with(';') {
            continue;
        }
        let around = inline_modules(code.get(..at).unwrap_or_default());
        let home = around.iter().fold(home.clone(), |home, inline| format!("{home}/{inline}"));
        match path_attribute(file, at) {
            Some(path) => found.push(normal(&format!("{dir}/{path}"))),
            None => found.extend([format!("{home}/{name}.rs"), format!("{home}/{name}/mod.rs")]),
        }
    }
    found
}

/// The names of the modules written out in the file that are still open where `code` ends.
fn inline_modules(code: &str) -> Vec<&str> {
    let mut open = Vec::new();
    for (at, letter) in code.char_indices() {
        match letter {
            '{' => {
                let before = code.get(..at).unwrap_or_default();
                let mut words = before.split_whitespace().rev();
                open.push(words.next().filter(|_| words.next() == Some("mod")));
            }
            '}' => {
                open.pop();
            }
            _ => {}
        }
    }
    open.into_iter().flatten().collect()
}

/// The text of a `#[path = "…"]` on the line above the declaration at `at`.
fn path_attribute(file: &RustFile, at: usize) -> Option<&str> {
    let line = file.text.get(..at)?.lines().rev().find(|line| line.starts_with("#[path"))?;
    let above = file.text.get(..at)?.trim_end_matches(|letter| letter != '\n').trim_end();
    if !above.ends_with(line) {
        return None;
    }
    line.split('"').nth(1)
}

/// Without `.` and `..` in it.
fn normal(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use crate::tidy::fixture::{Fixture, manifest};

    const ORPHAN: &str = "orphan: no `mod` leads here from a crate's root, so it is never \
                          compiled (declare the module, or delete the file)";

    #[test]
    fn a_file_that_no_module_declares_is_found() {
        Fixture::tidy()
            .with("low/src/lib.rs", "mod pure;\n// mod lost;\n")
            .with("low/src/lost.rs", "")
            .with("stray.rs", "")
            .check(&[&format!("low/src/lost.rs:1: {ORPHAN}"), &format!("stray.rs:1: {ORPHAN}")]);
    }

    #[test]
    fn every_place_where_cargo_looks_is_known() {
        let targets = "[[bin]]\nname = \"a\"\npath = \"./fuzz/a.rs\"\n";
        Fixture::tidy()
            .with("low/Cargo.toml", &manifest("low", targets))
            .with("low/fuzz/a.rs", "")
            .with("low/build.rs", "")
            .with("low/src/bin/b.rs", "")
            .with("low/src/bin/c/main.rs", "mod d;\n")
            .with("low/src/bin/c/d.rs", "")
            .with("low/tests/e.rs", "mod f;\n")
            .with("low/tests/f/mod.rs", "")
            .check(&[]);
    }

    #[test]
    fn inline_modules_and_path_attributes_lead_to_files() {
        let text = "mod pure;\nmod a {\n    mod b;\n}\n#[path = \"c/other.rs\"]\nmod d;\n";
        Fixture::tidy()
            .with("low/src/lib.rs", text)
            .with("low/src/a/b.rs", "")
            .with("low/src/c/other.rs", "")
            .check(&[]);
    }

    #[test]
    fn a_name_that_says_nothing_is_found() {
        Fixture::tidy()
            .with("low/src/lib.rs", "mod pure;\nmod utils;\n")
            .with("low/src/utils/mod.rs", "")
            .check(&["low/src/utils/mod.rs:1: module-name: a module named `utils` \
                      (name it after what it holds)"]);
    }
}
