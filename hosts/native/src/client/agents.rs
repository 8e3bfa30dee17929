//! HTTP clients for whatever a URL names, nearby or out in the world.

use std::time::Duration;

use ureq::Agent;
use ureq::tls::{TlsConfig, TlsProvider};

/// A client for each, which take statuses as they come and follow no redirect.
#[derive(Clone, Debug)]
pub struct Agents {
    plain: Agent,
    outside: Agent,
}

impl Agents {
    /// Clients that wait so long for a whole answer, and so long for a connection.
    pub fn patient(whole: Duration, connect: Duration) -> Self {
        let config = || {
            Agent::config_builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .user_agent(concat!("dayfly/", env!("CARGO_PKG_VERSION")))
                .tls_config(TlsConfig::builder().provider(TlsProvider::Rustls).build())
                .timeout_global(Some(whole))
                .timeout_connect(Some(connect))
                .timeout_resolve(Some(connect))
                // A connection that is met just when the other side closes it leaves a doubt.
                .max_idle_connections(0)
        };
        // What the environment says of proxies is meant for the world, not for what runs nearby.
        Self { plain: config().proxy(None).build().new_agent(), outside: config().build().new_agent() }
    }

    /// The one for this URL.
    pub fn of(&self, url: &str) -> &Agent {
        if url.starts_with("https") { &self.outside } else { &self.plain }
    }
}
