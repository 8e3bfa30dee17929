//! What went wrong, told so that one knows what to do. No text here holds a password: those of the broker do not.

use std::fmt;

/// Why something did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The broker refused. Trying again would not help until its configuration is mended, or ours.
    Refused(String),
    /// The connection broke or could not be made. Try again after a while.
    Unreachable(String),
}

/// What a host calls what its users can change. Each is a clause, as in "check user and password in the URL".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hints {
    /// A queue exists with other arguments.
    pub other_settings: &'static str,
    /// The broker does not accept user and password.
    pub credentials: &'static str,
    /// The user may not use the vhost.
    pub vhost: &'static str,
    /// It is perhaps a port for TLS.
    pub perhaps_tls: &'static str,
}

/// Codes of AMQP's replies. What stands between 300 and 499 closes a channel, the rest a connection.
mod code {
    pub const INVALID_PATH: u16 = 402;
    pub const ACCESS_REFUSED: u16 = 403;
    pub const PRECONDITION_FAILED: u16 = 406;
    pub const NOT_ALLOWED: u16 = 530;
    pub const NOT_IMPLEMENTED: u16 = 540;
}

impl Hints {
    /// The broker answered a request with this code and text. `doing` tells what was asked for, as in "declaring the
    /// queue x".
    pub fn of_request(&self, doing: &str, code: u16, said: &str) -> Refusal {
        match code {
            code::PRECONDITION_FAILED => Refusal::Refused(format!(
                "{doing}: it exists with other settings ({said}); {}, or remove what the cluster has on the broker with \
                 `dayfly purge`",
                self.other_settings
            )),
            code::ACCESS_REFUSED => Refusal::Refused(format!(
                "{doing}: the user may not ({said}); give it the permissions configure, write and read on `^dayfly\\.`, \
                 and write on `^amq\\.default$`"
            )),
            code::NOT_ALLOWED | code::NOT_IMPLEMENTED => Refusal::Refused(format!("{doing}: {said}")),
            // Among them NOT_FOUND: it was deleted meanwhile, and the next attempt declares it again.
            _ => Refusal::Unreachable(format!("{doing}: {said}")),
        }
    }

    /// The broker at this address ended the handshake with this code and text.
    pub fn of_connecting(&self, address: &str, user: &str, vhost: &str, code: u16, said: &str) -> Refusal {
        match code {
            code::ACCESS_REFUSED => Refusal::Refused(format!(
                "{address} does not accept this password for the user {user} ({said}); {} (`guest` may connect from the \
                 broker's own machine only)",
                self.credentials
            )),
            code::NOT_ALLOWED | code::INVALID_PATH => Refusal::Refused(format!(
                "{address} does not let the user {user} into the vhost {vhost} ({said}); {}, and that the user has \
                 permissions in that vhost",
                self.vhost
            )),
            _ => Refusal::Unreachable(format!("{address} ended the handshake: {said}")),
        }
    }

    /// Something else answers at this address.
    pub fn no_amqp(&self, address: &str) -> Refusal {
        Refusal::Refused(format!(
            "what listens at {address} does not speak AMQP 0-9-1; check the port (if it is one for TLS, {})",
            self.perhaps_tls
        ))
    }

    /// The socket was closed before the handshake had come to its end. `said` is the system's word for it.
    pub fn closed_in_handshake(&self, address: &str, said: &str) -> Refusal {
        Refusal::Unreachable(format!(
            "{address} closed the connection in the handshake ({said}); if it is a port for TLS, {}",
            self.perhaps_tls
        ))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "the broker refused: {reason}"),
            Self::Unreachable(reason) => write!(f, "the broker cannot be reached: {reason}"),
        }
    }
}

impl Refusal {
    /// Nobody accepts connections at this address.
    pub fn nothing_listens(address: &str) -> Self {
        Self::Unreachable(format!("nothing listens at {address}; check host and port, and that the broker runs"))
    }

    /// The broker at this address did not answer in time.
    pub fn too_slow(address: &str, limit_ms: u128) -> Self {
        Self::Unreachable(format!("{address} did not answer within {limit_ms} ms; check host, port and firewalls"))
    }

    /// The connection ended in the midst of things. `said` tells how.
    pub fn broke(doing: &str, said: &str) -> Self {
        Self::Unreachable(format!("the connection broke while {doing}: {said}"))
    }

    /// The broker ended a consumer.
    pub fn deleted(queue: &str) -> Self {
        Self::Unreachable(format!("the broker ended the consumption of {queue}: it was deleted"))
    }

    /// The text.
    pub fn reason(&self) -> &str {
        match self {
            Self::Refused(reason) | Self::Unreachable(reason) => reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HINTS: Hints =
        Hints { other_settings: "use them", credentials: "check them", vhost: "check it", perhaps_tls: "say so" };

    #[test]
    fn a_refusal_names_what_to_change() {
        for (code, hint) in [(406, "use them"), (403, "permissions"), (530, "said"), (540, "said")] {
            let refusal = HINTS.of_request("doing", code, "said");
            assert!(matches!(&refusal, Refusal::Refused(reason) if reason.contains(hint)), "{refusal:?}");
        }
        for (code, hint) in [(403, "check them"), (530, "check it"), (402, "check it")] {
            let refusal = HINTS.of_connecting("h:1", "u", "v", code, "said");
            assert!(matches!(&refusal, Refusal::Refused(reason) if reason.contains(hint)), "{refusal:?}");
        }
        assert!(HINTS.no_amqp("h:1").reason().contains("say so"));
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        for code in [320, 404, 405, 506, 541, 0] {
            let refusal = HINTS.of_request("doing", code, "said");
            assert_eq!(refusal, Refusal::Unreachable("doing: said".to_owned()));
        }
        let refusal = HINTS.of_connecting("h:1", "u", "v", 541, "said");
        assert!(matches!(refusal, Refusal::Unreachable(_)), "{refusal:?}");
    }
}
