//! Scenarios: what a client and the platform do, and what must be seen, as data. Files in `tests/scenarios/` hold them;
//! `scenarios/README.md` explains each step. Reading is strict: an unknown field, verb or table is an error.

use std::path::{Path, PathBuf};
use std::{fs, iter, mem};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::act::Settings;
use crate::step::Step;

/// At most this many steps in one scenario once its repeats are unrolled.
pub const STEPS_MAX: usize = 100_000;

/// One scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name, unique in the suite; `a-z`, `0-9` and `_`.
    pub name: String,
    /// Which promise it checks, in one line.
    pub checks: String,
    /// Which promises of the documents it proves, by the identifiers that `tests/README.md` lists.
    pub proves: Vec<String>,
    /// The file that it stands in, without its folder.
    pub file: String,
    /// Settings of every replica that it starts, where the start itself does not say otherwise.
    pub config: Settings,
    /// Whether a label must stand for one and the same writer throughout.
    pub one_writer: bool,
    /// With how many seeds a runner with virtual time plays it, where that matters: the first has even delays, others
    /// reorder what is under way.
    pub seeds: Option<u64>,
    /// What happens, in order.
    pub steps: Vec<Line>,
}

/// A step, and how it stands in the file.
#[derive(Clone, Debug)]
pub struct Line {
    /// The step.
    pub step: Step,
    /// Its text, on one line and shortened where it is long.
    pub text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScenarioFile {
    scenario: Vec<ScenarioTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScenarioTable {
    name: String,
    checks: String,
    #[serde(default)]
    proves: Vec<String>,
    #[serde(default)]
    config: Settings,
    #[serde(default)]
    one_writer: bool,
    seeds: Option<u64>,
    steps: Vec<toml::Table>,
}

/// Steps that are done several times; `${NAME}` in their strings becomes the number of the repetition.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Repeat {
    repeat: usize,
    #[serde(rename = "as", default = "usual_index")]
    index: String,
    #[serde(default)]
    from: usize,
    steps: Vec<toml::Table>,
}

fn usual_index() -> String {
    "i".to_owned()
}

/// Reads every scenario of a folder, in the order of file names. Fails at the first file that is not a proper one, and
/// where two scenarios share a name.
pub fn read_folder(folder: &Path) -> Result<Vec<Scenario>> {
    let entries = fs::read_dir(folder).with_context(|| format!("no scenarios: {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    let mut scenarios: Vec<Scenario> = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for scenario in parse(&text, &name).with_context(|| format!("in {name}"))? {
            if let Some(twin) = scenarios.iter().find(|other| other.name == scenario.name) {
                bail!("{} stands in {} and in {name}", scenario.name, twin.file);
            }
            scenarios.push(scenario);
        }
    }
    ensure!(!scenarios.is_empty(), "no scenarios in {}", folder.display());
    Ok(scenarios)
}

/// Reads the scenarios of one file's text.
pub fn parse(text: &str, file: &str) -> Result<Vec<Scenario>> {
    let tables: ScenarioFile = toml::from_str(text)?;
    tables.scenario.into_iter().map(|table| resolve(table, file)).collect()
}

fn resolve(mut table: ScenarioTable, file: &str) -> Result<Scenario> {
    let name = mem::take(&mut table.name);
    let proper = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    ensure!(!name.is_empty() && name.bytes().all(proper), "{name:?}: a scenario's name is of a-z, 0-9 and _");
    ensure!(!table.checks.is_empty() && !table.checks.contains('\n'), "{name}: `checks` is one line");
    ensure!(table.seeds.is_none_or(|seeds| (1..=100).contains(&seeds)), "{name}: 1 to 100 seeds");
    let mut flat = Vec::new();
    unroll(mem::take(&mut table.steps), &mut flat).with_context(|| name.clone())?;
    let read = |(number, table): (usize, toml::Table)| {
        let text = outline(&table);
        let step = Step::parse(table).with_context(|| format!("{name}: step {number}: {text}"))?;
        Ok(Line { step, text })
    };
    let steps: Vec<Line> = iter::zip(1.., flat).map(read).collect::<Result<_>>()?;
    ensure!(steps.iter().any(|line| line.step.looks()), "{name}: no step looks at anything, so it could not fail");
    let ScenarioTable { checks, proves, config, one_writer, seeds, .. } = table;
    Ok(Scenario { name, checks, proves, file: file.to_owned(), config, one_writer, seeds, steps })
}

fn outline(table: &toml::Table) -> String {
    let fields: Vec<String> = table.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    let text = fields.join(", ");
    match text.char_indices().nth(400) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn unroll(steps: Vec<toml::Table>, flat: &mut Vec<toml::Table>) -> Result<()> {
    for step in steps {
        if step.contains_key("repeat") {
            let repeat: Repeat = step.try_into()?;
            let index = format!("${{{}}}", repeat.index);
            for number in repeat.from..repeat.from + repeat.repeat {
                let number = number.to_string();
                let mut copy = repeat.steps.clone();
                copy.iter_mut().for_each(|step| substitute_table(step, &index, &number));
                unroll(copy, flat)?;
            }
        } else {
            flat.push(step);
        }
        ensure!(flat.len() <= STEPS_MAX, "more than {STEPS_MAX} steps");
    }
    Ok(())
}

fn substitute_table(table: &mut toml::Table, index: &str, number: &str) {
    let entries = std::mem::take(table);
    for (key, mut value) in entries {
        substitute(&mut value, index, number);
        table.insert(key.replace(index, number), value);
    }
}

fn substitute(value: &mut toml::Value, index: &str, number: &str) {
    match value {
        toml::Value::String(text) => *text = text.replace(index, number),
        toml::Value::Array(values) => values.iter_mut().for_each(|value| substitute(value, index, number)),
        toml::Value::Table(table) => substitute_table(table, index, number),
        toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) | toml::Value::Datetime(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_steps(steps: &str) -> Result<Vec<Scenario>> {
        parse(&format!("[[scenario]]\nname = 'x'\nchecks = 'y'\nsteps = [{steps}]"), "test")
    }

    #[test]
    fn repeats_are_unrolled() {
        let scenarios = with_steps(
            "{ repeat = 2, steps = [{ start = 'r${i}' }, { repeat = 3, as = 'j', from = 1, steps = [
                { get = '/v1/data/gset/${j}', to = 'r${i}', status = 404, error = 'no_such_key' } ] }] }",
        );
        assert_eq!(scenarios.expect("proper")[0].steps.len(), 2 * (1 + 3));
    }

    #[test]
    fn what_is_unknown_is_an_error() {
        let looks = "{ settle = 1 }";
        assert!(with_steps(looks).is_ok());
        for step in [
            "{ start = 'a', colour = 'red' }",
            "{ dance = 'a' }",
            "{ start = 'a', kill = 'a' }",
            "{ get = '/', to = 'a' }",
            "{ get = '/', to = 'a', status = 404 }",
            "{ get = '/', to = 'a', status = 200 }",
            "{ start = 'a', config = { colours = 3 } }",
        ] {
            assert!(with_steps(&format!("{step}, {looks}")).is_err(), "{step}");
        }
        assert!(with_steps("{ start = 'a' }").is_err(), "a scenario that looks at nothing");
        assert!(parse("[[scenario]]\nname = 'x'\nchecks = 'y'\nsteps = []\nodd = 1", "test").is_err());
    }
}
