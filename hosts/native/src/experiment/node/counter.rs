//! Counts the elements in a frame. Frames are opaque to hosts, so the component itself counts: an instance that knows
//! nothing takes the frame in, and then tells how many entries it has.

use dayfly_engine::contract::Config;
use dayfly_engine::{Runtime, VirtualClock, VirtualWorld};
use serde::Deserialize;

use super::get;
use crate::experiment::moment::Moment;

/// Counts elements, for the frames of one cluster.
#[derive(Clone, Debug)]
pub struct Counter {
    runtime: Runtime,
    config: Config,
}

#[derive(Deserialize)]
struct Status {
    entries: u64,
}

impl Counter {
    /// For replicas with such a configuration.
    pub fn new(runtime: Runtime, config: &Config) -> Self {
        // It has asked nobody for anything, so it takes in whatever comes.
        let config = Config { name: Some("counter".to_owned()), bootstrap_ms: 0, ..config.clone() };
        Self { runtime, config }
    }

    /// How many live entries a frame brings.
    ///
    /// # Errors
    /// There is no room for one more instance, or it did not do as it should.
    pub fn count(&self, body: &[u8], now: Moment) -> Result<u64, String> {
        let world = VirtualWorld::new(VirtualClock::at_ms(now.wall_ms()), 0);
        let mut instance = self.runtime.instantiate(world).map_err(|lost| lost.to_string())?;
        instance.start(&self.config).map_err(|error| error.to_string())?;
        instance.receive(&[body]).map_err(|lost| lost.to_string())?;
        let answer = instance.invoke(&get("/v1/status")).map_err(|lost| lost.to_string())?;
        let status: Status = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
        Ok(status.entries)
    }
}
