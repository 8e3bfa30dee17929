//! Threads on which replicas have their turns. Which thread has which replica changes nothing: replicas share nothing.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::moment::Moment;
use super::node::{Counter, Node};

/// Below so many replicas the work is done before another thread has woken up.
const ALONE_BELOW: usize = 6;
/// Into how many parts the work is cut for each thread: some replicas have more to do than others.
const PARTS_PER_THREAD: usize = 6;

/// Replicas on their way to a thread and back.
type Nodes = Vec<Box<Node>>;

/// What came of a part: the replicas, or a panic's message.
type Outcome = Result<Nodes, Box<dyn Any + Send>>;

#[derive(Default)]
struct Jobs {
    queue: VecDeque<(Nodes, Moment)>,
    is_closed: bool,
}

#[derive(Default)]
struct Shared {
    jobs: Mutex<Jobs>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        // Nothing panics while it is held.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Some threads, the caller's own among them.
pub struct Pool {
    shared: Arc<Shared>,
    threads: usize,
    counter: Counter,
    outcomes: Receiver<Outcome>,
}

impl Pool {
    /// So many threads, at least one.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn new(threads: usize, counter: Counter) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (sender, outcomes) = channel();
        for number in 1..threads {
            let (shared, counter, sender) = (Arc::clone(&shared), counter.clone(), sender.clone());
            thread::Builder::new()
                .name(format!("replicas-{number}"))
                .spawn(move || work(&shared, &counter, &sender))?;
        }
        Ok(Self { shared, threads: threads.max(1), counter, outcomes })
    }

    /// Has these replicas do all that comes before that time. They come back in any order.
    pub fn run(&self, mut nodes: Nodes, end: Moment) -> Nodes {
        if self.threads == 1 || nodes.len() < ALONE_BELOW {
            nodes.iter_mut().for_each(|node| node.run_until(end, &self.counter));
            return nodes;
        }
        let part = nodes.len().div_ceil(self.threads * PARTS_PER_THREAD);
        let mut parts = 0;
        {
            let mut jobs = self.shared.lock();
            while !nodes.is_empty() {
                let rest = nodes.split_off(nodes.len().saturating_sub(part));
                jobs.queue.push_back((rest, end));
                parts += 1;
            }
        }
        self.shared.changed.notify_all();
        let mut back = Vec::new();
        loop {
            let job = self.shared.lock().queue.pop_front();
            let Some((mut nodes, end)) = job else { break };
            nodes.iter_mut().for_each(|node| node.run_until(end, &self.counter));
            back.append(&mut nodes);
            parts -= 1;
        }
        for _ in 0..parts {
            match self.outcomes.recv() {
                Ok(Ok(mut nodes)) => back.append(&mut nodes),
                Ok(Err(panic)) => resume_unwind(panic),
                Err(_) => unreachable!("a thread that took a part sends what came of it"),
            }
        }
        back
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().is_closed = true;
        self.shared.changed.notify_all();
    }
}

fn work(shared: &Shared, counter: &Counter, outcomes: &Sender<Outcome>) {
    loop {
        let (mut nodes, end) = {
            let mut jobs = shared.lock();
            loop {
                if jobs.is_closed {
                    return;
                }
                match jobs.queue.pop_front() {
                    Some(job) => break job,
                    None => jobs = shared.changed.wait(jobs).unwrap_or_else(PoisonError::into_inner),
                }
            }
        };
        let outcome = catch_unwind(AssertUnwindSafe(move || {
            nodes.iter_mut().for_each(|node| node.run_until(end, counter));
            nodes
        }));
        if outcomes.send(outcome).is_err() {
            return;
        }
    }
}
