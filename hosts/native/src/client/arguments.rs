//! The arguments that the commands of the client share.

use std::time::Duration;

use clap::Args;

/// Where the cluster is, and how long to wait for it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterArgs {
    /// Where the cluster listens; plain http only
    #[arg(long, env = "DAYFLY_URL", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,

    /// Ask this replica and no other (`dayfly members` lists them)
    #[arg(long, value_name = "NAME")]
    pub replica: Option<String>,

    /// How long to wait for an answer, in seconds (0.1 to 3600)
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub timeout: Duration,
}

/// Reading your own writes.
#[derive(Clone, Debug, Default, Args)]
pub struct AfterArgs {
    /// Be answered only by a replica that has seen the writes of this token (of `update --show-context`)
    #[arg(long, value_name = "TOKEN", value_parser = token)]
    pub after: Option<String>,
}

/// The context of a write.
#[derive(Clone, Debug, Default, Args)]
pub struct ContextArgs {
    /// The token of your earlier writes, to be joined with this one's
    #[arg(long, value_name = "TOKEN", value_parser = token)]
    pub context: Option<String>,

    /// Print the token of this write, joined with that of --context, for a later --after
    #[arg(long)]
    pub show_context: bool,
}

/// Reads a number of seconds, 0.1 to 3600.
pub fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("expected a number of seconds from 0.1 to 3600".to_owned()),
    }
}

/// Checks that a token can stand in a header; what it means, only replicas know.
fn token(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(text.to_owned()) } else { Err("expected a token as --show-context printed it".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_bounded_on_both_sides() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for wrong in ["0", "-1", "0.01", "3601", "inf", "NaN", "1s", ""] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
