//! What may not be written: calls, attributes, empty words, notes that nobody tracks.

use crate::tidy::Finding;
use crate::tidy::config::{Ban, Config};
use crate::tidy::search::{line_at, whole};
use crate::tidy::tree::{RustFile, Tree};

/// `banned-code`, `banned-word` and `todo`.
pub(super) fn check(tree: &Tree, config: &Config) -> Vec<Finding> {
    let code = tree.rust.iter().flat_map(|file| {
        bans("banned-code", &file.path, &file.views.code, &config.code).chain(todos(file))
    });
    let rust = tree.rust.iter().map(|file| (&file.path, &file.text));
    let prose = tree.prose.iter().map(|file| (&file.path, &file.text));
    let words = rust.chain(prose).flat_map(|(path, text)| {
        // Keeps every offset: only ASCII letters change.
        let text = text.to_ascii_lowercase();
        bans("banned-word", path, &text, &config.words).collect::<Vec<_>>()
    });
    code.chain(words).collect()
}

fn bans<'t>(
    rule: &'static str,
    path: &'t str,
    text: &'t str,
    bans: &'t [Ban],
) -> impl Iterator<Item = Finding> + 't {
    bans.iter().flat_map(move |ban| {
        whole(text, &ban.text).map(move |at| Finding {
            path: path.to_owned(),
            line: line_at(text, at),
            rule,
            message: format!("`{}`", ban.text.trim_end_matches('*')),
            mend: ban.mend.clone(),
        })
    })
}

fn todos(file: &RustFile) -> Vec<Finding> {
    let comments = &file.views.comments;
    let marks = ["TODO", "FIXME", "XXX"].into_iter();
    let found = marks.flat_map(|mark| whole(comments, mark).map(move |at| (mark, at)));
    let untracked = found.filter(|(mark, at)| {
        let after = comments.get(at + mark.len()..).unwrap_or_default();
        !names_issue(after)
    });
    untracked
        .map(|(mark, at)| Finding {
            path: file.path.clone(),
            line: line_at(comments, at),
            rule: "todo",
            message: format!("{mark} without an issue"),
            mend: format!("file one and write `{mark}(#12)`, or do it now"),
        })
        .collect()
}

/// Whether the text starts with `(#12)`.
fn names_issue(after: &str) -> bool {
    let number = after.strip_prefix("(#").and_then(|rest| rest.split_once(')'));
    number.is_some_and(|(number, _)| {
        !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::bans;
    use crate::tidy::config::Config;
    use crate::tidy::fixture::Fixture;
    use crate::tidy::source::Views;

    /// One line for each `[[code]]` entry of the repository's own tidy.toml.
    const OFFENCES: [&str; 12] = [
        "#[ignore]",
        "#[ignore = \"slow\"]",
        "#[cfg_attr(miri, ignore)]",
        "peer.do_send(message);",
        "let (a, b) = tokio::sync::mpsc::unbounded_channel();",
        "let (a, b) = crossbeam::unbounded();",
        "fn a(b: UnboundedSender<u8>) {}",
        "fn a(b: UnboundedReceiver<u8>) {}",
        "let (a, b) = std::sync::mpsc::channel();",
        "#![allow(dead_code)]",
        "#[expect(dead_code, reason = \"later\")]",
        "#[allow(unused_variables)]",
    ];

    #[test]
    fn the_repository_s_own_bans_fire() {
        let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
        let config = Path::new(&manifest_dir).join("../tidy.toml");
        let config = Config::load(&config).unwrap();
        for offence in OFFENCES {
            let code = Views::of(offence).code;
            assert!(bans("", "", &code, &config.code).next().is_some(), "{offence}");
        }
        for ban in &config.code {
            let fires = |offence: &&str| {
                let code = Views::of(offence).code;
                bans("", "", &code, std::slice::from_ref(ban)).next().is_some()
            };
            assert!(OFFENCES.iter().any(fires), "no offence shows `{}`", ban.text);
        }
        for clean in ["mpsc::channel(8)", "a.try_send(b)", "sync_channel::<u8>(1)", "ignore(a)"] {
            assert!(bans("", "", clean, &config.code).next().is_none(), "{clean}");
        }
    }

    #[test]
    fn a_banned_call_is_found_in_code_only() {
        let text = "mod pure;\nfn a() { shout(1) }\n// shout(2)\nconst B: &str = \"shout(3)\";\n";
        Fixture::tidy()
            .with("low/src/lib.rs", text)
            .check(&["low/src/lib.rs:2: banned-code: `shout(` (whisper)"]);
    }

    #[test]
    fn an_empty_word_is_found_in_comments_literals_and_prose() {
        Fixture::tidy()
            .with("low/src/lib.rs", "mod pure;\n// Frobnicate!\nconst A: &str = \"frobnicate\";\n")
            .with("docs/a.md", "# A\n\nWe FROBNICATE; defrobnicated and frobnicates may stay.\n")
            .check(&[
                "docs/a.md:3: banned-word: `frobnicate` (say what it does)",
                "low/src/lib.rs:2: banned-word: `frobnicate` (say what it does)",
                "low/src/lib.rs:3: banned-word: `frobnicate` (say what it does)",
            ]);
    }

    #[test]
    fn a_note_without_an_issue_is_found() {
        let note = |mark: &str| format!("mod pure;\n// {mark}(#12): a\n// {mark}: b\n");
        let tree = Fixture::tidy().with("low/src/lib.rs", &note("TODO"));
        tree.check(&["low/src/lib.rs:3: todo: TODO without an issue \
                      (file one and write `TODO(#12)`, or do it now)"]);
        let tree = tree.with("low/src/lib.rs", &note("FIXME"));
        tree.check(&["low/src/lib.rs:3: todo: FIXME without an issue \
                      (file one and write `FIXME(#12)`, or do it now)"]);
    }
}
