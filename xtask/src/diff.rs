//! What changed between two texts, line by line.

/// How many unchanged lines are shown around a change.
const CONTEXT: usize = 3;

/// The lines that differ, with a few around them: `-` stands only in the old text, `+` only in the new one. None if they
/// are equal.
///
/// Takes time and memory in proportion to the product of their numbers of lines: it is meant for texts of some hundred.
pub fn lines(old: &str, new: &str) -> Option<String> {
    if old == new {
        return None;
    }
    let (old, new) = (split(old), split(new));
    let marked = marked_lines(&old, &new);
    let is_near_change = |at: usize| {
        let near = at.saturating_sub(CONTEXT)..(at + CONTEXT + 1).min(marked.len());
        marked[near].iter().any(|(mark, _)| *mark != ' ')
    };
    let mut shown = String::new();
    let mut last_shown = None;
    for (at, (mark, line)) in marked.iter().enumerate().filter(|(at, _)| is_near_change(*at)) {
        if last_shown.map_or(at > 0, |last| last + 1 != at) {
            shown.push_str("  ...\n");
        }
        shown.push_str(&format!("{mark} {line}\n"));
        last_shown = Some(at);
    }
    Some(shown)
}

/// The lines of a text. A missing line end at its end is shown as such, or two texts could differ and have no differing
/// line.
fn split(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    match lines.last_mut() {
        Some(last) if last.is_empty() => drop(lines.pop()),
        Some(last) => last.push_str("  (no line end)"),
        None => (),
    }
    lines
}

/// All lines, in order, each marked as kept (a space), removed or added: the longest common subsequence is kept.
fn marked_lines<'a>(old: &'a [String], new: &'a [String]) -> Vec<(char, &'a str)> {
    // kept[i][j]: how many lines the ends of the texts, from old line i and new line j on, have in common.
    let mut kept = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            kept[i][j] = if old[i] == new[j] { kept[i + 1][j + 1] + 1 } else { kept[i + 1][j].max(kept[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut marked = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            marked.push((' ', old[i].as_str()));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || i < old.len() && kept[i + 1][j] >= kept[i][j + 1] {
            marked.push(('-', old[i].as_str()));
            i += 1;
        } else {
            marked.push(('+', new[j].as_str()));
            j += 1;
        }
    }
    marked
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn equal_texts_have_no_difference() {
        assert_eq!(lines("a\nb\n", "a\nb\n"), None);
    }

    #[test]
    fn a_changed_line_is_shown_within_its_context() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n9\n";
        let new = "1\n2\n3\n4\nfive\n6\n7\n8\n9\n";
        let expected = "  ...\n  2\n  3\n  4\n- 5\n+ five\n  6\n  7\n  8\n";
        assert_eq!(lines(old, new).as_deref(), Some(expected));
    }

    #[test]
    fn lines_that_moved_in_or_out_are_shown() {
        assert_eq!(lines("a\nc\n", "a\nb\nc\n").as_deref(), Some("  a\n+ b\n  c\n"));
        assert_eq!(lines("a\nb\n", "a\n").as_deref(), Some("  a\n- b\n"));
        assert_eq!(lines("", "a\n").as_deref(), Some("+ a\n"));
    }

    #[test]
    fn a_missing_line_end_is_a_difference() {
        assert_eq!(lines("a\n", "a").as_deref(), Some("- a\n+ a  (no line end)\n"));
    }
}
