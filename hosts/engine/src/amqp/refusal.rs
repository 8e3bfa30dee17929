//! What went wrong, told so that one knows what to do. No text here holds a password: those of the broker do not, and
//! the URL is shown without it.

use std::io;

use dayfly_amqp::{Hints, Refusal};
use lapin::{Error, ErrorKind};

use crate::broker::BrokerError;

/// What these hosts call it.
const HINTS: Hints = Hints {
    other_settings: "use the settings that it was made with",
    credentials: "check user and password in the URL",
    vhost: "check the URL's path",
    perhaps_tls: "use `amqps://`",
};

impl From<Refusal> for BrokerError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Refused(reason) => Self::Refused(reason),
            Refusal::Unreachable(reason) => Self::Unreachable(reason),
        }
    }
}

/// Turns the failure of a request into the broker's answer to it.
pub(super) trait Refused<T> {
    /// `doing` tells what was asked for, as in "declaring the queue x".
    fn refused(self, doing: impl FnOnce() -> String) -> Result<T, BrokerError>;
}

impl<T> Refused<T> for Result<T, Error> {
    fn refused(self, doing: impl FnOnce() -> String) -> Result<T, BrokerError> {
        self.map_err(|error| of_request(&error, &doing()))
    }
}

/// A request over a connection that stands.
pub(super) fn of_request(error: &Error, doing: &str) -> BrokerError {
    let ErrorKind::ProtocolError(protocol) = error.kind() else {
        return Refusal::broke(doing, &plain(error)).into();
    };
    HINTS.of_request(doing, protocol.kind().get_id(), protocol.get_message().as_str()).into()
}

/// An attempt to connect to this address, as a user to a vhost.
pub(super) fn of_connecting(error: &Error, address: &str, user: &str, vhost: &str, tls: bool) -> BrokerError {
    match error.kind() {
        ErrorKind::ProtocolError(protocol) => {
            let (code, said) = (protocol.kind().get_id(), protocol.get_message().as_str());
            HINTS.of_connecting(address, user, vhost, code, said).into()
        }
        ErrorKind::IOError(error) => of_socket(error, address, tls),
        ErrorKind::ParsingError(_) | ErrorKind::InvalidProtocolVersion(_) => no_amqp(address),
        _ => BrokerError::Unreachable(format!("connecting to {address}: {}", plain(error))),
    }
}

/// Something else answers there.
pub(super) fn no_amqp(address: &str) -> BrokerError {
    HINTS.no_amqp(address).into()
}

/// A socket or TLS that could not be made. rustls's errors come as text within that of the socket.
pub(super) fn of_socket(error: &io::Error, address: &str, tls: bool) -> BrokerError {
    let said = error.to_string();
    let hint = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            return Refusal::nothing_listens(address).into();
        }
        _ if tls && said.contains("UnknownIssuer") => {
            "its certificate is of an authority that is not known here; give the authority's certificate as CA file"
        }
        _ if tls && said.contains("invalid peer certificate") => {
            "its certificate does not hold; check its names and dates against the host in the URL"
        }
        _ if tls && is_no_tls(error, &said) => "it does not speak TLS there; use the port for TLS, or `amqp://`",
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::UnexpectedEof if !tls => {
            return HINTS.closed_in_handshake(address, &said).into();
        }
        _ => return BrokerError::Unreachable(format!("connecting to {address}: {said}")),
    };
    BrokerError::Refused(format!("no TLS with {address}: {hint} ({said})"))
}

fn is_no_tls(error: &io::Error, said: &str) -> bool {
    error.kind() == io::ErrorKind::InvalidData || said.contains("corrupt message") || said.contains("handshake")
}

/// An error of lapin without what people need not see.
pub(super) fn plain(error: &Error) -> String {
    match error.kind() {
        ErrorKind::IOError(error) => error.to_string(),
        ErrorKind::ProtocolError(protocol) => protocol.get_message().to_string(),
        ErrorKind::MissingHeartbeatError => "the broker was silent for too long".to_owned(),
        ErrorKind::InvalidChannelState(..) | ErrorKind::InvalidConnectionState(_) => "it is closed".to_owned(),
        _ => error.to_string(),
    }
}
