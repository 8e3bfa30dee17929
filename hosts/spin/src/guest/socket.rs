//! A TCP connection, as two streams.

use std::net::IpAddr;

use spin_sdk::wasip3::sockets::ip_name_lookup::resolve_addresses;
use spin_sdk::wasip3::sockets::types::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress, TcpSocket,
};
use spin_sdk::wasip3::wit_stream;
use spin_sdk::wit_bindgen::{FutureReader, StreamReader, StreamWriter};

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
/// For people, naming the setting that would help.
pub async fn connect(host: &str, port: u16) -> Result<(Reader, StreamWriter<u8>), String> {
    let mut failed = format!("the name {host} has no address");
    for address in addresses(host).await? {
        match connect_to(address, port).await {
            Ok(connected) => return Ok(connected),
            Err(error) => failed = told(&error, host, port),
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

async fn addresses(host: &str) -> Result<Vec<IpAddr>, String> {
    if let Ok(address) = host.trim_matches(['[', ']']).parse() {
        return Ok(vec![address]);
    }
    let found = resolve_addresses(host.to_owned()).await;
    let found = found.map_err(|error| format!("the broker's name {host} cannot be resolved ({error:?})"))?;
    let address = |address| match address {
        IpAddress::Ipv4((a, b, c, d)) => IpAddr::from([a, b, c, d]),
        IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => IpAddr::from([a, b, c, d, e, f, g, h]),
    };
    Ok(found.into_iter().map(address).collect())
}

fn told(error: &ErrorCode, host: &str, port: u16) -> String {
    match error {
        ErrorCode::AccessDenied => format!(
            "Spin does not let the application connect to {host}:{port}; spin.toml has to permit the address, as in \
             allowed_outbound_hosts = [\"tcp://ADDRESS:{port}\"], which is the variable broker_address"
        ),
        ErrorCode::ConnectionRefused => {
            format!("nothing listens at {host}:{port}; check the variable broker, and that the broker runs")
        }
        error => format!("connecting to {host}:{port}: {error:?}"),
    }
}
