//! How a frame is handed to the broker.

use crate::Names;

/// Where a frame goes, as in the contract (`types.route`), of which each host has its own copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// Everyone's inbox.
    Everyone,
    /// The inbox of the replica of this name.
    One(&'a str),
    /// One of those who serve `anyone`.
    Anyone,
    /// The one who combines.
    Combiner,
    /// The log.
    Log,
}

/// What a message is published with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The exchange; empty: the one that leads to each queue by its name.
    pub exchange: String,
    /// The routing key: the queue's name, or nothing for everyone.
    pub key: String,
    /// Whether the broker returns the message if no queue takes it: the frame is unroutable then.
    pub mandatory: bool,
    /// Whether it is written to disk before it is confirmed (delivery mode 2; otherwise 1).
    pub persistent: bool,
    /// After how many milliseconds in a queue it is dropped.
    pub expiration_ms: u64,
}

impl Publication {
    /// How a frame of this route and time to live is published in a cluster of this retention; none: it is not, since
    /// it is for the log and there is none (`logged`). Such a frame is unroutable.
    pub fn new(route: Route<'_>, ttl_ms: Option<u32>, names: &Names, logged: bool, retention_ms: u64) -> Option<Self> {
        let (exchange, key, mandatory) = match route {
            Route::Everyone => (names.everyone.clone(), String::new(), false),
            Route::One(name) => (String::new(), names.inbox(name), true),
            Route::Anyone => (String::new(), names.anyone.clone(), true),
            Route::Combiner => (String::new(), names.combiner.clone(), true),
            Route::Log if !logged => return None,
            Route::Log => (String::new(), names.log.clone(), true),
        };
        let to_one_queue = matches!(route, Route::One(_) | Route::Anyone);
        let persistent = !(to_one_queue && ttl_ms.is_some());
        // Nothing is worth keeping for longer than a sleeping replica may be away.
        let expiration_ms = ttl_ms.map_or(retention_ms, u64::from).min(retention_ms);
        Some(Self { exchange, key, mandatory, persistent, expiration_ms })
    }

    /// The delivery mode of AMQP.
    pub fn delivery_mode(&self) -> u8 {
        if self.persistent { 2 } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(route: Route<'_>, ttl_ms: Option<u32>, logged: bool) -> Option<Publication> {
        Publication::new(route, ttl_ms, &Names::new("c").expect("it is a name"), logged, 1_000)
    }

    #[test]
    fn each_route_leads_somewhere() {
        let told = |route| {
            let publication = publication(route, None, true).expect("it is published");
            (publication.exchange, publication.key, publication.mandatory)
        };
        let default = String::new;
        assert_eq!(told(Route::Everyone), ("dayfly.c.everyone".to_owned(), String::new(), false));
        assert_eq!(told(Route::One("a")), (default(), "dayfly.c.node.a".to_owned(), true));
        assert_eq!(told(Route::Anyone), (default(), "dayfly.c.anyone".to_owned(), true));
        assert_eq!(told(Route::Combiner), (default(), "dayfly.c.combiner".to_owned(), true));
        assert_eq!(told(Route::Log), (default(), "dayfly.c.log".to_owned(), true));
        assert_eq!(publication(Route::Log, None, false), None);
    }

    #[test]
    fn what_is_soon_worth_nothing_is_not_written_to_disk() {
        let told = |route, ttl_ms| {
            let publication = publication(route, ttl_ms, true).expect("it is published");
            (publication.delivery_mode(), publication.expiration_ms)
        };
        assert_eq!(told(Route::One("a"), Some(5)), (1, 5));
        assert_eq!(told(Route::Anyone, Some(5_000)), (1, 1_000));
        assert_eq!(told(Route::One("a"), None), (2, 1_000));
        assert_eq!(told(Route::Everyone, Some(5)), (2, 5));
        assert_eq!(told(Route::Combiner, Some(5)), (2, 5));
        assert_eq!(told(Route::Log, None), (2, 1_000));
    }
}
