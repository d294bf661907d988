//! Finds names in text, whole words only.

/// Byte offsets at which `pattern` stands in `text` as a whole: `net` is not found in `netmask`,
/// unless the pattern is `net*`. An end of the pattern that is no letter needs no boundary.
pub(super) fn whole<'t>(text: &'t str, pattern: &'t str) -> impl Iterator<Item = usize> + 't {
    let (needle, open) = match pattern.strip_suffix('*') {
        Some(needle) => (needle, true),
        None => (pattern, false),
    };
    let guard_left = needle.starts_with(is_word);
    let guard_right = !open && needle.ends_with(is_word);
    text.match_indices(needle).map(|(at, _)| at).filter(move |at| {
        let before = text.get(..*at).unwrap_or_default();
        let after = text.get(at + needle.len()..).unwrap_or_default();
        let cut_left = guard_left && before.ends_with(is_word);
        let cut_right = guard_right && after.starts_with(is_word);
        !cut_left && !cut_right
    })
}

/// Letters, digits and the underscore.
pub(super) fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The line, counted from one, of a byte offset.
pub(super) fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, pattern: &str, expected: &[usize]) {
        assert_eq!(whole(text, pattern).collect::<Vec<_>>(), expected, "{pattern} in {text}");
    }

    #[test]
    fn only_whole_words_are_found() {
        check("use rand::rng; rand::rngs::StdRng", "rand::rng", &[4]);
        check("quinn quinn_proto xquinn", "quinn", &[0]);
        check("quinn quinn_proto xquinn", "quinn*", &[0, 6]);
        check("a.send(b) resend(c)", "send(", &[2]);
        check("mpsc::channel() mpsc::channel(1)", "mpsc::channel()", &[0]);
    }

    #[test]
    fn lines_count_from_one() {
        assert_eq!((line_at("a\nb", 0), line_at("a\nb", 2)), (1, 2));
    }
}
