//! Which addresses a guest may connect to.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result};

/// The addresses of `allowed_outbound_hosts`, each `tcp://HOST:PORT`.
///
/// As in Spin, what is compared is the address that is connected to: a name such as `localhost` is taken and never
/// matches. `*` stands for any host or any port, `10.0.0.0/8` for a network. Other schemes are for Spin's own clients,
/// which are not offered here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedHosts {
    hosts: Vec<(Host, Option<u16>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Any,
    /// Addresses that have their first bits in common with this one, as many as said.
    Network(IpAddr, u32),
    /// A name, which no address is.
    Name,
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::Any);
        }
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let address = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        match (address.parse::<IpAddr>(), bits) {
            (Ok(address), None) => Some(Self::Network(address, width(address))),
            (Ok(address), Some(bits)) => {
                let bits = bits.parse().ok().filter(|bits| *bits <= width(address))?;
                Some(Self::Network(address, bits))
            }
            (Err(_), None) if !text.is_empty() && !text.contains(['@', '?', '#', ':']) => Some(Self::Name),
            (Err(_), _) => None,
        }
    }

    fn is(&self, address: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::Network(network, bits) => {
                let below = width(*network) - bits;
                let first = |address| number(address).checked_shr(below).unwrap_or(0);
                network.is_ipv4() == address.is_ipv4() && first(*network) == first(address)
            }
            Self::Name => false,
        }
    }
}

/// How many bits an address has.
fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
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
            let host = Host::parse(host).with_context(expected)?;
            let port = match port {
                "*" => None,
                number => Some(number.parse::<u16>().ok().with_context(expected)?),
            };
            Ok((host, port))
        });
        Ok(Self { hosts: hosts.collect::<Result<_>>()? })
    }

    /// Whether this address may be connected to.
    pub fn allow(&self, address: SocketAddr) -> bool {
        let is_port = |port: Option<u16>| port.is_none_or(|port| port == address.port());
        self.hosts.iter().any(|(host, port)| host.is(address.ip()) && is_port(*port))
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
        assert!(allows("tcp://10.0.0.0/8:5672", "10.9.8.7:5672"));
        assert!(!allows("tcp://10.0.0.0/8:5672", "11.0.0.1:5672"));
        assert!(allows("tcp://0.0.0.0/0:5672", "11.0.0.1:5672"));
        assert!(!allows("tcp://0.0.0.0/0:5672", "[::1]:5672"));
        assert!(allows("tcp://fd00::/8:5672", "[fd12::1]:5672"));
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
            "tcp://10.0.0.0/33:5672",
            "tcp://name/8:5672",
            "tcp://guest@127.0.0.1:5672",
            "tcp://127.0.0.1:5672/vhost",
        ] {
            let told = AllowedHosts::parse([entry]).unwrap_err().to_string();
            assert!(told.contains("expected tcp://HOST:PORT") && told.contains(entry), "{told}");
        }
    }
}
