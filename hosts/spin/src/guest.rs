//! The part that runs in Spin alone: an HTTP handler around one replica.
//!
//! Spin hands many requests at a time to an instance, each as a task of its own, and drops the instance when none has come
//! for a while. Tasks interleave where they wait and nowhere else, so what is shared is borrowed between two waits and
//! never across one. No task can wake another: who waits for something that another brings about looks again each
//! millisecond.

mod answer;
mod clock;
mod drive;
mod host;
mod life;
mod linger;
mod link;
mod socket;
mod values;
mod writes;

use std::rc::Rc;

use spin_sdk::http::body::IncomingBodyExt;
use spin_sdk::http::{Error, IntoResponse, Request};
use spin_sdk::http_service;
use spin_sdk::wasip3::http::types::Response;

use self::answer::refusal;
use self::host::Host;

mod bindings {
    //! The replica's interfaces, as the component that stands beside this one exports them.
    #![allow(missing_docs, reason = "documented in wit/")]
    spin_sdk::wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package dayfly:spin;
            world host {
                import dayfly:replica/lifecycle@0.1.0;
                import dayfly:replica/inbox@0.1.0;
                import dayfly:replica/outbox@0.1.0;
                import dayfly:replica/api@0.1.0;
                import dayfly:replica/checkpoint@0.1.0;
            }
        ",
        runtime_path: "spin_sdk::wit_bindgen::rt",
        generate_all,
    });
}

/// The longest body that is read; the component refuses it as too long.
const BODY_BYTES_MAX: usize = (2 << 20) + 1;

thread_local! {
    static HOST: Rc<Host> = Rc::default();
}

#[http_service]
async fn handle(request: Request) -> Result<Response, Error> {
    let host = HOST.with(Rc::clone);
    let (head, body) = request.into_parts();
    if head.uri.path() == "/v1/linger" {
        return linger::answer(&host, &head.method, head.uri.query()).await.into_response().map_err(Error::from);
    }
    let mut chunks = body.stream();
    let mut body = Vec::new();
    while let Some(chunk) = futures_util::StreamExt::next(&mut chunks).await {
        match chunk {
            // A body that is too long is passed on as far as it takes for the component to refuse it.
            Ok(chunk) => body.extend_from_slice(&chunk[..chunk.len().min(BODY_BYTES_MAX - body.len())]),
            Err(error) => {
                let text = format!("the body did not come to its end: {error}");
                return refusal(400, "broken_body", &text).into_response().map_err(Error::from);
            }
        }
    }
    let header = |(name, value): (&spin_sdk::http::HeaderName, &spin_sdk::http::HeaderValue)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let request = bindings::dayfly::replica::api::Request {
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers.iter().map(header).collect(),
        body,
    };
    host.answer(&request).await.into_response().map_err(Error::from)
}
