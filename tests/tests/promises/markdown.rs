//! The little Markdown that the documents with promises are written in. Reading is strict: what is none of it is an error,
//! so that no promise is left out because it was written otherwise.

use anyhow::{Context, Result, bail, ensure};

/// A piece of a section.
#[derive(Debug, PartialEq, Eq)]
pub enum Block {
    /// A paragraph or an item of a list, on one line.
    Text(String),
    /// A table's rows, its head first.
    Table(Vec<Vec<String>>),
}

/// What stands under a heading of the second level (`## TITLE`), up to the next one; with no title, what stands between
/// the title of the document and the first of them.
pub fn section<'a>(document: &'a str, title: Option<&str>) -> Result<&'a str> {
    let from = match title {
        Some(title) => {
            let heading = format!("\n## {title}\n");
            document.find(&heading).with_context(|| format!("no section \"{title}\""))? + heading.len()
        }
        None => {
            ensure!(document.starts_with("# "), "the document begins with its title");
            document.find('\n').context("a document of one line")?
        }
    };
    let rest = &document[from..];
    Ok(&rest[..rest.find("\n## ").unwrap_or(rest.len())])
}

/// The titles of all sections.
pub fn titles(document: &str) -> Vec<&str> {
    document.lines().filter_map(|line| line.strip_prefix("## ")).collect()
}

/// The pieces of a section.
pub fn blocks(section: &str) -> Result<Vec<Block>> {
    let mut blocks = Vec::new();
    let mut is_open = false;
    for line in section.lines() {
        let begins = ["#", "```", ">", "* ", "1. ", "<"].iter().any(|mark| line.starts_with(mark));
        ensure!(!begins, "neither a paragraph, an item nor a table: {line:?}");
        if line.trim().is_empty() {
            is_open = false;
        } else if line.starts_with('|') {
            let row = cells(line)?;
            match blocks.last_mut() {
                Some(Block::Table(rows)) if is_open => rows.push(row),
                _ => blocks.push(Block::Table(vec![row])),
            }
            is_open = true;
        } else if let Some(item) = line.strip_prefix("- ") {
            blocks.push(Block::Text(item.trim().to_owned()));
            is_open = true;
        } else {
            match blocks.last_mut() {
                Some(Block::Text(text)) if is_open => *text = format!("{text} {}", line.trim()),
                Some(Block::Table(_)) if is_open => bail!("a table does not end before {line:?}"),
                _ => blocks.push(Block::Text(line.trim().to_owned())),
            }
            is_open = true;
        }
    }
    blocks.into_iter().map(|block| if let Block::Table(rows) = block { table(rows) } else { Ok(block) }).collect()
}

/// Checks a table, and takes out the line under its head.
fn table(mut rows: Vec<Vec<String>>) -> Result<Block> {
    let head = rows.first().context("an empty table")?.clone();
    ensure!(rows.len() > 2 && rows[1].iter().all(|cell| cell == "---"), "no table with a head: {head:?}");
    rows.remove(1);
    for row in &rows {
        ensure!(row.len() == head.len(), "{} cells in a row of a table of {}: {row:?}", row.len(), head.len());
    }
    Ok(Block::Table(rows))
}

/// The cells of a row.
pub fn cells(line: &str) -> Result<Vec<String>> {
    let mut cells = vec![String::new()];
    let mut in_code = false;
    for character in line.trim_end().chars() {
        match character {
            '|' if !in_code => cells.push(String::new()),
            other => {
                in_code ^= other == '`';
                cells.last_mut().context("there is a cell")?.push(other);
            }
        }
    }
    ensure!(!in_code, "code that does not end: {line:?}");
    let (first, last) = (cells.remove(0), cells.pop());
    ensure!(first.is_empty() && last.is_some_and(|last| last.is_empty()), "a row begins and ends with `|`: {line:?}");
    Ok(cells.iter().map(|cell| cell.trim().to_owned()).collect())
}

/// The table of a section, of which there is exactly one, without its head, which must be this.
pub fn only_table(blocks: &[Block], head: &[&str]) -> Result<Vec<Vec<String>>> {
    let mut tables = blocks.iter().filter_map(|block| if let Block::Table(rows) = block { Some(rows) } else { None });
    let rows = tables.next().context("no table")?;
    ensure!(tables.next().is_none(), "a second table");
    ensure!(rows[0] == head, "a table of {:?} in place of {head:?}", rows[0]);
    Ok(rows[1..].to_vec())
}

/// A text's pieces: whether each is code, and at which depth of round brackets it stands.
pub fn pieces(text: &str) -> Result<Vec<(bool, usize, String)>> {
    let parts: Vec<&str> = text.split('`').collect();
    ensure!(parts.len() % 2 == 1, "code that does not end: {text:?}");
    let mut depth = 0_usize;
    let mut pieces = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        let is_code = number % 2 == 1;
        pieces.push((is_code, depth, (*part).to_owned()));
        for character in part.chars().filter(|_| !is_code) {
            match character {
                '(' => depth += 1,
                ')' => depth = depth.checked_sub(1).with_context(|| format!("`)` without `(` in {text:?}"))?,
                _ => {}
            }
        }
    }
    ensure!(depth == 0, "`(` without `)` in {text:?}");
    Ok(pieces)
}

/// The code in a text.
pub fn code(text: &str) -> Result<Vec<String>> {
    Ok(pieces(text)?.into_iter().filter(|(is_code, _, _)| *is_code).map(|(_, _, part)| part).collect())
}

/// A text's sentences. One ends with a full stop before a space, outside of code.
pub fn sentences(text: &str) -> Vec<String> {
    let mut sentences = vec![String::new()];
    let mut in_code = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        in_code ^= character == '`';
        if let Some(sentence) = sentences.last_mut() {
            sentence.push(character);
        }
        if character == '.' && !in_code && characters.peek() == Some(&' ') {
            characters.next();
            sentences.push(String::new());
        }
    }
    sentences.retain(|sentence| !sentence.is_empty());
    sentences
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_found_by_their_titles() {
        let document = "# Title\n\nintro\n\n## One\n\na\n\n## Two\n\nb\n";
        assert_eq!(titles(document), ["One", "Two"]);
        assert_eq!(section(document, Some("One")).expect("there").trim(), "a");
        assert_eq!(section(document, None).expect("there").trim(), "intro");
        assert!(section(document, Some("Three")).is_err());
    }

    #[test]
    fn pieces_of_a_section() {
        let text = "one\ntwo\n\n- item\n  goes on\n- next\n\n| a | `|` |\n|---|---|\n| 1 | 2 |\n";
        let row = |first: &str, second: &str| vec![first.to_owned(), second.to_owned()];
        let expected = [
            Block::Text("one two".to_owned()),
            Block::Text("item goes on".to_owned()),
            Block::Text("next".to_owned()),
            Block::Table(vec![row("a", "`|`"), row("1", "2")]),
        ];
        assert_eq!(blocks(text).expect("proper"), expected);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for text in [
            "### heading",
            "```\ncode\n```",
            "> quote",
            "| a | b |\n| 1 | 2 |\n| 3 | 4 |",
            "| a | b |\n|---|---|\n| 1 |",
            "| a | b |\n|---|---|\n| 1 | 2 |\ntext",
            "| a | b",
        ] {
            assert!(blocks(text).is_err(), "{text}");
        }
        assert!(pieces("`code").is_err());
        assert!(pieces("a) b").is_err());
        assert!(pieces("(a").is_err());
    }

    #[test]
    fn sentences_end_outside_of_code() {
        assert_eq!(sentences("One `a. b` c. Two 1.5 d."), ["One `a. b` c.", "Two 1.5 d."]);
    }
}
