//! A process, as the system tells of it.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};
use serde::Serialize;

/// A process of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Pid(u32);

/// What a process holds in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Now, in KiB.
    pub resident_kib: u64,
    /// At most so far, in KiB.
    pub peak_kib: u64,
}

impl Pid {
    /// A process of this number.
    pub fn new(number: u32) -> Self {
        Self(number)
    }

    /// The process that was started with this variable, if there is one.
    pub(super) fn of_variable(name: &str, value: &str) -> Result<Option<Self>> {
        let wanted = format!("{name}={value}").into_bytes();
        let holds = |environ: &[u8]| environ.split(|byte| *byte == 0).any(|variable| variable == wanted);
        for entry in fs::read_dir("/proc")? {
            let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // Others' processes are not told, and some end meanwhile.
            if fs::read(format!("/proc/{number}/environ")).is_ok_and(|environ| holds(&environ)) {
                return Ok(Some(Self(number)));
            }
        }
        Ok(None)
    }

    /// What it is at: `R` runs, `S` sleeps, `T` is stopped, `Z` has ended, and others; none: it is gone.
    pub(super) fn state(self) -> Option<char> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).ok()?;
        // What stands in parentheses is the program's name.
        stat.rsplit_once(')')?.1.trim_start().chars().next()
    }

    /// Kills it, if it is there.
    pub fn kill(self) {
        // What is gone needs no killing; and a system without this command has no tests of processes.
        let _ = Command::new("kill").args(["-KILL", &self.0.to_string()]).status();
    }

    /// What it holds in memory.
    ///
    /// # Errors
    /// It is gone.
    pub fn memory(self) -> Result<Memory> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).context("the process is gone")?;
        let kib = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|rest| rest.trim_start_matches(':').trim().split(' ').next()?.parse().ok());
            number.with_context(|| format!("no {name} is told of the process"))
        };
        Ok(Memory { resident_kib: kib("VmRSS")?, peak_kib: kib("VmHWM")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_process_is_told_of() {
        let own = Pid::new(std::process::id());
        let memory = own.memory().expect("it is there");
        assert!(memory.resident_kib > 0 && memory.peak_kib >= memory.resident_kib);
        assert!(own.state().is_some_and(|state| "RSD".contains(state)));
    }
}
