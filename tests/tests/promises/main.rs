//! Every promise that README.md and wit/ make is proven by a scenario or a named test. The promises are read off the
//! documents, not listed here: one that is added or worded otherwise asks for its proof. Scenarios say what they prove in
//! their field `proves`, `tests/promises.toml` says it of tests.
//!
//! The tables that tell so are written by `DAYFLY_BLESS=1 cargo test --release -p dayfly-tests --test promises`.

mod documents;
mod markdown;
mod proofs;
mod tables;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use dayfly_conformance::expectation::CODES;

use crate::documents::Chapter;

const README: &str = "README.md";
const HTTP_API: &str = "wit/http-api.md";
const TESTS_README: &str = "tests/README.md";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn document(path: &str) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| path.to_owned())
}

/// All that is promised.
fn chapters() -> Result<Vec<Chapter>> {
    let mut chapters = documents::readme(&document(README)?).context(README)?;
    chapters.extend(documents::http_api(&document(HTTP_API)?).context(HTTP_API)?);
    let mut files = Vec::new();
    for entry in fs::read_dir(root().join("wit"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "wit") {
            files.push((path.display().to_string(), fs::read_to_string(&path)?));
        }
    }
    files.sort();
    chapters.extend(documents::wit(&files)?);
    Ok(chapters)
}

#[test]
fn every_promise_is_proven() -> Result<()> {
    let (chapters, proofs) = (chapters()?, proofs::read(&root())?);
    let unproven = tables::unproven(&chapters, &proofs);
    ensure!(
        unproven.is_empty(),
        "neither a scenario (by `proves`) nor a test (by tests/promises.toml) proves\n  {}",
        unproven.join("\n  ")
    );
    Ok(())
}

#[test]
fn what_is_proven_is_promised() -> Result<()> {
    let (chapters, proofs) = (chapters()?, proofs::read(&root())?);
    let unpromised = tables::unpromised(&chapters, &proofs);
    ensure!(unpromised.is_empty(), "no document has the promise\n  {}", unpromised.join("\n  "));
    Ok(())
}

#[test]
fn the_table_of_promises_is_what_is_proven() -> Result<()> {
    let (chapters, proofs) = (chapters()?, proofs::read(&root())?);
    compare(TESTS_README, |text| tables::with_promises(text, &chapters, &proofs))
}

#[test]
fn the_guarantees_point_at_their_proofs() -> Result<()> {
    let proofs = proofs::read(&root())?;
    compare(README, |text| tables::with_guarantees(text, &proofs))
}

/// What every scenario holds answers against is what the document says.
#[test]
fn codes_of_errors_are_those_of_the_document() -> Result<()> {
    let known = CODES.iter().flat_map(|(status, codes)| codes.iter().map(move |code| (status.to_string(), *code)));
    let known: Vec<(String, String)> = known.map(|(status, code)| (status, code.to_owned())).collect();
    let promised = documents::codes(&document(HTTP_API)?)?;
    ensure!(known == promised, "{known:?} in place of {promised:?}");
    Ok(())
}

/// The document as it must be is the one that is there; or is written, if that is asked for.
fn compare(path: &str, written: impl Fn(&str) -> Result<String>) -> Result<()> {
    let text = document(path)?;
    let expected = written(&text).context(path.to_owned())?;
    if std::env::var_os("DAYFLY_BLESS").is_some() {
        // At once, since other tests read it meanwhile.
        let written = Path::new(env!("CARGO_TARGET_TMPDIR")).join(path.replace('/', "-"));
        fs::write(&written, expected)?;
        return Ok(fs::rename(written, root().join(path))?);
    }
    let differs = std::iter::zip(text.lines(), expected.lines()).find(|(found, expected)| found != expected);
    ensure!(text == expected, "{path} does not tell what is proven; bless it: {differs:?}");
    Ok(())
}
