//! What went wrong, told so that one knows what to do. No text here holds a password: those of the broker do not, and
//! the URL is shown without it.

use std::io;

use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};
use lapin::{Error, ErrorKind};

use crate::broker::BrokerError;

/// Turns the failure of a request into the broker's answer to it.
pub(super) trait Refusal<T> {
    /// `doing` tells what was asked for, as in "declaring the queue x".
    fn refused(self, doing: impl FnOnce() -> String) -> Result<T, BrokerError>;
}

impl<T> Refusal<T> for Result<T, Error> {
    fn refused(self, doing: impl FnOnce() -> String) -> Result<T, BrokerError> {
        self.map_err(|error| of_request(&error, &doing()))
    }
}

/// A request over a connection that stands.
pub(super) fn of_request(error: &Error, doing: &str) -> BrokerError {
    let ErrorKind::ProtocolError(protocol) = error.kind() else {
        return BrokerError::Unreachable(format!("the connection broke while {doing}: {}", plain(error)));
    };
    let said = protocol.get_message();
    match protocol.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => BrokerError::Refused(format!(
            "{doing}: it exists with other settings ({said}); use the settings that it was made with, or remove what the \
             cluster has on the broker with `dayfly purge`"
        )),
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => BrokerError::Refused(format!(
            "{doing}: the user may not ({said}); give it the permissions configure, write and read on `^dayfly\\.`, and \
             write on `^amq\\.default$`"
        )),
        // It was deleted meanwhile. The next attempt declares it again.
        AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => BrokerError::Unreachable(format!("{doing}: {said}")),
        AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED | AMQPHardError::NOTIMPLEMENTED) => {
            BrokerError::Refused(format!("{doing}: {said}"))
        }
        AMQPErrorKind::Soft(_) | AMQPErrorKind::Hard(_) => BrokerError::Unreachable(format!("{doing}: {said}")),
    }
}

/// An attempt to connect to this address, as a user to a vhost.
pub(super) fn of_connecting(error: &Error, address: &str, user: &str, vhost: &str, tls: bool) -> BrokerError {
    match error.kind() {
        ErrorKind::ProtocolError(protocol) => {
            let said = protocol.get_message();
            match protocol.kind() {
                AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => BrokerError::Refused(format!(
                    "{address} does not accept this password for the user {user} ({said}); check user and password in \
                     the URL (`guest` may connect from the broker's own machine only)"
                )),
                AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED | AMQPHardError::INVALIDPATH) => {
                    BrokerError::Refused(format!(
                        "{address} does not let the user {user} into the vhost {vhost} ({said}); check the URL's path, \
                         and that the user has permissions in that vhost"
                    ))
                }
                AMQPErrorKind::Soft(_) | AMQPErrorKind::Hard(_) => {
                    BrokerError::Unreachable(format!("{address} ended the handshake: {said}"))
                }
            }
        }
        ErrorKind::IOError(error) => of_socket(error, address, tls),
        ErrorKind::ParsingError(_) | ErrorKind::InvalidProtocolVersion(_) => no_amqp(address),
        _ => BrokerError::Unreachable(format!("connecting to {address}: {}", plain(error))),
    }
}

/// Something else answers there.
pub(super) fn no_amqp(address: &str) -> BrokerError {
    BrokerError::Refused(format!(
        "what listens at {address} does not speak AMQP 0-9-1; check the port (if it is one for TLS, use `amqps://`)"
    ))
}

/// A socket or TLS that could not be made. rustls's errors come as text within that of the socket.
pub(super) fn of_socket(error: &io::Error, address: &str, tls: bool) -> BrokerError {
    let said = error.to_string();
    let hint = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            return BrokerError::Unreachable(format!(
                "nothing listens at {address}; check host and port, and that the broker runs"
            ));
        }
        _ if tls && said.contains("UnknownIssuer") => {
            "its certificate is of an authority that is not known here; give the authority's certificate as CA file"
        }
        _ if tls && said.contains("invalid peer certificate") => {
            "its certificate does not hold; check its names and dates against the host in the URL"
        }
        _ if tls && is_no_tls(error, &said) => "it does not speak TLS there; use the port for TLS, or `amqp://`",
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::UnexpectedEof if !tls => {
            return BrokerError::Unreachable(format!(
                "{address} closed the connection in the handshake ({said}); if it is a port for TLS, use `amqps://`"
            ));
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
