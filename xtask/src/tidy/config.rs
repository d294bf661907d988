//! `tidy.toml`: what the rules apply to.

use std::path::Path;

use toml::{Table, Value};

use crate::failure::Failure;

/// All of `tidy.toml`.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) limits: Limits,
    pub(super) pure: Pure,
    pub(super) arrows: Arrows,
    pub(super) module_names_banned: Vec<String>,
    pub(super) code: Vec<Ban>,
    pub(super) words: Vec<Ban>,
}

/// `[limits]`
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) file_lines: usize,
    pub(super) line_columns: usize,
}

/// `[pure]`
#[derive(Debug)]
pub(super) struct Pure {
    /// Files, or directories with all that is below them.
    pub(super) modules: Vec<String>,
    /// Paths and names that may not occur in them; a `*` at the end stands for more letters.
    pub(super) banned: Vec<String>,
}

/// `[arrows]`
#[derive(Debug)]
pub(super) struct Arrows {
    /// From the ground up: a crate may depend on crates of the layers below its own.
    pub(super) layers: Vec<Vec<String>>,
    /// Crates that depend on no other member, and that no other member depends on.
    pub(super) standalone: Vec<String>,
}

/// One `[[code]]` or `[[words]]` entry.
#[derive(Debug)]
pub(super) struct Ban {
    pub(super) text: String,
    pub(super) mend: String,
}

impl Config {
    pub(super) fn load(file: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(file).map_err(|error| Failure::file(file, error))?;
        Self::parse(&text).map_err(|why| Failure::file(file, why))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let root: Table = text.parse().map_err(|error| format!("{error}"))?;
        only(&root, "the file", &["limits", "pure", "arrows", "modules", "code", "words"])?;
        let limits = table(&root, "limits", &["file_lines", "line_columns"])?;
        let pure = table(&root, "pure", &["modules", "banned"])?;
        let arrows = table(&root, "arrows", &["layers", "standalone"])?;
        let modules = table(&root, "modules", &["names_banned"])?;
        let layers = array(arrows, "layers")?;
        Ok(Self {
            limits: Limits {
                file_lines: number(limits, "file_lines")?,
                line_columns: number(limits, "line_columns")?,
            },
            pure: Pure { modules: strings(pure, "modules")?, banned: strings(pure, "banned")? },
            arrows: Arrows {
                layers: layers
                    .iter()
                    .map(|layer| texts("layers", layer.as_array().map_or(&[], Vec::as_slice)))
                    .collect::<Result<_, _>>()?,
                standalone: strings(arrows, "standalone")?,
            },
            module_names_banned: strings(modules, "names_banned")?,
            code: bans(&root, "code")?,
            words: bans(&root, "words")?,
        })
    }
}

fn bans(root: &Table, key: &str) -> Result<Vec<Ban>, String> {
    let read = |entry: &Value| {
        let entry = entry.as_table().ok_or_else(|| format!("`{key}` holds tables"))?;
        only(entry, key, &["text", "mend"])?;
        Ok(Ban { text: string(entry, "text")?, mend: string(entry, "mend")? })
    };
    array(root, key)?.iter().map(read).collect()
}

fn only(table: &Table, name: &str, known: &[&str]) -> Result<(), String> {
    match table.keys().find(|key| !known.contains(&key.as_str())) {
        Some(unknown) => Err(format!("{name}: no key named `{unknown}`")),
        None => Ok(()),
    }
}

fn table<'t>(root: &'t Table, key: &str, known: &[&str]) -> Result<&'t Table, String> {
    let found = root.get(key).and_then(Value::as_table);
    let found = found.ok_or_else(|| format!("no table `{key}`"))?;
    only(found, key, known)?;
    Ok(found)
}

fn array<'t>(table: &'t Table, key: &str) -> Result<&'t [Value], String> {
    let found = table.get(key).and_then(Value::as_array);
    found.map(Vec::as_slice).ok_or_else(|| format!("no list `{key}`"))
}

fn number(table: &Table, key: &str) -> Result<usize, String> {
    let found = table.get(key).and_then(Value::as_integer);
    found.and_then(|n| usize::try_from(n).ok()).ok_or_else(|| format!("no number `{key}`"))
}

fn string(table: &Table, key: &str) -> Result<String, String> {
    let found = table.get(key).and_then(Value::as_str);
    found.map(str::to_owned).ok_or_else(|| format!("no text `{key}`"))
}

fn strings(table: &Table, key: &str) -> Result<Vec<String>, String> {
    texts(key, array(table, key)?)
}

fn texts(key: &str, values: &[Value]) -> Result<Vec<String>, String> {
    let read = |value: &Value| value.as_str().map(str::to_owned);
    values.iter().map(|value| read(value).ok_or_else(|| format!("`{key}` holds texts"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_no_rule_reads_is_refused() {
        let refused = Config::parse("colour = 1").unwrap_err();
        assert_eq!(refused, "the file: no key named `colour`");
    }

    #[test]
    fn a_missing_part_is_named() {
        let refused = Config::parse("[limits]\nfile_lines = 600\nline_columns = 100").unwrap_err();
        assert_eq!(refused, "no table `pure`");
    }
}
