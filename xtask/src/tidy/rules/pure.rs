//! Pure modules: protocol logic that reads no clock, no socket, no file and no randomness.

use crate::tidy::Finding;
use crate::tidy::config::Config;
use crate::tidy::search::{line_at, whole};
use crate::tidy::tree::{RustFile, Tree, is_under};

/// `pure`: what the modules listed in `tidy.toml` mention. Their tests may do as they like.
pub(super) fn check(tree: &Tree, config: &Config) -> Vec<Finding> {
    let listed = &config.pure.modules;
    let gone = listed.iter().filter_map(|module| absent(tree, module));
    let pure = tree.rust.iter().filter(|file| {
        listed.iter().any(|module| is_part_of(&file.path, module)) && !is_test(&file.path)
    });
    gone.chain(pure.flat_map(|file| mentions(file, &config.pure.banned))).collect()
}

fn absent(tree: &Tree, module: &str) -> Option<Finding> {
    let exists = tree.rust.iter().any(|file| is_part_of(&file.path, module));
    (!exists).then(|| Finding {
        path: "tidy.toml".to_owned(),
        line: 1,
        rule: "pure",
        message: format!("no Rust file at `{module}`"),
        mend: "correct the list `pure.modules`".to_owned(),
    })
}

/// A module directory stands for the file of the same name too: `wire` is `wire/` and `wire.rs`.
fn is_part_of(path: &str, module: &str) -> bool {
    is_under(path, module) || path.strip_suffix(".rs") == Some(module)
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.ends_with("_tests.rs") || path.contains("/tests/")
}

fn mentions(file: &RustFile, banned: &[String]) -> Vec<Finding> {
    let lines = file.lines_before_tests();
    let code: String = file.views.code.split_inclusive('\n').take(lines).collect();
    let imports = imports(&code);
    let finding = |line, name: &String| Finding {
        path: file.path.clone(),
        line,
        rule: "pure",
        message: format!("a pure module mentions `{}`", name.trim_end_matches('*')),
        mend: "take it as an input or an argument, or move this to the shell".to_owned(),
    };
    let mut findings = Vec::new();
    for name in banned {
        findings.extend(whole(&code, name).map(|at| finding(line_at(&code, at), name)));
        let imported = imports.iter().filter(|(_, path)| whole(path, name).next().is_some());
        findings.extend(imported.map(|(line, _)| finding(*line, name)));
    }
    findings
}

/// The paths that `use a::{b, c::d};` stands for, each with its line.
fn imports(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for start in whole(code, "use") {
        let tree = code.get(start + "use".len()..).unwrap_or_default();
        let tree = tree.split(';').next().unwrap_or_default();
        let mut prefixes = vec![String::new()];
        let mut path = String::new();
        for (at, letter) in tree.char_indices() {
            let line = line_at(code, start + "use".len() + at);
            match letter {
                '{' => prefixes.push(path.clone()),
                '}' => {
                    found.push((line, std::mem::take(&mut path)));
                    prefixes.pop();
                }
                ',' => {
                    found.push((line, path));
                    path = prefixes.last().cloned().unwrap_or_default();
                }
                space if space.is_whitespace() && (path.is_empty() || path.ends_with(':')) => {}
                other => path.push(other),
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::tidy::fixture::{Fixture, TIDY};

    const MEND: &str = "(take it as an input or an argument, or move this to the shell)";

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let expected: Vec<String> =
            expected.iter().map(|found| format!("{found} {MEND}")).collect();
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        Fixture::tidy().with("low/src/pure/inner.rs", text).check(&expected);
    }

    #[test]
    fn an_edge_in_a_pure_module_is_found() {
        check(
            "fn a() {\n    Instant::now();\n    tokio_util::b();\n}\n",
            &[
                "low/src/pure/inner.rs:2: pure: a pure module mentions `Instant::now`",
                "low/src/pure/inner.rs:3: pure: a pure module mentions `tokio`",
            ],
        );
    }

    #[test]
    fn an_edge_within_a_nested_import_is_found() {
        let found = "low/src/pure/inner.rs:3: pure: a pure module mentions `std::net`";
        check("use std::{\n    fmt,\n    net::SocketAddr,\n};\n", &[found]);
        check("use std::{\n    fmt,\n    net};\n", &[found]);
        check("use std::{fmt, io::{self, Read}};\n", &[]);
    }

    #[test]
    fn comments_literals_and_tests_are_free() {
        check("// no tokio here\nconst A: &str = \"tokio\";\n", &[]);
        check("#[cfg(test)]\nmod tests {\n    use tokio::b;\n}\n", &[]);
    }

    #[test]
    fn the_file_beside_the_directory_is_pure_too() {
        let found = "low/src/pure.rs:2: pure: a pure module mentions `tokio`";
        Fixture::tidy()
            .with("low/src/pure.rs", "mod inner;\nuse tokio;\n")
            .check(&[&format!("{found} {MEND}")]);
    }

    #[test]
    fn a_file_of_tests_is_free() {
        Fixture::tidy()
            .with("low/src/pure.rs", "mod inner;\n#[cfg(test)]\nmod inner_tests;\n")
            .with("low/src/pure/inner_tests.rs", "use tokio::a;\n")
            .check(&[]);
    }

    #[test]
    fn a_listed_module_that_is_gone_is_told() {
        let tidy = TIDY.replace("low/src/pure", "low/src/gone");
        Fixture::tidy().with("tidy.toml", &tidy).check(&[
            "tidy.toml:1: pure: no Rust file at `low/src/gone` (correct the list `pure.modules`)",
        ]);
    }
}
