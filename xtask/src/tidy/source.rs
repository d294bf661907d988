//! Tells code, comments and literals of a Rust file apart.
//!
//! A view keeps every byte offset and every line end of the file, and blanks what it does not
//! show, so that a rule about code never fires on a comment that explains the rule.

use std::iter;

use super::search::is_word;

/// The two views of one file.
#[derive(Debug)]
pub(super) struct Views {
    /// Without comments and the contents of string and character literals.
    pub(super) code: String,
    /// Comments alone.
    pub(super) comments: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    Literal,
}

impl Views {
    pub(super) fn of(text: &str) -> Self {
        let mut views = Self { code: String::new(), comments: String::new() };
        let mut rest = text;
        let mut after_word = false;
        while !rest.is_empty() {
            let (kind, len) = next_span(rest, after_word);
            let (span, tail) = rest.split_at(len);
            views.push(kind, span);
            after_word = kind == Kind::Code && span.ends_with(is_word);
            rest = tail;
        }
        views
    }

    fn push(&mut self, kind: Kind, span: &str) {
        let shown = |view| {
            if view == kind { span.to_owned() } else { blank(span) }
        };
        self.code.push_str(&shown(Kind::Code));
        self.comments.push_str(&shown(Kind::Comment));
    }
}

fn blank(span: &str) -> String {
    let blank = |letter: char| match letter {
        '\n' => iter::repeat_n('\n', 1),
        other => iter::repeat_n(' ', other.len_utf8()),
    };
    span.chars().flat_map(blank).collect()
}

/// The kind and the length in bytes of what `rest` starts with.
fn next_span(rest: &str, after_word: bool) -> (Kind, usize) {
    let first = rest.chars().next().map_or(0, char::len_utf8);
    if rest.starts_with("//") {
        return (Kind::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Kind::Comment, block_comment_len(rest));
    }
    if rest.starts_with('"') {
        return (Kind::Literal, string_len(rest));
    }
    if rest.starts_with('\'') {
        return character_len(rest).map_or((Kind::Code, first), |len| (Kind::Literal, len));
    }
    match raw_string_len(rest) {
        Some(len) if !after_word => (Kind::Literal, len),
        _ => (Kind::Code, first),
    }
}

fn block_comment_len(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(tail) = rest.get(at..).filter(|tail| !tail.is_empty()) {
        if tail.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with("*/") {
            depth = depth.saturating_sub(1);
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += tail.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

fn string_len(rest: &str) -> usize {
    let mut letters = rest.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '\\' => {
                letters.next();
            }
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// None for a lifetime or a label.
fn character_len(rest: &str) -> Option<usize> {
    let mut letters = rest.char_indices().skip(1);
    match letters.next()?.1 {
        '\\' => {
            letters.next()?;
            letters.find(|(_, letter)| *letter == '\'').map(|(at, _)| at + 1)
        }
        _ => letters.next().filter(|(_, letter)| *letter == '\'').map(|(at, _)| at + 1),
    }
}

fn raw_string_len(rest: &str) -> Option<usize> {
    let head = ["r", "br", "cr"].into_iter().find_map(|prefix| rest.strip_prefix(prefix))?;
    let body = head.trim_start_matches('#');
    let hashes = head.len() - body.len();
    let close = format!("\"{}", "#".repeat(hashes));
    let text = body.strip_prefix('"')?;
    let open = rest.len() - text.len();
    Some(text.find(&close).map_or(rest.len(), |at| open + at + close.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, code: &str) {
        let views = Views::of(text);
        let squeezed: Vec<&str> = views.code.split_whitespace().collect();
        assert_eq!(squeezed.join(" "), code);
        assert_eq!(views.code.len(), text.len());
        assert_eq!(views.comments.len(), text.len());
    }

    #[test]
    fn comments_are_no_code() {
        check("a // b\nc", "a c");
        check("a /* b /* c */ d */ e", "a e");
        check("a /// é\nb", "a b");
    }

    #[test]
    fn literals_are_no_code() {
        check(r#"a("b\"c") d"#, "a( ) d");
        check("a(r#\"b\"c\"#) d", "a( ) d");
        check("a(b\"c\") r#type", "a(b ) r#type");
        check(r"a('\'') b('\u{e9}') c('é')", "a( ) b( ) c( )");
        check("attr\"b\"", "attr");
    }

    #[test]
    fn lifetimes_are_code() {
        check("fn a<'b>(c: &'b str) { 'd: loop {} }", "fn a<'b>(c: &'b str) { 'd: loop {} }");
    }

    #[test]
    fn the_comment_view_holds_comments_only() {
        assert_eq!(Views::of("a // b\n\"// c\"").comments.trim(), "// b");
    }
}
