//! Where a value came from.

use std::fmt;
use std::path::PathBuf;

/// A layer, the uppermost first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag, whose name this is.
    Flag(&'static str),
    /// An environment variable.
    Environment(String),
    /// A line of a file, counted from 1.
    File(PathBuf, usize),
    /// Nobody gave it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag --{name}"),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::File(path, line) => write!(f, "{} line {line}", path.display()),
            Self::Default => write!(f, "default"),
        }
    }
}
