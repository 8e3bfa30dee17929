//! What an error answer says, and what became of the write that it answers.

use std::fmt;

use serde_json::Value;

use super::text;

/// How much of a foreign answer's body is shown, in characters.
const FOREIGN_EXCERPT_CHARS: usize = 200;

/// An answer with a status of 400 or more, or one that no request of ours should get (a redirect).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The code of `wit/http-api.md`; none if what answered was not Dayfly.
    pub code: Option<String>,
    /// The message for people; for a foreign answer an excerpt of it. Nothing is decided by its wording but which
    /// operation of a batch it is about.
    pub message: String,
    /// Whether the answer invites to send the same again (`retry-after`).
    pub invites_retry: bool,
}

/// What became of a write that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was changed; the same request would be refused again.
    Refused,
    /// Nothing was changed, and the same request may succeed later.
    NotNow,
    /// It is applied on a replica, which will send it again; it must not be repeated.
    Applied,
    /// It may have been applied or not.
    Unknown,
}

impl Refusal {
    /// Reads the body of an error answer. Never fails: what is not of Dayfly's form is a refusal without a code.
    pub fn read(status: u16, body: &str, invites_retry: bool) -> Self {
        let parsed = serde_json::from_str::<Value>(body).ok();
        let error = parsed.as_ref().and_then(|value| value.get("error"));
        let member = |name| error.and_then(|error| error.get(name)).and_then(Value::as_str).map(str::to_owned);
        match (member("code"), member("message")) {
            (Some(code), message) => {
                Self { status, code: Some(code), message: message.unwrap_or_default(), invites_retry }
            }
            (None, _) => {
                let message = text::excerpt(body.trim(), FOREIGN_EXCERPT_CHARS);
                Self { status, code: None, message, invites_retry }
            }
        }
    }

    /// What became of the write. A status below 500 has changed nothing, whoever gave it; with one of 500 or more,
    /// only a known code tells, and what is not known is in doubt. So is `no_replica`, since a host also answers that
    /// when a replica was lost with the write under way, unless it invites to send it again.
    pub fn outcome(&self) -> Outcome {
        match (self.status, self.code.as_deref()) {
            (..500, _) | (507, Some("store_full")) => Outcome::Refused,
            (503, Some("busy" | "not_yet")) => Outcome::NotNow,
            (503, Some("unconfirmed")) => Outcome::Applied,
            (503, Some("no_replica")) if self.invites_retry => Outcome::NotNow,
            _ => Outcome::Unknown,
        }
    }

    /// Which operation of a batch was refused, counted from 0: a batch's message begins with `operation 3: `.
    pub fn operation(&self) -> Option<usize> {
        self.message.strip_prefix("operation ")?.split_once(':')?.0.parse().ok()
    }

    /// The message without the operation's index, and the code.
    pub fn reason(&self) -> String {
        let message = match self.operation().and_then(|_| self.message.split_once(": ")) {
            Some((_, rest)) => rest,
            None => &self.message,
        };
        let message = text::printable(message);
        match &self.code {
            Some(code) if message.is_empty() => text::printable(code),
            Some(code) => format!("{message} ({})", text::printable(code)),
            None if message.is_empty() => format!("HTTP status {}", self.status),
            None => format!("HTTP status {}: {message}", self.status),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(_) => f.write_str(&self.reason()),
            None => write!(f, "this is no answer of Dayfly's: {}", self.reason()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, code: &str, message: &str) -> Refusal {
        Refusal::read(status, &serde_json::json!({"error": {"code": code, "message": message}}).to_string(), false)
    }

    #[test]
    fn what_changed_nothing_is_told_from_what_is_in_doubt() {
        let cases = [
            (400, "bad_request", "", Outcome::Refused),
            (404, "no_such_key", "", Outcome::Refused),
            (413, "batch_too_large", "", Outcome::Refused),
            (507, "store_full", "", Outcome::Refused),
            (503, "busy", "", Outcome::NotNow),
            (503, "not_yet", "", Outcome::NotNow),
            (503, "no_replica", "whatever this says", Outcome::Unknown),
            (503, "unconfirmed", "", Outcome::Applied),
            (503, "what_is_new", "", Outcome::Unknown),
            (500, "internal", "", Outcome::Unknown),
            (507, "other", "", Outcome::Unknown),
        ];
        for (status, code, message, outcome) in cases {
            assert_eq!(refusal(status, code, message).outcome(), outcome, "{status} {code} {message}");
        }
        for (status, body) in [(502, "<html>"), (503, ""), (503, "{\"error\":\"no_replica\"}")] {
            assert_eq!(Refusal::read(status, body, true).outcome(), Outcome::Unknown, "{status} {body}");
        }
    }

    #[test]
    fn only_the_invitation_to_retry_makes_a_lost_replica_harmless() {
        let refusal = refusal(503, "no_replica", "nothing was applied");
        assert_eq!(refusal.outcome(), Outcome::Unknown);
        assert_eq!(Refusal { invites_retry: true, ..refusal }.outcome(), Outcome::NotNow);
    }

    #[test]
    fn a_batch_names_the_operation_that_it_refused() {
        let named = refusal(422, "wrong_operation", "operation 12: a gset has no `remove`: use an orset");
        assert_eq!(named.operation(), Some(12));
        assert_eq!(named.reason(), "a gset has no `remove`: use an orset (wrong_operation)");
        for message in ["operation x: no", "operations 3: no", "operation 3", "the operation 3: no", ""] {
            assert_eq!(refusal(422, "bad_value", message).operation(), None, "{message}");
        }
    }

    #[test]
    fn a_foreign_answer_is_shown_in_part_and_without_control_characters() {
        let foreign = Refusal::read(502, &format!("\u{1b}[31m{}", "x".repeat(5000)), false);
        assert_eq!(foreign.code, None);
        let shown = foreign.to_string();
        assert!(shown.len() < 400 && !shown.contains('\u{1b}'), "{shown}");
    }
}
