//! What is kept: a function of AWS Lambda, or whatever answers at a URL.

use std::fmt;
use std::str::FromStr;

/// The most replicas of all targets together: each may have a thread that waits for an answer.
pub const REPLICAS_MAX: usize = 1_000;
/// The longest name of a function, with its account and version, in bytes: what AWS allows.
const FUNCTION_BYTES_MAX: usize = 170;

/// Where replicas are kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// A function of AWS Lambda.
    Lambda {
        /// Its name, with `:VERSION` or `:ALIAS` if need be, or its ARN.
        function: String,
        /// Its region.
        region: String,
    },
    /// A URL without a slash at its end, below which `/v1/wake` or `/v1/linger` answers.
    Url(String),
}

/// A target, and how many replicas of it are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The target.
    pub target: Target,
    /// How many; 0 to [`REPLICAS_MAX`].
    pub wanted: usize,
}

impl Target {
    /// Whether AWS Lambda bills it: a function, or a URL of AWS.
    pub fn is_billed(&self) -> bool {
        match self {
            Self::Lambda { .. } => true,
            Self::Url(url) => {
                let host = host_of(url).split(':').next().unwrap_or_default();
                [".on.aws", ".amazonaws.com", ".amazonaws.com.cn"].iter().any(|end| host.ends_with(end))
            }
        }
    }
}

/// Host and port of a URL, as they stand there.
fn host_of(url: &str) -> &str {
    url.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default())
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lambda { function, region } => write!(f, "lambda:{function}@{region}"),
            Self::Url(url) => f.write_str(url),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(place) = text.strip_prefix("lambda:") {
            let (function, region) = place.rsplit_once('@').ok_or("the region is missing: lambda:FUNCTION@REGION=N")?;
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':' | '$');
            if function.is_empty() || function.len() > FUNCTION_BYTES_MAX || !function.chars().all(fits) {
                return Err("expected a function's name or ARN: letters, digits, - and _".to_owned());
            }
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            if region.is_empty() || !region.chars().all(fits) {
                return Err("expected a region such as eu-west-1".to_owned());
            }
            return Ok(Self::Lambda { function: function.to_owned(), region: region.to_owned() });
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            let fits = |uri: &ureq::http::Uri| uri.host().is_some_and(|host| !host.is_empty()) && uri.query().is_none();
            if !text.parse().is_ok_and(|uri| fits(&uri)) || host_of(text).contains('@') {
                return Err("expected a URL of host, port and perhaps a path, nothing else".to_owned());
            }
            return Ok(Self::Url(text.trim_end_matches('/').to_owned()));
        }
        Err("expected lambda:FUNCTION@REGION=N, http://HOST=N or https://HOST=N".to_owned())
    }
}

impl FromStr for Wish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (target, number) = text.rsplit_once('=').ok_or("the number is missing: TARGET=N")?;
        let target = target.trim().parse()?;
        match number.trim().parse() {
            Ok(wanted) if wanted <= REPLICAS_MAX => Ok(Self { target, wanted }),
            _ => Err(format!("expected a number of replicas from 0 to {REPLICAS_MAX} after the last =")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Result<Target, String> {
        text.parse()
    }

    #[test]
    fn a_wish_names_a_function_or_a_url_and_a_number() {
        let wish: Wish = "lambda:dayfly@eu-west-1=8".parse().expect("a function");
        let lambda = Target::Lambda { function: "dayfly".to_owned(), region: "eu-west-1".to_owned() };
        assert_eq!(wish, Wish { target: lambda, wanted: 8 });
        let wish: Wish = "https://example.com:81/a=b/=2".parse().expect("a URL");
        assert_eq!(wish, Wish { target: Target::Url("https://example.com:81/a=b".to_owned()), wanted: 2 });
        for text in ["lambda:f:live@eu-west-1", "lambda:arn:aws:lambda:eu-west-1:123456789012:function:f@eu-west-1"] {
            assert_eq!(target(text).expect(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_with_it_is_told() {
        let cases = [
            ("lambda:f@eu-west-1", "the number is missing"),
            ("lambda:f=1", "the region is missing"),
            ("lambda:@eu-west-1=1", "expected a function's name"),
            ("lambda:f/g@eu-west-1=1", "expected a function's name"),
            ("lambda:f@EU=1", "expected a region"),
            ("lambda:f@eu-west-1=-1", "expected a number"),
            ("lambda:f@eu-west-1=1001", "expected a number"),
            ("http://=1", "expected a URL"),
            ("http://host/?a=1", "expected a URL"),
            ("http://me:secret@host=1", "expected a URL"),
            ("ftp://host=1", "expected lambda:"),
        ];
        for (text, part) in cases {
            let error = text.parse::<Wish>().expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn what_aws_does_not_run_it_does_not_bill() {
        let billed = |text: &str| target(text).expect(text).is_billed();
        assert!(billed("lambda:f@eu-west-1"));
        assert!(billed("https://abc.lambda-url.eu-west-1.on.aws"));
        assert!(billed("https://abc.execute-api.eu-west-1.amazonaws.com/stage"));
        assert!(!billed("http://127.0.0.1:8080") && !billed("https://example.com/x.on.aws"));
    }
}
