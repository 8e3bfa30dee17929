//! TCP proxies between a client and a broker: a thin line, which lets only so many bytes a second through to the client,
//! and one that can be cut.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
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

/// A line that can be cut: what goes over it ends then, and whoever connects is hung up on, until it is mended.
#[derive(Debug)]
pub struct Line {
    address: SocketAddr,
    state: Arc<Mutex<LineState>>,
}

#[derive(Debug, Default)]
struct LineState {
    is_cut: bool,
    /// Both ends of all that was connected.
    open: Vec<TcpStream>,
}

impl Line {
    /// A line to there, from a free port of this machine, for as long as the process lives.
    pub fn to(server: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let line = Self { address: listener.local_addr()?, state: Arc::default() };
        let state = Arc::clone(&line.state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                if state.is_cut {
                    continue;
                }
                let Ok(server) = TcpStream::connect(server) else { continue };
                let (Ok(client_read), Ok(server_read)) = (client.try_clone(), server.try_clone()) else { continue };
                state.open.extend([client.try_clone(), server.try_clone()].into_iter().flatten());
                thread::spawn(move || hand_on(client_read, server, u64::MAX));
                thread::spawn(move || hand_on(server_read, client, u64::MAX));
            }
        });
        Ok(line)
    }

    /// Where it begins.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts it.
    pub fn cut(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_cut = true;
        for stream in state.open.drain(..) {
            // It may have ended by itself.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Mends it for those who connect from now on.
    pub fn mend(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_cut = false;
    }
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
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
