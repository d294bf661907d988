//! Files that outgrow a reader, lines that outgrow a screen.

use crate::tidy::Finding;
use crate::tidy::config::Config;
use crate::tidy::tree::{RustFile, Tree};

/// `file-size` and `line-width`, in Rust files.
pub(super) fn check(tree: &Tree, config: &Config) -> Vec<Finding> {
    let of_file = |file| file_size(file, config).into_iter().chain(line_width(file, config));
    tree.rust.iter().flat_map(of_file).collect()
}

fn file_size(file: &RustFile, config: &Config) -> Option<Finding> {
    let limit = config.limits.file_lines;
    let lines = file.lines_before_tests();
    (lines > limit).then(|| Finding {
        path: file.path.clone(),
        line: limit + 1,
        rule: "file-size",
        message: format!("{lines} lines before its tests, {limit} at most"),
        mend: "split it: one main type a file".to_owned(),
    })
}

fn line_width(file: &RustFile, config: &Config) -> Vec<Finding> {
    let limit = config.limits.line_columns;
    let wide = |(at, line): (usize, &str)| {
        let columns = line.chars().count();
        // An address cannot be broken.
        (columns > limit && !line.contains("http")).then(|| Finding {
            path: file.path.clone(),
            line: at + 1,
            rule: "line-width",
            message: format!("{columns} columns, {limit} at most"),
            mend: "break the line; rustfmt leaves long strings and comments to you".to_owned(),
        })
    };
    file.text.lines().enumerate().filter_map(wide).collect()
}

#[cfg(test)]
mod tests {
    use crate::tidy::fixture::Fixture;

    #[test]
    fn a_long_file_is_split() {
        let text = format!("mod pure;\n{}", "fn a() {}\n".repeat(10));
        Fixture::tidy()
            .with("low/src/lib.rs", &text)
            .check(&["low/src/lib.rs:11: file-size: 11 lines before its tests, 10 at most \
             (split it: one main type a file)"]);
    }

    #[test]
    fn the_tests_of_a_file_do_not_count() {
        let tests = "#[cfg(test)]\n#[expect(x)]\nmod tests {\n".to_owned() + &"\n".repeat(20) + "}";
        Fixture::tidy().with("low/src/lib.rs", &format!("mod pure;\n{tests}")).check(&[]);
    }

    #[test]
    fn a_test_only_declaration_at_the_top_hides_nothing() {
        let text = "#[cfg(test)]\nmod pure;\n".to_owned() + &"fn a() {}\n".repeat(9);
        Fixture::tidy()
            .with("low/src/lib.rs", &text)
            .check(&["low/src/lib.rs:11: file-size: 11 lines before its tests, 10 at most \
             (split it: one main type a file)"]);
    }

    #[test]
    fn a_wide_line_is_broken_unless_it_holds_an_address() {
        let text = format!("mod pure;\n// {}\n// http://{}\n", "é".repeat(38), "e".repeat(40));
        Fixture::tidy()
            .with("low/src/lib.rs", &text)
            .check(&["low/src/lib.rs:2: line-width: 41 columns, 40 at most \
             (break the line; rustfmt leaves long strings and comments to you)"]);
    }
}
