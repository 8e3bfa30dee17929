//! Stops guests that do not return: a thread that moves the engine's epoch on, and the processor time of a thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use wasmtime::Engine;

/// How often the epoch moves on: the precision of a call's deadline.
pub(crate) const TICK: Duration = Duration::from_millis(50);

/// The thread that moves an engine's epoch on, until this is dropped.
pub(crate) struct Ticker {
    over: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Ticker {
    pub(crate) fn start(engine: &Engine) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let thread = {
            let (over, engine) = (Arc::clone(&over), engine.weak());
            thread::Builder::new().name("epoch".to_owned()).spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    thread::sleep(TICK);
                    let Some(engine) = engine.upgrade() else { return };
                    engine.increment_epoch();
                }
            })
        };
        // No thread, no bound on a guest: nothing may run then.
        let thread = thread.expect("the system gives a thread for the epoch");
        Self { over, thread }
    }

    /// Panics if the thread is gone, which only a bug of ours can bring about: without it a guest could run forever.
    pub(crate) fn check(&self) {
        assert!(!self.thread.is_finished(), "the epoch no longer moves");
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// The processor time that the calling thread has had; none where the system does not tell.
pub(crate) fn thread_time() -> Option<Duration> {
    #[cfg(unix)]
    {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a valid place to write one timespec to, and nothing else is touched.
        let status = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
        if status == 0 {
            return Some(Duration::new(time.tv_sec.try_into().ok()?, time.tv_nsec.try_into().ok()?));
        }
    }
    None
}
