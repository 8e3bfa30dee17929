//! The tables that say which scenario or test proves which promise, in README.md and in tests/README.md.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};

use crate::documents::{Chapter, SURVIVES_HEAD, SURVIVES_TITLE};
use crate::markdown::{cells, section};
use crate::proofs::{Proof, Proofs};

/// What stands before and after the table in tests/README.md.
const BEGIN: &str = "<!-- The promises, written by `cargo xtask test --bless`. -->\n";
const END: &str = "<!-- The end of the promises. -->\n";

/// Promises that nothing proves.
pub fn unproven<'a>(chapters: &'a [Chapter], proofs: &Proofs) -> Vec<&'a str> {
    let all = chapters.iter().flat_map(|chapter| &chapter.promises);
    all.filter(|id| !proofs.contains_key(*id)).map(String::as_str).collect()
}

/// What is said to be proven and is promised nowhere.
pub fn unpromised<'a>(chapters: &[Chapter], proofs: &'a Proofs) -> Vec<&'a str> {
    let all: BTreeSet<&String> = chapters.iter().flat_map(|chapter| &chapter.promises).collect();
    proofs.keys().filter(|id| !all.contains(id)).map(String::as_str).collect()
}

/// tests/README.md with the table of promises as it must be.
pub fn with_promises(document: &str, chapters: &[Chapter], proofs: &Proofs) -> Result<String> {
    let (before, rest) = document.split_once(BEGIN).with_context(|| format!("no line {BEGIN:?}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("no line {END:?}"))?;
    let mut out = format!("{before}{BEGIN}");
    for chapter in chapters {
        write!(out, "\n### {}\n\n| promise | proven by |\n|---|---|\n", chapter.title)?;
        for id in &chapter.promises {
            let named = |proof: &Proof| match proof.is_scenario {
                true => format!("`{}`", proof.name),
                false => format!("`{}::{}`", proof.path, proof.name),
            };
            writeln!(out, "| `{id}` | {} |", listed(proofs, id, named))?;
        }
    }
    Ok(format!("{out}\n{END}{after}"))
}

/// README.md with the last column of its table of what a write survives as it must be.
pub fn with_guarantees(document: &str, proofs: &Proofs) -> Result<String> {
    let survives = section(document, Some(SURVIVES_TITLE))?;
    let mut rows = 0;
    let mut out = String::new();
    for line in survives.split_inclusive('\n') {
        let cells = if line.starts_with('|') { cells(line)? } else { Vec::new() };
        if cells.is_empty() || cells[0] == "---" || cells == SURVIVES_HEAD {
            out.push_str(line);
            continue;
        }
        ensure!(cells.len() == SURVIVES_HEAD.len(), "{} cells in {line:?}", cells.len());
        let id = format!("survives: {}", cells[0].replace('`', ""));
        let linked = |proof: &Proof| format!("[{}]({})", proof.name, proof.path);
        writeln!(out, "| {} | {} | {} |", cells[0], cells[1], listed(proofs, &id, linked))?;
        rows += 1;
    }
    ensure!(rows > 0, "no row in the table of \"{SURVIVES_TITLE}\"");
    Ok(document.replacen(survives, &out, 1))
}

fn listed(proofs: &Proofs, id: &str, named: impl Fn(&Proof) -> String) -> String {
    proofs.get(id).into_iter().flatten().map(named).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proofs() -> Proofs {
        let proof = |name: &str, path: &str, is_scenario| Proof { name: name.into(), path: path.into(), is_scenario };
        let both = vec![proof("a_kill", "tests/scenarios/x.toml", true), proof("f", "tests/y.rs", false)];
        Proofs::from([("survives: a kill".to_owned(), both)])
    }

    fn chapters(ids: &[&str]) -> Vec<Chapter> {
        vec![Chapter { title: "the chapter", promises: ids.iter().map(|id| (*id).to_owned()).collect() }]
    }

    #[test]
    fn what_has_no_proof_and_what_is_no_promise_are_found() {
        assert_eq!(unproven(&chapters(&["survives: a kill", "survives: a flood"]), &proofs()), ["survives: a flood"]);
        assert!(unpromised(&chapters(&["survives: a kill"]), &proofs()).is_empty());
        assert_eq!(unpromised(&chapters(&["survives: a flood"]), &proofs()), ["survives: a kill"]);
    }

    #[test]
    fn tables_are_written_between_their_marks() {
        let document = format!("before\n{BEGIN}old\n{END}after\n");
        let written = with_promises(&document, &chapters(&["survives: a kill"]), &proofs()).expect("marked");
        let expected = format!(
            "before\n{BEGIN}\n### the chapter\n\n| promise | proven by |\n|---|---|\n\
             | `survives: a kill` | `a_kill`, `tests/y.rs::f` |\n\n{END}after\n"
        );
        assert_eq!(written, expected);
        assert_eq!(with_promises(&written, &chapters(&["survives: a kill"]), &proofs()).expect("marked"), written);
        assert!(with_promises("no marks", &chapters(&[]), &proofs()).is_err());
    }

    #[test]
    fn guarantees_point_at_their_proofs() {
        let document = "# D\n\n## What a write survives\n\n| what happens | a confirmed write | proven by |\n\
            |---|---|---|\n| a `kill` | survives | old |\n\n## Next\n\n| a | b |\n|---|---|\n| c | d |\n";
        let written = with_guarantees(document, &proofs()).expect("proper");
        let row = "| a `kill` | survives | [a_kill](tests/scenarios/x.toml), [f](tests/y.rs) |\n";
        assert_eq!(written, document.replace("| a `kill` | survives | old |\n", row));
        assert!(with_guarantees("# D\n\n## What a write survives\n\nnothing\n", &proofs()).is_err());
    }
}
