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
struct Row<'a> {
    workload: &'a str,
    overlay: &'a str,
    algorithm: &'a str,
    replicas: u32,
    figure: &'a str,
    /// None: that run failed.
    value: Option<f64>,
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

/// The figures that `TABLE: WORKLOAD`, or `TABLE: WORKLOAD OVERLAY`, names; runs that failed have none.
///
/// # Errors
/// No such table, or nothing in it of that name: tells which there are.
pub fn named(reference: &str) -> Result<Vec<Published>, String> {
    let (name, rest) = reference.split_once(": ").ok_or_else(|| {
        format!("{reference:?} is not of the form \"TABLE: WORKLOAD\" or \"TABLE: WORKLOAD OVERLAY\"")
    })?;
    let (_, text) = TABLES.iter().find(|(table, _)| *table == name).ok_or_else(|| {
        let names: Vec<&str> = TABLES.iter().map(|(table, _)| *table).collect();
        format!("there is no table {name:?} of published figures; there are {}", names.join(", "))
    })?;
    let (source, rows) = read(text).map_err(|error| format!("{name}: {error}"))?;
    let (workload, overlay) = rest.split_once(' ').map_or((rest, None), |(workload, of)| (workload, Some(of)));
    let meant = |row: &&Row| row.workload == workload && overlay.is_none_or(|overlay| row.overlay == overlay);
    let figures: Vec<Published> = rows.iter().filter(meant).filter_map(|row| published(row, source)).collect();
    if figures.is_empty() {
        let known: BTreeSet<String> = rows.iter().map(|row| format!("{} {}", row.workload, row.overlay)).collect();
        let known: Vec<String> = known.into_iter().collect();
        return Err(format!("{name} has nothing of {rest:?}; it has {}", known.join(", ")));
    }
    Ok(figures)
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
mod tests {
    use super::*;

    /// The figures of reports that something is published of.
    const FIGURES: &[&str] = &["delivered_bytes", "delivered_to_others_bytes", "delivered_to_others_elements"];

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
        for (reference, part) in [
            ("gset", "TABLE: WORKLOAD"),
            ("lasp: gset", "enes-icde19, lasp-ppdp17"),
            ("enes-icde19: orset", "gset tree, retwis-0.25 partialmesh"),
            ("enes-icde19: gset ring", "nothing of \"gset ring\""),
        ] {
            let error = named(reference).expect_err("there is none");
            assert!(error.contains(part), "{part:?} is missing in: {error}");
        }
    }
}
