//! A small tree in a temporary directory, for the tests of the rules.

use std::fs;
use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Its `tidy.toml`.
pub(super) const TIDY: &str = r##"
[limits]
file_lines = 10
line_columns = 40
[pure]
modules = ["low/src/pure"]
banned = ["tokio*", "std::net", "Instant::now"]
[arrows]
layers = [["low"], ["high", "side"]]
standalone = ["tool"]
[modules]
names_banned = ["utils"]
[[code]]
text = "shout("
mend = "whisper"
[[words]]
text = "frobnicate"
mend = "say what it does"
"##;

const WORKSPACE: &str = r#"
[workspace]
members = ["low"]
[workspace.dependencies]
low = { path = "low" }
"#;

/// Removed when dropped.
#[derive(Debug)]
pub(super) struct Fixture {
    root: PathBuf,
}

impl Fixture {
    /// A tree in which tidy finds nothing.
    pub(super) fn tidy() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("vioduct-tidy-{}-{number}", process::id());
        let fixture = Self { root: std::env::temp_dir().join(name) };
        fixture
            .with("tidy.toml", TIDY)
            .with("Cargo.toml", WORKSPACE)
            .with("low/Cargo.toml", &manifest("low", ""))
            .with("low/src/lib.rs", "mod pure;\n")
            .with("low/src/pure.rs", "mod inner;\n")
            .with("low/src/pure/inner.rs", "")
    }

    /// The same tree with one file written anew.
    pub(super) fn with(self, path: &str, text: &str) -> Self {
        let file = self.root.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
        self
    }

    /// The same tree with its members replaced, each a name that is also its directory.
    pub(super) fn with_members(self, members: &[&str]) -> Self {
        let list = WORKSPACE.replace("[\"low\"]", &format!("{members:?}"));
        self.with("Cargo.toml", &list)
    }

    /// What tidy finds, as it is printed.
    #[track_caller]
    pub(super) fn check(&self, expected: &[&str]) {
        let found: Vec<String> =
            super::inspect(&self.root).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // Only litter is lost when this fails, and a panic here would hide the test's own.
        drop(fs::remove_dir_all(&self.root));
    }
}

/// A manifest as every member has it, with the given tables behind.
pub(super) fn manifest(name: &str, tables: &str) -> String {
    format!(
        "[package]\nname = \"{name}\"\npublish.workspace = true\n\
         [lints]\nworkspace = true\n{tables}"
    )
}

#[test]
fn the_fixture_itself_is_tidy() {
    Fixture::tidy().check(&[]);
}
