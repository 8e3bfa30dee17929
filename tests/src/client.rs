//! A small HTTP/1.1 client that sends exactly what it is told, malformed or not. It shares no code with the program that
//! it tests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use dayfly_conformance::http::{Answer, Request};

/// How long a read or a write may take, if nothing else is said.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer's head or one of its lines is at most so long.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// An answer's body is at most so long.
const BODY_BYTES_MAX: usize = 64 << 20;

/// A client of one server, over one connection at a time.
#[derive(Debug)]
pub struct Client {
    address: String,
    prefix: String,
    patience: Duration,
    connection: Option<BufReader<TcpStream>>,
}

impl Client {
    /// A client of the server at this URL (`http://HOST:PORT`, perhaps with a path that goes before all others). It
    /// connects with the first request.
    pub fn new(url: &str) -> Result<Self> {
        let rest = url.strip_prefix("http://").with_context(|| format!("{url:?} does not begin with http://"))?;
        let (address, prefix) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        ensure!(!address.is_empty(), "{url:?} names no host");
        let prefix = prefix.trim_end_matches('/').to_owned();
        Ok(Self { address: address.to_owned(), prefix, patience: PATIENCE, connection: None })
    }

    /// The same with another bound of how long a read or a write may take.
    pub fn within(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Sends a scenario's request over a new connection and reads the answer.
    pub fn ask(&mut self, request: &Request) -> Result<Answer> {
        let mut target = request.path.clone();
        if !request.query.is_empty() {
            target = format!("{target}?{}", request.query);
        }
        let headers: Vec<_> =
            request.headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
        self.send(&request.method, &target, &headers, &request.body)
    }

    /// Sends a request over a new connection and reads the answer.
    pub fn send(&mut self, method: &str, target: &str, headers: &[(String, Vec<u8>)], body: &[u8]) -> Result<Answer> {
        self.connection = None;
        self.exchange(method, target, headers, body)
    }

    /// Reads from the server, over the connection that is there if it still serves. What is asked may be asked twice.
    pub fn get(&mut self, target: &str) -> Result<Answer> {
        if self.connection.is_some()
            && let Ok(answer) = self.exchange("GET", target, &[], b"")
        {
            return Ok(answer);
        }
        self.send("GET", target, &[], b"")
    }

    fn exchange(&mut self, method: &str, target: &str, headers: &[(String, Vec<u8>)], body: &[u8]) -> Result<Answer> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => BufReader::new(self.connect()?),
        };
        let mut head = format!("{method} {}{target} HTTP/1.1\r\nhost: {}\r\n", self.prefix, self.address).into_bytes();
        for (name, value) in headers {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        }
        if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
            head.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        head.extend_from_slice(body);
        // A server that refuses a large body answers without having read it, and that answer counts.
        let sent = connection.get_mut().write_all(&head);
        match read_answer(&mut connection, method == "HEAD") {
            Ok((answer, lasts)) => {
                self.connection = (lasts && sent.is_ok()).then_some(connection);
                Ok(answer)
            }
            Err(error) => sent.context("sending").and(Err(error)),
        }
    }

    fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect(&self.address).with_context(|| format!("nothing at {}", self.address))?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Reads an answer, and tells whether the connection can be used again.
fn read_answer(connection: &mut BufReader<TcpStream>, head_only: bool) -> Result<(Answer, bool)> {
    let status_line = read_line(connection)?;
    let mut parts = status_line.splitn(3, ' ');
    ensure!(parts.next() == Some("HTTP/1.1"), "no HTTP/1.1: {status_line:?}");
    let status: u16 = parts.next().and_then(|text| text.parse().ok()).context("no status")?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(connection)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').with_context(|| format!("no header: {line:?}"))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut answer = Answer { status, headers, body: Vec::new() };
    if head_only || status == 204 || status == 304 {
        let lasts = answer.header("connection") != Some("close");
        return Ok((answer, lasts));
    }
    if answer.header("transfer-encoding") == Some("chunked") {
        loop {
            let size = read_line(connection)?;
            let size = usize::from_str_radix(size.trim(), 16).with_context(|| format!("no chunk: {size:?}"))?;
            ensure!(answer.body.len() + size <= BODY_BYTES_MAX, "a body of more than {BODY_BYTES_MAX} bytes");
            let begin = answer.body.len();
            answer.body.resize(begin + size, 0);
            connection.read_exact(&mut answer.body[begin..])?;
            ensure!(read_line(connection)?.is_empty(), "a chunk that does not end");
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = answer.header("content-length") {
        let length: usize = length.parse().context("no length")?;
        ensure!(length <= BODY_BYTES_MAX, "a body of more than {BODY_BYTES_MAX} bytes");
        answer.body = vec![0; length];
        connection.read_exact(&mut answer.body).context("the body is cut off")?;
    } else {
        connection.read_to_end(&mut answer.body)?;
        return Ok((answer, false));
    }
    let lasts = answer.header("connection") != Some("close");
    Ok((answer, lasts))
}

fn read_line(connection: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = Vec::new();
    connection.take(LINE_BYTES_MAX).read_until(b'\n', &mut line).context("no answer")?;
    if line.pop() != Some(b'\n') {
        bail!("the connection ended within an answer");
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).context("a head that is no UTF-8")
}
