//! The templates that deploy Dayfly, checked by their own validators as far as these run without the cloud.

use anyhow::{Context, Result};

use crate::command;
use crate::pypi::Programs;
use crate::workspace::Workspace;

/// The validator of CloudFormation's templates, SAM's among them, and a parser of Terraform's language: its own validator
/// would have to load AWS's provider, which is not on PyPI.
const TOOLS: [&str; 2] = ["cfn-lint==1.58.0", "python-hcl2==8.1.4"];

/// Where the templates stand in the checkout.
const FOLDER: &str = "hosts/lambda/templates";

/// Checks all templates.
///
/// # Errors
/// One is wrong, or the validators cannot be had.
pub fn check(workspace: &Workspace) -> Result<()> {
    let tools = Programs::find_or_install(workspace, "templates", &TOOLS)?;
    let folder = workspace.root.join(FOLDER);
    command::run(tools.command("cfn-lint")?.arg("--").arg(folder.join("sam/template.yaml")))
        .context("the template for SAM is wrong")?;
    command::run(tools.command("python")?.arg(folder.join("check.py"))).context("a template is wrong")
}
