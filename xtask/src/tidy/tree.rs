//! The files of the tree, read once.

use std::fs;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::source::Views;
use crate::failure::Failure;

/// Directories that hold no source of ours: build output and what fuzzing leaves behind.
const SKIPPED: [&str; 3] = ["target", "corpus", "artifacts"];

/// What the rules look at. Paths are relative to the root, with `/` between their parts.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) rust: Vec<RustFile>,
    pub(super) prose: Vec<Prose>,
    /// Every manifest with a `[package]`, members and others.
    pub(super) packages: Vec<Package>,
    pub(super) workspace: Manifest,
}

/// A Rust file.
#[derive(Debug)]
pub(super) struct RustFile {
    pub(super) path: String,
    pub(super) text: String,
    pub(super) views: Views,
}

/// A Markdown file.
#[derive(Debug)]
pub(super) struct Prose {
    pub(super) path: String,
    pub(super) text: String,
}

/// A `Cargo.toml`.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) path: String,
    pub(super) text: String,
    pub(super) table: Table,
}

/// A manifest with a `[package]`.
#[derive(Debug)]
pub(super) struct Package {
    pub(super) name: String,
    /// Empty at the root of the tree.
    pub(super) dir: String,
    pub(super) is_member: bool,
    pub(super) manifest: Manifest,
}

impl Tree {
    pub(super) fn read(root: &Path) -> Result<Self, Failure> {
        let mut files = Vec::new();
        list(root, &mut files)?;
        files.sort();
        let workspace = Manifest::read(root, &root.join("Cargo.toml"))?;
        let mut tree =
            Self { rust: Vec::new(), prose: Vec::new(), packages: Vec::new(), workspace };
        for file in &files {
            let path = relative(root, file);
            if path.ends_with(".rs") {
                let text = read(file)?;
                tree.rust.push(RustFile { path, views: Views::of(&text), text });
            } else if path.ends_with(".md") {
                tree.prose.push(Prose { path, text: read(file)? });
            } else if file.ends_with("Cargo.toml") {
                let manifest = Manifest::read(root, file)?;
                tree.packages.extend(tree.package(manifest));
            }
        }
        Ok(tree)
    }

    /// The package behind the name by which members depend on it: the root may rename it.
    pub(super) fn package_named<'t>(&'t self, key: &'t str) -> &'t str {
        let workspace = self.workspace.table.get("workspace");
        let shared = workspace.and_then(|table| table.get("dependencies")?.get(key));
        shared.and_then(|entry| entry.get("package")?.as_str()).unwrap_or(key)
    }

    fn package(&self, manifest: Manifest) -> Option<Package> {
        let name = manifest.table.get("package")?.get("name")?.as_str()?.to_owned();
        let dir = manifest.path.strip_suffix("Cargo.toml")?.trim_end_matches('/').to_owned();
        let members = self.workspace.table.get("workspace").and_then(|table| table.get("members"));
        let members = members.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let is_member = members.iter().filter_map(Value::as_str).any(|member| {
            match member.strip_suffix("/*") {
                Some(parent) => dir.rsplit_once('/').is_some_and(|(above, _)| above == parent),
                None => member == dir,
            }
        });
        Some(Package { name, dir, is_member, manifest })
    }
}

impl RustFile {
    /// How many lines stand before the tests: those above the first `#[cfg(test)]` at the start
    /// of a line that belongs to a module written out in this file.
    pub(super) fn lines_before_tests(&self) -> usize {
        let lines: Vec<&str> = self.views.code.lines().collect();
        let opens_tests = |at: usize| {
            let mut after = lines.iter().skip(at + 1).skip_while(|line| line.starts_with("#["));
            after.next().is_some_and(|line| line.starts_with("mod ") && line.contains('{'))
        };
        let found = lines
            .iter()
            .enumerate()
            .position(|(at, line)| line.starts_with("#[cfg(test)]") && opens_tests(at));
        found.unwrap_or(lines.len())
    }
}

impl Manifest {
    fn read(root: &Path, file: &Path) -> Result<Self, Failure> {
        let text = read(file)?;
        let table = text.parse().map_err(|error| Failure::file(file, error))?;
        Ok(Self { path: relative(root, file), text, table })
    }

    /// The line on which `key` is set, or the first.
    pub(super) fn line_of(&self, key: &str) -> usize {
        let sets = |line: &str| {
            let rest = line.trim_start_matches(['[', ' ']).strip_prefix(key);
            rest.is_some_and(|rest| rest.starts_with([' ', '.', '=', ']']))
        };
        self.text.lines().position(sets).map_or(1, |at| at + 1)
    }
}

/// Whether `path` is `prefix`, or stands below it.
pub(super) fn is_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn list(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    for entry in fs::read_dir(dir).map_err(|error| Failure::file(dir, error))? {
        let entry = entry.map_err(|error| Failure::file(dir, error))?;
        let kind = entry.file_type().map_err(|error| Failure::file(&entry.path(), error))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if kind.is_file() {
            files.push(entry.path());
        } else if kind.is_dir() && !name.starts_with('.') && !SKIPPED.contains(&name.as_ref()) {
            list(&entry.path(), files)?;
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| Failure::file(file, error))
}

fn relative(root: &Path, file: &Path) -> String {
    let path = file.strip_prefix(root).unwrap_or(file);
    path.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}
