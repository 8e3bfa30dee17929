//! `/metrics`: what a process of replicas tells Prometheus.
//!
//! `exposition` knows the text format; `answers` counts requests.

mod answers;
mod exposition;
mod memory;

pub use answers::Answers;
pub use exposition::{Exposition, Type};

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
