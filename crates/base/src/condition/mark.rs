//! A text with a mark under a place of it, for those who wrote it.

use super::Place;

/// Characters shown before the place, and from it on.
const BEFORE_MAX: usize = 60;
const BEHIND_MAX: usize = 60;

/// Two lines: that of the text where the place begins, cut where it is long, and a caret
/// under the place with a remark.
#[must_use]
pub fn marked(text: &str, place: &Place, remark: &str) -> String {
    let at = (0..=place.start.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    let (before, behind) = text.split_at(at);
    let before = before.rsplit('\n').next().unwrap_or_default();
    let behind = behind.split('\n').next().unwrap_or_default();
    let skipped = before.chars().count().saturating_sub(BEFORE_MAX);
    let mut line: String = if skipped > 0 { "...".to_owned() } else { String::new() };
    line.extend(before.chars().skip(skipped).map(plain));
    let column = line.chars().count();
    line.extend(behind.chars().take(BEHIND_MAX).map(plain));
    if behind.chars().count() > BEHIND_MAX {
        line.push_str("...");
    }
    format!("  {}\n  {}^ {remark}", line.trim_end(), " ".repeat(column))
}

/// One column wide.
fn plain(character: char) -> char {
    if character.is_control() { ' ' } else { character }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_stands_under_the_place() {
        assert_eq!(marked("a = x", &(4..5), "here"), "  a = x\n      ^ here");
        assert_eq!(marked("a =", &(3..3), "here"), "  a =\n     ^ here");
        assert_eq!(marked("", &(0..0), "here"), "  \n  ^ here");
    }

    #[test]
    fn of_many_lines_the_one_with_the_place_is_shown() {
        assert_eq!(marked("a = 1\n\tAND b = x\nAND c", &(15..16), "here"), "   AND b = x\n           ^ here");
    }

    #[test]
    fn characters_of_several_bytes_take_one_column_and_are_never_split() {
        assert_eq!(marked("'ä' = x", &(7..8), "here"), "  'ä' = x\n        ^ here");
        assert_eq!(marked("'ä' = x", &(2..3), "here"), "  'ä' = x\n   ^ here");
        assert_eq!(marked("a", &(9..10), "here"), "  a\n   ^ here");
    }

    #[test]
    fn long_lines_are_cut() {
        let text = format!("{}x{}", "a".repeat(1000), "b".repeat(1000));
        let expected = format!("  ...{}x{}...\n  {}^ here", "a".repeat(60), "b".repeat(59), " ".repeat(63));
        assert_eq!(marked(&text, &(1000..1001), "here"), expected);
    }
}
