//! Counts the elements in a frame. Frames are opaque to hosts, so the component itself counts (`overlay.elements`), in
//! instances that take part in nothing.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use dayfly_engine::contract::Config;
use dayfly_engine::{Instance, Runtime, VirtualClock, VirtualWorld};

/// Counts elements, for the frames of one cluster.
#[derive(Clone)]
pub struct Counter {
    runtime: Runtime,
    config: Config,
    /// Instances that count nothing at the moment: as many as ever counted at once.
    idle: Arc<Mutex<Vec<Instance>>>,
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counter").finish_non_exhaustive()
    }
}

impl Counter {
    /// For replicas with such a configuration.
    pub fn new(runtime: Runtime, config: &Config) -> Self {
        let config = Config { name: Some("counter".to_owned()), bootstrap_ms: 0, ..config.clone() };
        Self { runtime, config, idle: Arc::default() }
    }

    /// How many live entries a frame brings.
    ///
    /// # Errors
    /// There is no room for one more instance, or it did not do as it should.
    pub fn count(&self, body: &[u8]) -> Result<u64, String> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = idle().pop();
        let mut instance = match taken {
            Some(instance) => instance,
            None => self.start()?,
        };
        let elements = instance.elements(body).map_err(|lost| lost.to_string())?;
        idle().push(instance);
        elements.ok_or_else(|| "a frame is none to the component that counts its elements".to_owned())
    }

    fn start(&self) -> Result<Instance, String> {
        let world = VirtualWorld::new(VirtualClock::at_ms(0), 0);
        let mut instance = self.runtime.instantiate(world).map_err(|lost| lost.to_string())?;
        instance.start(&self.config).map_err(|error| error.to_string())?;
        Ok(instance)
    }
}
