//! The trace of a run as one number: two runs are the same exactly if their traces are.

use dayfly_core::effect::{Effects, Frame, Route};
use dayfly_core::http::Response;

/// The hash of all calls and what they answered, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    hash: u64,
    /// How many calls.
    pub calls: u64,
    /// How many frames were handed to the broker.
    pub frames: u64,
    /// The bytes of their bodies.
    pub bytes: u64,
}

impl Trace {
    /// The number that stands for the run so far.
    pub fn hash(self) -> u64 {
        self.hash
    }

    /// Takes in a number.
    pub fn number(&mut self, number: u64) {
        let mut bits = (self.hash ^ number).wrapping_mul(0xff51_afd7_ed55_8ccd);
        bits ^= bits >> 32;
        self.hash = bits.wrapping_mul(0xc4ce_b9fe_1a85_ec53).rotate_left(29);
    }

    /// Takes in bytes, and how many there are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.number(u64::from_le_bytes(*word)));
        rest.iter().for_each(|byte| self.number(u64::from(*byte)));
    }

    /// Begins a call of a node.
    pub fn call(&mut self, node: usize, name: &str, now_ms: u64) {
        self.calls += 1;
        self.number(node as u64);
        self.bytes(name.as_bytes());
        self.number(now_ms);
    }

    /// Takes in what a call asked of its host.
    pub fn effects(&mut self, effects: &Effects) {
        effects.frames.iter().for_each(|frame| self.frame(frame));
        self.number(effects.next_tick.map_or(u64::MAX, |at| at.0));
        self.number(
            u64::from(effects.serve_anyone) | u64::from(effects.quiet) << 1 | u64::from(effects.started_anew) << 2,
        );
        self.number(effects.done_with << 1 | u64::from(effects.replay));
    }

    fn frame(&mut self, frame: &Frame) {
        self.frames += 1;
        self.bytes += frame.body.len() as u64;
        self.number(frame.id.0);
        match &frame.route {
            Route::Everyone => self.number(1),
            Route::One(name) => self.bytes(name.as_bytes()),
            Route::Anyone => self.number(2),
            Route::Combiner => self.number(3),
            Route::Log => self.number(4),
        }
        self.number(frame.ttl_ms.map_or(u64::MAX, u64::from));
        self.bytes(&frame.body);
    }

    /// Takes in an answer to a request.
    pub fn response(&mut self, response: &Response) {
        self.number(u64::from(response.status));
        for (name, value) in &response.headers {
            self.bytes(name.as_bytes());
            self.bytes(value.as_bytes());
        }
        self.bytes(&response.body);
        self.number(response.after.map_or(0, |after| after.0));
        self.effects(&response.effects);
    }
}
