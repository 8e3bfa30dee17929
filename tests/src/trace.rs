//! What happened, on stderr, for whoever looks for the cause of a failure: `DAYFLY_TEST_TRACE=1`, with the name of one
//! test and, best, one seed.

use std::fmt::Write as _;
use std::sync::OnceLock;

use dayfly_core::frame::{Body, Frame, Want};

/// Whether a trace was asked for.
pub fn is_on() -> bool {
    static ON: OnceLock<bool> = OnceLock::new();
    *ON.get_or_init(|| std::env::var_os("DAYFLY_TEST_TRACE").is_some())
}

/// A frame in one line.
pub fn outline(body: &[u8], cluster: &str) -> String {
    let frame = match Frame::decode(body, cluster) {
        Ok(frame) => frame,
        Err(refused) => return format!("{} bytes: {refused:?}", body.len()),
    };
    let mut line = format!("{:?} ", frame.root).chars().take(40).collect::<String>();
    let _ = match frame.body {
        Body::Beat => write!(line, "beat"),
        Body::Wake => write!(line, "wake"),
        Body::Delta(chunk) => write!(line, "delta of {} parts", chunk.parts.len()),
        Body::Ask(ask) => match ask.want {
            Want::All { ranges, .. } => write!(line, "ask {:x} for all of {} ranges", ask.session, ranges.len()),
            Want::Sketched { .. } => write!(line, "ask {:x} with a sketch", ask.session),
            Want::Described { .. } => write!(line, "ask {:x} with a description", ask.session),
        },
        Body::Answer(answer) => write!(
            line,
            "answer {:x}: {} parts, last {}, undecoded {}, outline {}",
            answer.session,
            answer.chunk.parts.len(),
            answer.last,
            answer.undecoded,
            answer.outline.len()
        ),
        Body::Members(records) => write!(line, "{} members", records.len()),
        Body::Share(chunk) => write!(line, "share of {} parts", chunk.parts.len()),
        Body::Combined(records, chunk) => {
            write!(line, "combined, {} members, {} parts", records.len(), chunk.parts.len())
        }
        Body::SnapshotDue => write!(line, "snapshot due"),
        Body::Link(link) => {
            write!(line, "link {}, {:?}, {} parts", link.number, link.claim, link.chunk.parts.len())
        }
    };
    format!("{} bytes, complete {}, {line}", body.len(), frame.complete)
}
