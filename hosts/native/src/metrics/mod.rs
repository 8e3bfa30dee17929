//! `/metrics`: what a process of replicas tells Prometheus.
//!
//! `exposition` knows the text format; `observed` knows what is told of replicas; `answers` counts requests. What the
//! component knows comes from its `GET /v1/status`, what the host knows from the replica's report and traffic.

mod answers;
mod exposition;
mod memory;
mod observed;

use dayfly_engine::contract::Request;

pub use answers::Answers;
pub use exposition::{Exposition, Type};
pub use observed::{Observed, Status};

/// Writes what every process tells: answers to requests, and its memory.
pub fn write_process(page: &mut Exposition, answers: &Answers) {
    page.family("dayfly_requests_total", Type::Counter, "Requests that were answered, by the class of their status.");
    for (class, count) in answers.by_class() {
        page.sample("dayfly_requests_total", &[("status", class)], count as f64);
    }
    if let Some(bytes) = memory::resident_bytes() {
        let name = "dayfly_process_resident_memory_bytes";
        page.family(name, Type::Gauge, "Memory of the process that is resident, all replicas in it together.");
        page.sample(name, &[], bytes as f64);
    }
}

/// A reading request of those who watch.
pub fn peeking(path: &str, query: &str) -> Request {
    Request {
        method: "GET".to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    }
}

/// Writes what is told of replicas.
pub fn write_replicas(page: &mut Exposition, replicas: &[Observed]) {
    observed::write(page, replicas);
}
