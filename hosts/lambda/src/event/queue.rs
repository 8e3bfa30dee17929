//! Events of RabbitMQ's event source: messages by queue, their bodies in base64.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use super::{Messages, Unknown, unknown};

#[derive(Deserialize)]
struct Queues {
    #[serde(rename = "rmqMessagesByQueue")]
    by_queue: BTreeMap<String, Vec<Message>>,
}

#[derive(Deserialize)]
struct Message {
    data: String,
}

/// Reads the bodies. A message that is not in base64 is counted and left out: the event source would send it again and
/// again.
pub(super) fn read(event: Value) -> Result<Messages, Unknown> {
    let queues: Queues = serde_json::from_value(event)
        .map_err(|error| unknown(format!("the messages of a queue are broken: {error}")))?;
    let mut messages = Messages { bodies: Vec::new(), broken: 0 };
    for message in queues.by_queue.into_values().flatten() {
        match STANDARD.decode(message.data) {
            Ok(body) => messages.bodies.push(body),
            Err(_) => messages.broken += 1,
        }
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bodies_are_read_from_all_queues() {
        let event = json!({
            "eventSource": "aws:rmq",
            "eventSourceArn": "arn:aws:mq:us-east-1:111122223333:broker:frames:b-1",
            "rmqMessagesByQueue": {
                "dayfly.c.combiner::/": [
                    {"basicProperties": {"contentType": null, "deliveryMode": 1}, "redelivered": false, "data": "AQI="},
                    {"basicProperties": {}, "redelivered": true, "data": "not base64"}
                ],
                "other::/": [{"data": ""}]
            }
        });
        assert_eq!(read(event), Ok(Messages { bodies: vec![vec![1, 2], vec![]], broken: 1 }));
        let broken = read(json!({"rmqMessagesByQueue": {"q": [{}]}})).expect_err("no data").to_string();
        assert!(broken.contains("missing field `data`"), "{broken}");
    }
}
