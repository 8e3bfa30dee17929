//! Which addresses a guest may connect to.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};

/// The addresses of `allowed_outbound_hosts`, each `tcp://HOST:PORT`.
///
/// As in Spin, what is compared is the address that is connected to: a name such as `localhost` is taken and never
/// matches. `*` stands for any host or any port. Other schemes are for Spin's own clients, which are not offered here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedHosts {
    hosts: Vec<(String, Option<u16>)>,
}

impl AllowedHosts {
    /// Reads the entries of a manifest, with their templates filled.
    ///
    /// # Errors
    /// An entry is something else than `tcp://HOST:PORT`.
    pub fn parse<'a>(entries: impl IntoIterator<Item = &'a str>) -> Result<Self> {
        let hosts = entries.into_iter().map(|entry| {
            let expected = || format!("allowed_outbound_hosts: {entry:?}: expected tcp://HOST:PORT");
            let (host, port) =
                entry.strip_prefix("tcp://").and_then(|rest| rest.rsplit_once(':')).with_context(expected)?;
            let is_host = !host.is_empty() && !host.contains(['/', '@', '?', '#']);
            ensure!(is_host, expected());
            let port = match port {
                "*" => None,
                number => Some(number.parse::<u16>().ok().with_context(expected)?),
            };
            Ok((host.to_owned(), port))
        });
        Ok(Self { hosts: hosts.collect::<Result<_>>()? })
    }

    /// Whether this address may be connected to.
    pub fn allow(&self, address: SocketAddr) -> bool {
        let ip = match address {
            SocketAddr::V4(v4) => v4.ip().to_string(),
            SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
        };
        let is_meant = |host: &str, port: Option<u16>| {
            (host == "*" || host == ip) && port.is_none_or(|port| port == address.port())
        };
        self.hosts.iter().any(|(host, port)| is_meant(host, *port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(entry: &str, address: &str) -> bool {
        AllowedHosts::parse([entry]).unwrap().allow(address.parse().unwrap())
    }

    #[test]
    fn the_address_is_compared() {
        assert!(allows("tcp://127.0.0.1:5672", "127.0.0.1:5672"));
        assert!(allows("tcp://[::1]:5672", "[::1]:5672"));
        assert!(allows("tcp://*:5672", "10.0.0.1:5672"));
        assert!(allows("tcp://10.0.0.1:*", "10.0.0.1:1"));
        assert!(!allows("tcp://127.0.0.1:5672", "127.0.0.1:5671"));
        assert!(!allows("tcp://127.0.0.1:5672", "127.0.0.2:5672"));
        assert!(!allows("tcp://*:5672", "127.0.0.1:5671"));
        // A name is not what is connected to.
        assert!(!allows("tcp://localhost:5672", "127.0.0.1:5672"));
        assert!(!AllowedHosts::default().allow("127.0.0.1:5672".parse().unwrap()));
    }

    #[test]
    fn other_entries_are_refused() {
        for entry in [
            "amqp://127.0.0.1:5672",
            "127.0.0.1:5672",
            "tcp://127.0.0.1",
            "tcp://127.0.0.1:",
            "tcp://127.0.0.1:65536",
            "tcp://:5672",
            "tcp://guest@127.0.0.1:5672",
            "tcp://127.0.0.1:5672/vhost",
        ] {
            let told = AllowedHosts::parse([entry]).unwrap_err().to_string();
            assert!(told.contains("expected tcp://HOST:PORT") && told.contains(entry), "{told}");
        }
    }
}
