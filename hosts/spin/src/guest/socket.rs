//! A TCP connection, as two streams.

use std::net::IpAddr;

use dayfly_amqp::Refusal;
use spin_sdk::wasip3::sockets::ip_name_lookup::resolve_addresses;
use spin_sdk::wasip3::sockets::types::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress, TcpSocket,
};
use spin_sdk::wasip3::wit_stream;
use spin_sdk::wit_bindgen::{FutureReader, StreamReader, StreamWriter};

use crate::session::{Address, outbound_denied};

/// The half that is read. It keeps the socket.
pub struct Reader {
    pub bytes: StreamReader<u8>,
    _ended: FutureReader<Result<(), ErrorCode>>,
    _sent: FutureReader<Result<(), ErrorCode>>,
    _socket: TcpSocket,
}

/// Connects to a host, which is an address or a name.
///
/// # Errors
/// Names what would help.
pub async fn connect(to: &Address) -> Result<(Reader, StreamWriter<u8>), Refusal> {
    let mut failed = Refusal::Unreachable(format!("the broker's name {} has no address", to.host));
    for address in addresses(&to.host).await? {
        match connect_to(address, to.port).await {
            Ok(connected) => return Ok(connected),
            Err(ErrorCode::AccessDenied) => failed = outbound_denied(to),
            Err(ErrorCode::ConnectionRefused) => failed = Refusal::nothing_listens(&to.to_string()),
            Err(error) => failed = Refusal::Unreachable(format!("connecting to {to}: {error:?}")),
        }
    }
    Err(failed)
}

async fn connect_to(address: IpAddr, port: u16) -> Result<(Reader, StreamWriter<u8>), ErrorCode> {
    let (family, address) = match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            (IpAddressFamily::Ipv4, IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (a, b, c, d) }))
        }
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h] = v6.segments();
            let address = (a, b, c, d, e, f, g, h);
            (
                IpAddressFamily::Ipv6,
                IpSocketAddress::Ipv6(Ipv6SocketAddress { port, flow_info: 0, address, scope_id: 0 }),
            )
        }
    };
    let socket = TcpSocket::create(family)?;
    // A broker that vanished ends the read that waits for it, and so the task that an instance may be kept alive for.
    // Where the platform cannot, heartbeats find it out.
    let _ = keep_alive(&socket);
    socket.connect(address).await?;
    let (writer, outgoing) = wit_stream::new();
    let sent = socket.send(outgoing);
    let (bytes, ended) = socket.receive();
    Ok((Reader { bytes, _ended: ended, _sent: sent, _socket: socket }, writer))
}

fn keep_alive(socket: &TcpSocket) -> Result<(), ErrorCode> {
    const SECOND_NS: u64 = 1_000_000_000;
    socket.set_keep_alive_idle_time(20 * SECOND_NS)?;
    socket.set_keep_alive_interval(5 * SECOND_NS)?;
    socket.set_keep_alive_count(3)?;
    socket.set_keep_alive_enabled(true)
}

async fn addresses(host: &str) -> Result<Vec<IpAddr>, Refusal> {
    if let Ok(address) = host.trim_matches(['[', ']']).parse() {
        return Ok(vec![address]);
    }
    let found = resolve_addresses(host.to_owned()).await;
    let unknown = |error| Refusal::Unreachable(format!("the broker's name {host} cannot be resolved ({error:?})"));
    let found = found.map_err(unknown)?;
    let address = |address| match address {
        IpAddress::Ipv4((a, b, c, d)) => IpAddr::from([a, b, c, d]),
        IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => IpAddr::from([a, b, c, d, e, f, g, h]),
    };
    Ok(found.into_iter().map(address).collect())
}
