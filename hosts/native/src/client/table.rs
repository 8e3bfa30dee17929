//! Rows in aligned columns.

use std::io::{self, Write};

/// Rows that are printed together, each column as wide as its longest cell. The last column is not padded.
pub struct Table<const N: usize> {
    rows: Vec<[String; N]>,
}

impl<const N: usize> Table<N> {
    /// A table with these column titles.
    pub fn titled(titles: [&str; N]) -> Self {
        Self { rows: vec![titles.map(str::to_owned)] }
    }

    /// A table without titles.
    pub fn bare() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds a row, whose cells must be printable.
    pub fn push(&mut self, row: [String; N]) {
        self.rows.push(row);
    }

    /// Prints all rows. Widths are counted in characters.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; N] = std::array::from_fn(width);
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                line.push_str(cell);
                if column + 1 < N {
                    let gap = widths[column] - cell.chars().count() + 2;
                    line.extend(std::iter::repeat_n(' ', gap));
                }
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other() {
        let mut table = Table::titled(["NAME", "AT"]);
        table.push(["é".to_owned(), "here".to_owned()]);
        table.push(["longer".to_owned(), String::new()]);
        let mut out = Vec::new();
        table.print(&mut out).expect("a vector takes all");
        assert_eq!(String::from_utf8(out).expect("UTF-8"), "NAME    AT\né       here\nlonger\n");
    }
}
