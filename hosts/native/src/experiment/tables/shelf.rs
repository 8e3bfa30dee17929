//! Where reports are kept.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use dayfly_engine::artefact::hash_hex;

use super::super::compare::Told;
use super::list::Run;
use crate::component::COMPONENT;

/// A folder of reports.
pub struct Shelf {
    folder: PathBuf,
    /// The hash of the component that is run now.
    component: String,
}

impl Shelf {
    /// This folder, which is made if it is missing.
    pub fn new(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(Self { folder: folder.to_owned(), component: hash_hex(COMPONENT) })
    }

    fn path(&self, run: &Run) -> PathBuf {
        // What may stand in a line and not in a file's name.
        let name: String = run.line.chars().map(|c| if c == '/' || c.is_whitespace() { '_' } else { c }).collect();
        self.folder.join(name).with_added_extension("json")
    }

    /// A run's report, if there is one of the present component, of the very scenario, to its end.
    ///
    /// # Errors
    /// What is there cannot be read, or is no report.
    pub fn report(&self, run: &Run) -> anyhow::Result<Option<Told>> {
        let path = self.path(run);
        if !path.exists() {
            return Ok(None);
        }
        let told = Told::read(&path.to_string_lossy())?;
        let scenario = serde_json::to_value(&run.scenario)?;
        let is_of_now = told.component == self.component && told.scenario == scenario && !told.interrupted;
        Ok(is_of_now.then_some(told))
    }

    /// Makes it, in a process of its own: so its memory is that of this run alone. Gives false if it was interrupted.
    ///
    /// # Errors
    /// The run failed. It has said why.
    pub fn make(&self, run: &Run, note: Option<&str>) -> anyhow::Result<bool> {
        let (path, part) = (self.path(run), self.path(run).with_added_extension("part"));
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["experiment", "run"]).args(run.line.split_whitespace()).arg("--out").arg(&part);
        command.args(note.into_iter().flat_map(|note| ["--note", note]));
        let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
        match status.code() {
            Some(0) => {}
            Some(130) => return Ok(false),
            // Most likely the system took it, for want of memory.
            Some(_) | None => bail!("`dayfly experiment run {}` ended with {status}", run.line),
        }
        fs::rename(&part, &path).with_context(|| format!("cannot write {}", path.display()))?;
        if self.report(run)?.is_none() {
            bail!("{} is not of the scenario that the list names: a bug", path.display());
        }
        Ok(true)
    }
}
