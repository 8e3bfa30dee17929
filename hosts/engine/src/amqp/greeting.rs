//! What a broker says of itself before anybody has logged in, which lapin reads and does not pass on.

use std::io;

use amq_protocol::frame::{AMQPFrame, ProtocolVersion, WriteContext, gen_frame, parse_frame};
use amq_protocol::protocol::{AMQPClass, connection};
use futures_util::{AsyncReadExt, AsyncWriteExt};
use lapin::tcp::AMQPUriTcpExt;
use lapin::types::{AMQPValue, FieldTable};
use tokio::time::timeout;

use super::pool::Endpoint;
use super::refusal;
use crate::broker::BrokerError;

/// No greeting is longer.
const GREETING_BYTES_MAX: usize = 1 << 16;

/// A broker's product and version.
pub(super) struct Greeting {
    pub(super) product: String,
    pub(super) version: String,
}

pub(super) async fn read(endpoint: &Endpoint) -> Result<Greeting, BrokerError> {
    match timeout(endpoint.limit(), converse(endpoint)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(endpoint.too_slow()),
    }
}

async fn converse(endpoint: &Endpoint) -> Result<Greeting, BrokerError> {
    let on_socket = |error| refusal::of_socket(&error, &endpoint.address, endpoint.is_tls());
    let runtime = lapin::runtime::default_runtime()
        .map_err(|error| BrokerError::Refused(format!("there is no runtime: {}", refusal::plain(&error))))?;
    let tls = endpoint.tls();
    let stream = endpoint.uri().connect_with_config_async(tls.as_ref(), &runtime).await;
    let mut stream = stream.map_err(on_socket)?;
    let header = AMQPFrame::ProtocolHeader(ProtocolVersion::amqp_0_9_1());
    let (hello, _) = gen_frame(&header)(WriteContext::from(Vec::new()))
        .map_err(|error| BrokerError::Refused(format!("the protocol's header cannot be written: {error}")))?
        .into_inner();
    stream.write_all(&hello).await.map_err(on_socket)?;
    stream.flush().await.map_err(on_socket)?;

    let mut heard = Vec::new();
    let mut piece = [0; 4096];
    while heard.len() < GREETING_BYTES_MAX {
        let length = stream.read(&mut piece).await.map_err(on_socket)?;
        if length == 0 {
            return Err(on_socket(io::ErrorKind::UnexpectedEof.into()));
        }
        heard.extend_from_slice(&piece[..length]);
        match parse_frame(heard.as_slice()) {
            Ok((_, AMQPFrame::Method(0, AMQPClass::Connection(connection::AMQPMethod::Start(start))))) => {
                let text = |key: &str| text_of(&start.server_properties, key);
                return Ok(Greeting { product: text("product"), version: text("version") });
            }
            Err(error) if error.is_incomplete() => {}
            Ok(_) | Err(_) => break,
        }
    }
    Err(refusal::no_amqp(&endpoint.address))
}

fn text_of(properties: &FieldTable, key: &str) -> String {
    match properties.inner().get(key) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        _ => "unknown".to_owned(),
    }
}
