//! `dayfly precompile`: the replica component as machine code, for a host that has no compiler.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use dayfly_engine::artefact::{CODE_FILE, HASH_FILE};
use dayfly_engine::{Limits, Runtime, Target};

use crate::component::COMPONENT;

const HELP: &str = "\
It compiles the component that this program carries, and writes two files into DIR, which it makes if need be:
  replica.cwasm    the machine code, which a host maps into its memory
  replica.sha256   the SHA-256 of the component that it was made of

They fit hosts of the same version of Dayfly, which refuse others. The same component gives the same bytes on every
machine. `cargo xtask package lambda` puts them into the zip for AWS Lambda.

Examples:
  dayfly precompile build/                   for x86-64 with AVX2: any that Lambda has, and most of the last ten years
  dayfly precompile --target arm64 build/    for 64-bit ARM; needs a program that was built with the cargo feature
                                             compiler-arm64, or on such a machine

Exit codes: 0 written; 1 not compiled, or not written; 2 wrong usage";

/// Compile the replica component to machine code, for a host without a compiler
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct PrecompileArgs {
    /// The processors to compile for
    #[arg(long, value_enum, default_value_t = Processor::X86_64)]
    target: Processor,

    /// The folder to write into
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Processors, by the names that AWS gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Processor {
    /// 64-bit x86 with AVX2
    #[value(name = "x86_64")]
    X86_64,
    /// 64-bit ARM
    Arm64,
}

/// `dayfly precompile`.
pub fn run(args: &PrecompileArgs) -> anyhow::Result<ExitCode> {
    let target = match args.target {
        Processor::X86_64 => Target::X86_64,
        Processor::Arm64 => Target::Arm64,
    };
    // Of the limits only how memories are laid out matters, which is alike for all hosts of fewer than 16,000 replicas.
    let artefact = Runtime::precompile(COMPONENT, Limits::default(), target)?;
    let unwritten = |file: &str| format!("cannot write {}", args.folder.join(file).display());
    fs::create_dir_all(&args.folder).with_context(|| unwritten(""))?;
    artefact.write(&args.folder).with_context(|| unwritten(CODE_FILE))?;
    println!("{}  {} bytes", args.folder.join(CODE_FILE).display(), artefact.code.len());
    println!("{}  {}", args.folder.join(HASH_FILE).display(), artefact.component_hash);
    Ok(ExitCode::SUCCESS)
}
