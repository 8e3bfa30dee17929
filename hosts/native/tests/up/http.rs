//! Just enough HTTP to see what a server does, byte by byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The code of an error.
    pub fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A connection.
pub struct Connection {
    pub stream: TcpStream,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(super::PATIENCE)).expect("it can be set");
        Self { stream }
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("it reads");
    }

    /// Reads one answer; it has to have a length.
    pub fn answer(&mut self) -> Answer {
        self.stream.set_read_timeout(Some(super::PATIENCE)).expect("it can be set");
        let mut reader = BufReader::new(&mut self.stream);
        let mut line = String::new();
        loop {
            line.clear();
            reader.read_line(&mut line).expect("it answers");
            let status: u16 = line.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
            let mut headers = Vec::new();
            loop {
                line.clear();
                reader.read_line(&mut line).expect("it answers");
                let Some((name, value)) = line.trim_end().split_once(": ") else { break };
                headers.push((name.to_ascii_lowercase(), value.to_owned()));
            }
            if status == 100 {
                continue;
            }
            let mut answer = Answer { status, headers, body: Vec::new() };
            let length = answer.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            answer.body.resize(length, 0);
            reader.read_exact(&mut answer.body).expect("the body is as long as it says");
            return answer;
        }
    }
}
