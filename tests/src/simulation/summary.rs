//! What a told run says of a frame.

use dayfly_core::chunk::{Chunk, ChunkPart};
use dayfly_core::frame::{Body, Want};

/// A frame in a few words.
pub fn summary(body: &[u8], cluster: &str) -> String {
    let Ok(frame) = dayfly_core::frame::Frame::decode(body, cluster) else { return "a broken frame".to_owned() };
    let chunk = |chunk: &Chunk| {
        let part = |part: &ChunkPart| {
            let live: Vec<u64> = part.entries.iter().map(|entry| entry.seq).collect();
            let seen: Vec<(u64, u64)> = part.context.iter().collect();
            format!("{:.12?} {seen:?} live {live:?}", format!("{:?}", part.writer))
        };
        chunk.parts.iter().map(part).collect::<Vec<_>>().join(", ")
    };
    let what = match &frame.body {
        Body::Beat => "beat".to_owned(),
        Body::Wake => "wake".to_owned(),
        Body::Delta(delta) => format!("delta ({})", chunk(delta)),
        Body::Ask(ask) => {
            let want = match &ask.want {
                Want::All { ranges, .. } => format!("all of {} ranges", ranges.len()),
                Want::Sketched { gaps, .. } => format!("sketched, {} writers with gaps", gaps.writer_count()),
                Want::Described { .. } => "described".to_owned(),
            };
            format!("ask {:x} {want}", ask.session & 0xffff)
        }
        Body::Answer(answer) => {
            let (session, last, undecoded) = (answer.session & 0xffff, answer.last, answer.undecoded);
            format!("answer {session:x} last {last} undecoded {undecoded} ({})", chunk(&answer.chunk))
        }
        Body::Members(members) => format!("{} members", members.len()),
        Body::Share(share) => format!("share ({})", chunk(share)),
        Body::Combined(members, joined) => format!("combined ({}, {} members)", chunk(joined), members.len()),
        Body::SnapshotDue => "snapshot due".to_owned(),
        Body::Link(link) => {
            let parts = link.chunk.parts.iter().map(|(name, context, entries)| {
                let live: Vec<u64> = entries.iter().map(|entry| entry.seq).collect();
                let seen: Vec<(u64, u64)> = context.iter().collect();
                format!("{name:?} {seen:?} live {live:?}")
            });
            let parts: Vec<String> = parts.collect();
            format!("link {} {:?} ({})", link.number, link.claim, parts.join(", "))
        }
    };
    format!("{}'s {what}, root {:.6}, complete {}", frame.sender.name, frame.root.to_string(), frame.complete)
}
