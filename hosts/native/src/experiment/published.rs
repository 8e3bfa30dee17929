//! Figures that others published: tables that the program carries within it, with their sources.

use std::collections::BTreeSet;

use super::scenario::Published;

/// The tables by name, as `hosts/native/experiments/published/README.md` tells.
const TABLES: &[(&str, &str)] = &[
    ("enes-icde19", include_str!("../../experiments/published/enes-icde19.csv")),
    ("lasp-ppdp17", include_str!("../../experiments/published/lasp-ppdp17.csv")),
];

/// The columns of each table.
const COLUMNS: &str = "workload,overlay,algorithm,replicas,figure,value";

/// A row of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row<'a> {
    /// What was run.
    pub workload: &'a str,
    /// Over what.
    pub overlay: &'a str,
    /// What was compared.
    pub algorithm: &'a str,
    /// Of how many replicas.
    pub replicas: u32,
    /// What of our reports means the same.
    pub figure: &'a str,
    /// None: that run failed.
    pub value: Option<f64>,
}

impl<'a> Row<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let [workload, overlay, algorithm, replicas, figure, value] = *line.split(',').collect::<Vec<_>>() else {
            return None;
        };
        let value = if value == "failed" { None } else { Some(value.parse().ok()?) };
        Some(Self { workload, overlay, algorithm, replicas: replicas.parse().ok()?, figure, value })
    }
}

/// A table's source and rows; else what is wrong.
fn read(text: &str) -> Result<(&str, Vec<Row<'_>>), String> {
    let mut lines = text.lines();
    let source = lines.next().and_then(|line| line.strip_prefix("# ")).ok_or("it begins with no source")?;
    if lines.next() != Some(COLUMNS) {
        return Err(format!("its columns are not {COLUMNS}"));
    }
    let rows = lines.map(|line| Row::read(line).ok_or_else(|| format!("{line:?} is no row")));
    Ok((source, rows.collect::<Result<_, _>>()?))
}

/// The source and the rows that `TABLE: WORKLOAD`, `TABLE: WORKLOAD OVERLAY` or `TABLE: WORKLOAD OVERLAY ALGORITHM` names.
///
/// # Errors
/// No such table, or nothing in it of that name: tells which there are.
pub fn rows(reference: &str) -> Result<(&'static str, Vec<Row<'static>>), String> {
    let (name, rest) = reference.split_once(": ").ok_or_else(|| {
        format!(
            "{reference:?} is not of the form \"TABLE: WORKLOAD\", \"TABLE: WORKLOAD OVERLAY\" or \
             \"TABLE: WORKLOAD OVERLAY ALGORITHM\""
        )
    })?;
    let (_, text) = TABLES.iter().find(|(table, _)| *table == name).ok_or_else(|| {
        let names: Vec<&str> = TABLES.iter().map(|(table, _)| *table).collect();
        format!("there is no table {name:?} of published figures; there are {}", names.join(", "))
    })?;
    let (source, all) = read(text).map_err(|error| format!("{name}: {error}"))?;
    let mut words = rest.splitn(3, ' ');
    let [workload, overlay, algorithm] = std::array::from_fn(|_| words.next());
    let is_meant = |row: &&Row| {
        let named = [(workload, row.workload), (overlay, row.overlay), (algorithm, row.algorithm)];
        named.iter().all(|(name, of_row)| name.is_none_or(|name| name == *of_row))
    };
    let meant: Vec<Row> = all.iter().filter(is_meant).copied().collect();
    if meant.is_empty() {
        let known: BTreeSet<String> = all.iter().map(|row| format!("{} {}", row.workload, row.overlay)).collect();
        let known: Vec<String> = known.into_iter().collect();
        return Err(format!("{name} has nothing of {rest:?}; it has {}", known.join(", ")));
    }
    Ok((source, meant))
}

/// The figures among them; runs that failed have none.
///
/// # Errors
/// As of [`rows`]; or all of these runs failed.
pub fn named(reference: &str) -> Result<Vec<Published>, String> {
    let (source, rows) = rows(reference)?;
    let figures: Vec<Published> = rows.iter().filter_map(|row| published(row, source)).collect();
    if figures.is_empty() { Err(format!("all runs of {reference:?} failed")) } else { Ok(figures) }
}

/// In which order figures stand beside published ones: elements first, since bytes depend on the encoding as well.
pub fn order(figure: &str) -> (bool, &str) {
    (!figure.ends_with("_elements"), figure)
}

fn published(row: &Row<'_>, source: &str) -> Option<Published> {
    Some(Published {
        figure: row.figure.to_owned(),
        of: format!("{}, {}", row.overlay, row.algorithm),
        replicas: Some(row.replicas),
        value: row.value?,
        source: source.to_owned(),
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// The figures of reports that something is published of.
    const FIGURES: &[&str] = &["delivered_bytes", "delivered_to_others_bytes", "delivered_to_others_elements"];

    /// All rows, with the name of their table.
    pub fn all() -> Vec<(&'static str, Row<'static>)> {
        let of_table = |(name, text): &(&'static str, &'static str)| {
            let rows = read(text).expect("it is sound").1;
            rows.into_iter().map(|row| (*name, row)).collect::<Vec<_>>()
        };
        TABLES.iter().flat_map(of_table).collect()
    }

    #[test]
    fn tables_are_sound_and_name_figures_of_reports() {
        for (name, text) in TABLES {
            let (source, rows) = read(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(source.contains("arXiv") && source.len() > 60, "{name}: {source}");
            for row in rows {
                assert!(FIGURES.contains(&row.figure), "{name}: {}", row.figure);
                assert!(row.value.is_none_or(|value| value > 0.0) && row.replicas > 1, "{name}: {}", row.workload);
            }
        }
        assert_eq!(read("workload").err().as_deref(), Some("it begins with no source"));
        assert!(read("# x\nworkload,value\n").is_err_and(|error| error.contains(COLUMNS)));
        for row in ["a,b,c,1,d", "a,b,c,1,d,e", "a,b,c,x,d,1", "a,b,c,1,d,1,2"] {
            assert!(read(&format!("# x\n{COLUMNS}\n{row}\n")).is_err_and(|error| error.contains("is no row")), "{row}");
        }
    }

    #[test]
    fn a_scenario_names_a_workload_and_may_name_an_overlay() {
        let lasp = named("lasp-ppdp17: advertisement-counter").expect("it is there");
        let most = lasp.iter().map(|figure| figure.value).fold(0.0, f64::max);
        // Three curves of six sizes, of which two runs failed.
        assert_eq!((lasp.len(), most), (16, 41.6e9));
        // The floor on any overlay: events times the nodes that have not made them.
        let tree = named("enes-icde19: gset tree").expect("it is there");
        let elements = tree.iter().filter(|figure| figure.figure == "delivered_to_others_elements");
        assert_eq!(elements.map(|figure| figure.value).fold(f64::MAX, f64::min), 21_000.0);
        assert!(tree.len() < named("enes-icde19: gset").expect("it is there").len());
        let one = named("lasp-ppdp17: advertisement-counter hyparview whole states").expect("it is there");
        assert_eq!((one.len(), one[0].of.as_str()), (6, "hyparview, whole states"));
        for (reference, part) in [
            ("gset", "TABLE: WORKLOAD"),
            ("lasp: gset", "enes-icde19, lasp-ppdp17"),
            ("enes-icde19: orset", "gset tree, retwis-0.25 partialmesh"),
            ("enes-icde19: gset ring", "nothing of \"gset ring\""),
            ("enes-icde19: gset tree delta+XX", "nothing of \"gset tree delta+XX\""),
        ] {
            let error = named(reference).expect_err("there is none");
            assert!(error.contains(part), "{part:?} is missing in: {error}");
        }
    }
}
