//! Tables in a document of Markdown, each between its marks.

use std::fmt::Write;

use anyhow::{Context, bail, ensure};

/// What stands where a run has no report.
const NOT_RUN: &str = "not run";
const MARK: &str = "<!-- Table ";

/// A cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// What is known without a run.
    Known(String),
    /// What a run told; none, if there is no report of it.
    Ours(Option<String>),
}

impl Cell {
    pub fn known(text: String) -> Self {
        Self::Known(text)
    }
}

/// A row. Its first cells, so many, say what it is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub cells: Vec<Cell>,
    pub keys: usize,
}

/// A table, and what it is called.
#[derive(Clone, Debug)]
pub struct Section {
    pub name: String,
    pub head: Vec<String>,
    pub rows: Vec<Row>,
}

impl Section {
    fn begin(&self) -> String {
        format!("{MARK}{}: written by a program, not by hand. -->\n", self.name)
    }

    fn end(&self) -> String {
        format!("<!-- The end of {}. -->\n", self.name)
    }

    /// The table's text. A row of which there is no report stays as it stood: a run that is not made again takes nothing
    /// away. Where no row of it stood, or other columns did, it is not run.
    fn text(&self, old: &str) -> String {
        let mut out = line(&self.head);
        let rule: String = self.head.iter().map(|_| "|---").chain(["|\n"]).collect();
        let old_rows: Vec<Vec<&str>> = match old.trim_start().strip_prefix(&out) {
            Some(rows) => rows.lines().map(cells).collect(),
            None => Vec::new(),
        };
        out.push_str(&rule);
        for row in &self.rows {
            out.push_str(&line(&row.shown(&old_rows)));
        }
        out
    }
}

impl Row {
    fn shown(&self, old_rows: &[Vec<&str>]) -> Vec<String> {
        let is_key = |(cell, old): (&Cell, &&str)| matches!(cell, Cell::Known(text) if text == old);
        let is_old = |old: &&Vec<&str>| {
            old.len() == self.cells.len() && std::iter::zip(&self.cells[..self.keys], *old).all(is_key)
        };
        let old = old_rows.iter().find(is_old);
        let mut is_first = true;
        let mut missing = |index: usize| {
            let text = old.map_or(if is_first { NOT_RUN } else { super::NOTHING }, |old| old[index]);
            is_first = false;
            text.to_owned()
        };
        let shown = |(index, cell): (usize, &Cell)| match cell {
            Cell::Known(text) | Cell::Ours(Some(text)) => text.clone(),
            Cell::Ours(None) => missing(index),
        };
        self.cells.iter().enumerate().map(shown).collect()
    }
}

fn line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split('|').map(str::trim).collect()
}

/// The document with these tables between their marks.
///
/// # Errors
/// A table has no marks in it, or marks have no table.
pub fn with_sections(document: &str, sections: &[Section]) -> anyhow::Result<String> {
    let mut out = document.to_owned();
    for section in sections {
        let (begin, end) = (section.begin(), section.end());
        let marks = || format!("there must be the lines {begin:?} and {end:?}, one after the other");
        let (before, rest) = out.split_once(&begin).with_context(marks)?;
        let (old, after) = rest.split_once(&end).with_context(marks)?;
        ensure!(!old.contains(MARK), "{}", marks());
        let mut text = String::new();
        write!(text, "{before}{begin}\n{}\n{end}{after}", section.text(old))?;
        out = text;
    }
    let known = |line: &&str| sections.iter().any(|section| section.begin().trim_end() == *line);
    if let Some(stray) = out.lines().filter(|line| line.starts_with(MARK)).find(|line| !known(line)) {
        bail!("the list has no table for the mark {stray:?}");
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(text: &str) -> Cell {
        Cell::Known(text.to_owned())
    }

    fn ours(text: &str) -> Cell {
        Cell::Ours(Some(text.to_owned()))
    }

    fn section(rows: Vec<Vec<Cell>>) -> Section {
        let rows = rows.into_iter().map(|cells| Row { cells, keys: 1 }).collect();
        Section { name: "t".to_owned(), head: ["run", "theirs", "ours", "more"].map(str::to_owned).to_vec(), rows }
    }

    fn document(table: &str) -> String {
        format!(
            "before\n\n<!-- Table t: written by a program, not by hand. -->\n{table}<!-- The end of t. -->\nafter\n"
        )
    }

    #[test]
    fn rows_without_a_report_stay_and_new_ones_are_not_run() {
        let a = vec![known("a"), known("5"), ours("4"), ours("1.25")];
        let b = |theirs| vec![known("b"), known(theirs), Cell::Ours(None), Cell::Ours(None)];
        let head = "| run | theirs | ours | more |\n|---|---|---|---|\n";
        let first = with_sections(&document(""), &[section(vec![a, b("7")])]).expect("it has marks");
        let rows = "| a | 5 | 4 | 1.25 |\n| b | 7 | not run | – |\n";
        assert_eq!(first, document(&format!("\n{head}{rows}\n")));
        // Now of b alone there is a report, and what is known of a has changed.
        let a = vec![known("a"), known("6"), Cell::Ours(None), Cell::Ours(None)];
        let b = vec![known("b"), known("7"), ours("3"), ours("2.33")];
        let second = with_sections(&first, &[section(vec![b, a.clone()])]).expect("it has marks");
        let rows = "| b | 7 | 3 | 2.33 |\n| a | 6 | 4 | 1.25 |\n";
        assert_eq!(second, document(&format!("\n{head}{rows}\n")));
        // Other columns: what stood there may mean something else.
        let mut other = section(vec![a]);
        other.head[3] = "less".to_owned();
        let third = with_sections(&second, &[other]).expect("it has marks");
        assert!(third.contains("| a | 6 | not run | – |"), "{third}");
    }

    #[test]
    fn marks_and_tables_belong_together() {
        let error = |document: &str| with_sections(document, &[section(Vec::new())]).expect_err("refused").to_string();
        assert!(error("").contains("there must be the lines"));
        assert!(error(&document(&document(""))).contains("there must be the lines"));
        let stray = document("") + "<!-- Table u: written by a program, not by hand. -->\n";
        assert!(error(&stray).contains("no table for the mark"), "{}", error(&stray));
    }
}
