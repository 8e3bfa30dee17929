//! What follows for more replicas from runs of two sizes, if what grew between them goes on growing as it did: as a power
//! of their number. It is arithmetic, no measurement, and says so.

use serde::Deserialize;

use super::document::{Cell, Row};
use super::{NOTHING, told};
use crate::client::text::grouped;

/// How far to reckon, and from where.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Towards {
    /// For how many replicas.
    pub replicas: u32,
    /// From the runs of which two sizes, the smaller first.
    pub from: [u32; 2],
}

/// Two rows: the powers, and what they come to.
///
/// `measured` has a value for each column, of both sizes; none, if one has no report.
pub fn rows(towards: Towards, columns: &[&str], measured: Option<[Vec<Option<f64>>; 2]>) -> [Row; 2] {
    let Towards { replicas, from: [few, many] } = towards;
    let row = |name: String, shown: &dyn Fn(usize, f64, f64) -> String| {
        let cell = |column: usize| {
            measured.as_ref().map(|[smaller, larger]| match (smaller[column], larger[column]) {
                (Some(smaller), Some(larger)) if smaller > 0.0 && larger > 0.0 => {
                    let power = (larger / smaller).ln() / (f64::from(many) / f64::from(few)).ln();
                    let factor = (f64::from(replicas) / f64::from(many)).powf(power);
                    shown(column, power, larger * factor)
                }
                _ => NOTHING.to_owned(),
            })
        };
        let cells = (0..columns.len()).map(|column| Cell::Ours(cell(column)));
        Row { cells: std::iter::once(Cell::known(name)).chain(cells).collect(), keys: 1 }
    };
    let [few, many, replicas] = [few, many, replicas].map(|size| grouped(size.into()));
    [
        row(format!("*arithmetic:* growth from {few} to {many}"), &|_, power, _| format!("N^{power:.2}")),
        row(format!("*arithmetic:* {replicas}, if it grows on so"), &|column, _, value| told(columns[column], value)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grew_with_the_square_goes_on_so() {
        let columns = ["delivered_bytes", "overcount", "wall.seconds"];
        let of = |bytes: f64, seconds: f64| vec![Some(bytes), Some(0.0), Some(seconds)];
        let towards = Towards { replicas: 10_000, from: [500, 1_000] };
        let [growth, result] = rows(towards, &columns, Some([of(5e8, 5.0), of(2e9, 10.0)]));
        let shown = |row: Row| -> Vec<String> {
            let shown = |cell| match cell {
                Cell::Known(text) | Cell::Ours(Some(text)) => text,
                Cell::Ours(None) => "none".to_owned(),
            };
            row.cells.into_iter().map(shown).collect()
        };
        assert_eq!(shown(growth), ["*arithmetic:* growth from 500 to 1,000", "N^2.00", "–", "N^1.00"]);
        assert_eq!(shown(result), ["*arithmetic:* 10,000, if it grows on so", "200 GB", "–", "100 s"]);
        let [_, none] = rows(towards, &columns, None);
        assert_eq!(shown(none)[1..], ["none"; 3]);
    }
}
