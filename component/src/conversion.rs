//! From the types that `wit-bindgen` makes of `wit/` to those of the core, and back: field by field, buffers moved.
//! Structs are taken apart in full, so a field that is added on one side alone breaks the build.

use dayfly_core::{config, effect, http, replica};

use crate::bindings::exports::dayfly::replica::{api, checkpoint, lifecycle, outbox, types};

impl From<lifecycle::Config> for config::Config {
    fn from(config: lifecycle::Config) -> Self {
        let lifecycle::Config {
            cluster,
            name,
            host,
            region,
            zone,
            component_hash,
            frame_bytes,
            retention_ms,
            skew_ms,
            burst_ms,
            repair_bytes,
            bootstrap_ms,
            store_bytes,
            combine_above,
            combine_ms,
            log_bytes,
        } = config;
        Self {
            cluster,
            name,
            host,
            region,
            zone,
            component_hash,
            frame_bytes,
            retention_ms,
            skew_ms,
            burst_ms,
            repair_bytes,
            bootstrap_ms,
            store_bytes,
            combine_above,
            combine_ms,
            log_bytes,
        }
    }
}

impl From<outbox::Receipt> for effect::Receipt {
    fn from(receipt: outbox::Receipt) -> Self {
        let outbox::Receipt { id, verdict } = receipt;
        let verdict = match verdict {
            outbox::Verdict::Confirmed => effect::Verdict::Confirmed,
            outbox::Verdict::Unroutable => effect::Verdict::Unroutable,
            outbox::Verdict::Failed => effect::Verdict::Failed,
        };
        Self { id: effect::FrameId(id), verdict }
    }
}

impl From<api::Request> for http::Request {
    fn from(request: api::Request) -> Self {
        let api::Request { method, path, query, headers, body } = request;
        Self { method, path, query, headers, body }
    }
}

impl From<http::Response> for api::Response {
    fn from(response: http::Response) -> Self {
        let http::Response { status, headers, body, after, effects } = response;
        Self { status, headers, body, after: after.map(|id| id.0), effects: effects.into() }
    }
}

impl From<effect::Effects> for types::Effects {
    fn from(effects: effect::Effects) -> Self {
        let effect::Effects { frames, next_tick, serve_anyone, quiet, started_anew, replay, done_with } = effects;
        Self {
            frames: frames.into_iter().map(types::Frame::from).collect(),
            next_tick: next_tick.map(|at| at.0),
            serve_anyone,
            quiet,
            started_anew,
            replay,
            done_with,
        }
    }
}

impl From<effect::Frame> for types::Frame {
    fn from(frame: effect::Frame) -> Self {
        let effect::Frame { id, route, body, ttl_ms } = frame;
        let route = match route {
            effect::Route::Everyone => types::Route::Everyone,
            effect::Route::One(name) => types::Route::One(name),
            effect::Route::Anyone => types::Route::Anyone,
            effect::Route::Combiner => types::Route::Combiner,
            effect::Route::Log => types::Route::Log,
        };
        Self { id: id.0, route, body, ttl_ms }
    }
}

impl From<replica::Saved> for checkpoint::Saved {
    fn from(saved: replica::Saved) -> Self {
        let replica::Saved { version, parts } = saved;
        let parts = parts.into_iter().map(|replica::Part { key, chunk }| checkpoint::Part { key, chunk }).collect();
        Self { version, parts }
    }
}
