//! Running other programs.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Runs a program that speaks to the terminal itself.
///
/// # Errors
/// It could not be started, or did not end with 0.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", name(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", name(command));
    }
    Ok(())
}

/// Runs a program and returns what it printed.
///
/// # Errors
/// It could not be started, did not end with 0, or printed no UTF-8.
pub fn capture(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot run {}", name(command)))?;
    if !output.status.success() {
        bail!("{} ended with {}", name(command), output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs a program that may hang, and kills it after a time.
///
/// # Errors
/// As [`run`], or the time was over.
pub fn run_within(command: &mut Command, limit: Duration) -> Result<()> {
    let mut child = command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot run {}", name(command)))?;
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                bail!("{} ended with {status}", name(command));
            }
            return Ok(());
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            bail!("{} took longer than {} s", name(command), limit.as_secs());
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Runs a program, passes its output on as it comes, and shows each piece to `watch` too.
///
/// # Errors
/// As [`run`].
pub fn run_watched(command: &mut Command, mut watch: impl FnMut(&[u8])) -> Result<()> {
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {}", name(command)))?;
    let mut output = child.stdout.take().context("a piped output is there")?;
    let mut piece = [0; 8192];
    loop {
        let length = output.read(&mut piece)?;
        if length == 0 {
            break;
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(&piece[..length])?;
        stdout.flush()?;
        watch(&piece[..length]);
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{} ended with {status}", name(command));
    }
    Ok(())
}

/// The program and what it is to do, without its options: `cargo build`.
fn name(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = command.get_args().take_while(|word| !word.to_string_lossy().starts_with('-'));
    let words: Vec<_> = std::iter::once(program).chain(words).map(|word| word.to_string_lossy()).collect();
    format!("`{}`", words.join(" "))
}
