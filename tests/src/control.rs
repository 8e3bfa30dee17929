//! The tests' RabbitMQ, as its operator sees it.

use std::env;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Names a program that takes the arguments of `rabbitmqctl` and acts on the tests' RabbitMQ.
const CONTROL_VARIABLE: &str = "DAYFLY_TEST_RABBITMQ";

/// Runs `rabbitmqctl` and gives what it wrote.
pub fn control(arguments: &[&str]) -> Result<String> {
    let program = env::var_os(CONTROL_VARIABLE)
        .with_context(|| format!("{CONTROL_VARIABLE} names no program: run the tests by `cargo xtask test`"))?;
    let output = Command::new(&program).args(arguments).output().with_context(|| format!("{program:?}"))?;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{arguments:?}: {told}{}", String::from_utf8_lossy(&output.stderr));
    Ok(told)
}

/// The names of all queues.
pub fn queues() -> Result<Vec<String>> {
    let told = control(&["-q", "list_queues", "name", "--no-table-headers"])?;
    Ok(told.lines().map(str::to_owned).collect())
}
