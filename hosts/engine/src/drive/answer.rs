//! Answers to writes that wait for the broker.

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Drive, nothing};
use crate::contract::Response;

/// An answer that waits for its frame.
pub(super) struct Waiting {
    pub(super) answer: oneshot::Sender<Response>,
    pub(super) response: Response,
    pub(super) until: Instant,
}

impl Drive {
    pub(super) fn give_up_waiting(&mut self) {
        let now = Instant::now();
        for list in self.waiting.values_mut() {
            for late in list.extract_if(.., |waiting| waiting.until <= now) {
                let _ = late.answer.send(unconfirmed(&self.attachment.name));
            }
        }
        self.waiting.retain(|_, list| !list.is_empty());
    }

    pub(super) fn answer_all_unconfirmed(&mut self) {
        for waiting in std::mem::take(&mut self.waiting).into_values().flatten() {
            let _ = waiting.answer.send(unconfirmed(&self.attachment.name));
        }
    }
}

/// The answer to a write that the broker did not confirm.
pub(super) fn unconfirmed(replica: &str) -> Response {
    let body = concat!(
        r#"{"error":{"code":"unconfirmed","message":"the broker did not confirm the write; it is applied here "#,
        r#"and will be sent again: do not repeat it unless it may count twice"}}"#
    );
    Response {
        status: 503,
        headers: vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("dayfly-replica".to_owned(), replica.to_owned()),
        ],
        body: body.as_bytes().to_vec(),
        after: None,
        effects: nothing(),
    }
}
