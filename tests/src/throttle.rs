//! A TCP proxy that lets only so many bytes a second through to the client: a thin line to a broker.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

/// How much is handed on at a time.
const PIECE_BYTES: usize = 16 << 10;

/// Listens on a free port of this machine for as long as the process lives, and hands on to `to`. What comes from there is
/// slowed down to so many bytes a second on each connection.
pub fn throttle(to: SocketAddr, bytes_per_second: u64) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    hand_on_from(listener, to, bytes_per_second);
    Ok(address)
}

/// The same at this listener, which may come and go.
pub fn hand_on_from(listener: TcpListener, to: SocketAddr, bytes_per_second: u64) {
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(to) else { continue };
            let (Ok(client_read), Ok(server_read)) = (client.try_clone(), server.try_clone()) else { continue };
            thread::spawn(move || hand_on(client_read, server, u64::MAX));
            thread::spawn(move || hand_on(server_read, client, bytes_per_second));
        }
    });
}

/// Copies until either side ends, and then ends the other.
fn hand_on(mut from: TcpStream, mut to: TcpStream, bytes_per_second: u64) {
    let mut piece = vec![0; PIECE_BYTES];
    let (began, mut passed) = (Instant::now(), 0_u64);
    while let Ok(count @ 1..) = from.read(&mut piece) {
        if to.write_all(&piece[..count]).is_err() {
            break;
        }
        passed += count as u64;
        let due = Duration::from_secs_f64(passed as f64 / bytes_per_second as f64);
        thread::sleep(due.saturating_sub(began.elapsed()));
    }
    // They may have ended already.
    let _ = from.shutdown(std::net::Shutdown::Both);
    let _ = to.shutdown(std::net::Shutdown::Both);
}
