//! Examples that a reader can find.

use crate::tidy::Finding;
use crate::tidy::config::Config;
use crate::tidy::search::whole;
use crate::tidy::tree::Tree;

const README: &str = "examples/README.md";

/// `example`: every example is listed in the README beside it.
pub(super) fn check(tree: &Tree, _config: &Config) -> Vec<Finding> {
    let readme = tree.prose.iter().find(|file| file.path == README);
    let readme = readme.map_or("", |file| file.text.as_str());
    let crates = tree.packages.iter().map(|package| (&package.dir, &package.manifest.path));
    let crates = crates.filter_map(|(dir, path)| Some((dir.strip_prefix("examples/")?, path)));
    let files = tree.rust.iter().filter_map(|file| {
        let name = file.path.strip_prefix("examples/")?.strip_suffix(".rs")?;
        let name = name.strip_prefix("src/bin/").unwrap_or(name);
        (!name.contains('/')).then_some((name, &file.path))
    });
    let unlisted = crates.chain(files).filter(|(name, _)| whole(readme, name).next().is_none());
    unlisted
        .map(|(name, path)| Finding {
            path: path.clone(),
            line: 1,
            rule: "example",
            message: format!("`{name}` is not in {README}"),
            mend: "add it there, with the last lines it prints".to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::tidy::fixture::Fixture;

    const MEND: &str = "(add it there, with the last lines it prints)";

    #[test]
    fn an_example_that_the_readme_does_not_name_is_found() {
        let package = "[package]\nname = \"example-hello\"\n";
        Fixture::tidy()
            .with("examples/hello/Cargo.toml", package)
            .with("examples/hello/src/main.rs", "")
            .with("examples/echo/Cargo.toml", package)
            .with("examples/echo/src/main.rs", "")
            .with("examples/README.md", "- `hello`: two nodes\n")
            .check(&[&format!(
                "examples/echo/Cargo.toml:1: example: `echo` is not in examples/README.md {MEND}"
            )]);
    }
}
