//! Sends batches over one connection and decides what each answer means for them.
//!
//! The rule on sending again: a request that has changed nothing is repeated freely; one that may have been applied is
//! repeated only if that cannot show (see [`Item::repeatable`](super::item::Item::repeatable)) or if the user said so;
//! one that is applied and not confirmed yet is never repeated, because its replica does that. With a mark
//! ([`mark`](super::mark)) there is no doubt that lasts: it tells whether the batch was applied.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::batch::Batch;
use super::ledger::{Ledger, Range};
use super::mark::{Mark, Unread};
use super::progress::Progress;
use super::stop::{Flag, Stop};
use super::summary::Counts;
use crate::client::backoff::Backoff;
use crate::client::refusal::{Outcome, Refusal};
use crate::client::server::{Answer, Ask, Server, Silence};

/// The smallest that batches become by being too large, in bytes of JSON.
const SMALLEST_BATCH_BYTES: usize = 1024;

/// How long it may take until it is told that a batch waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long to wait for what the token of order does not name (because it is full, or because the answer that told it
/// was lost), so that it has arrived everywhere.
const SPREAD: Duration = Duration::from_millis(250);

/// What all connections of a run share.
pub struct Run {
    /// The cluster.
    pub server: Server,
    /// What to do about bad lines and about doubt.
    pub policy: Policy,
    /// What tells how far the cluster has come, if it is used.
    pub mark: Option<Mark>,
    /// The line that the run begins with.
    pub first_line: u64,
    /// Which lines are done, and the counts.
    pub books: Mutex<(Ledger, Counts)>,
    /// Raised when the run shall end early.
    pub flag: Flag,
    /// What people see.
    pub progress: Progress,
    /// How large batches are made now, in bytes of JSON.
    pub batch_bytes: AtomicUsize,
}

/// What the user wants.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// A bad line ends the run.
    pub strict: bool,
    /// What may have been applied is sent again.
    pub retry_ambiguous: bool,
    /// For how long a batch is tried again.
    pub retry: Duration,
    /// A batch waits for a replica that has seen those before it.
    pub ordered: bool,
}

impl Run {
    /// The ledger and the counts, for the time of the call.
    pub fn with_books<T>(&self, act: impl FnOnce(&mut Ledger, &mut Counts) -> T) -> T {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let (ledger, counts) = &mut *books;
        act(ledger, counts)
    }

    /// Reports a bad line. Its range is entered by whoever holds the batch.
    pub fn bad_line(&self, line: u64, reason: &str) {
        self.with_books(|_, counts| counts.bad += 1);
        self.progress.say(&format!("line {line}: {reason}"));
    }
}

/// One connection.
pub struct Sender<'a> {
    run: &'a Run,
    /// The dots of the batches before, if they are to be waited for.
    token: Option<String>,
    /// Where the mark is at least.
    marked: u64,
}

/// What an answer, or none, means for the batch.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Applied {
        token: Option<String>,
    },
    Unconfirmed(Refusal),
    NotNow {
        reason: String,
        retry_after: Option<Duration>,
        reached: bool,
    },
    Doubt(String),
    /// It does not fit, or it is refused without saying for which operation's sake.
    Halve {
        reason: String,
        too_large: bool,
    },
    BadOperation {
        index: usize,
        reason: String,
    },
    TokenRefused,
    /// Refused for a reason that is no operation's.
    Halt(String),
}

/// What is next after a batch was sent.
enum Next {
    Done,
    /// These take its place.
    Instead(Vec<Batch>),
    /// This first, if there is something; then the run ends.
    End(Option<Batch>, Stop),
    /// The run has been ended by others.
    Ended,
}

impl<'a> Sender<'a> {
    /// A connection that has not been used yet.
    pub fn new(run: &'a Run) -> Self {
        Self { run, token: None, marked: run.first_line - 1 }
    }

    /// Sends a batch, in parts if need be. If the run has to end, the flag is raised; what is not done by then is not
    /// entered as done.
    pub fn deliver(&mut self, batch: Batch) {
        let mut parts = VecDeque::from([batch]);
        let mut end = None;
        while let Some(part) = parts.pop_front() {
            match self.send(part) {
                Next::Done => {}
                Next::Instead(batches) => batches.into_iter().rev().for_each(|batch| parts.push_front(batch)),
                Next::End(last, stop) => {
                    parts = last.into_iter().collect();
                    end = Some(stop);
                }
                Next::Ended => return,
            }
        }
        if let Some(stop) = end {
            self.run.flag.raise(stop);
        }
    }

    /// Sends one batch until there is a verdict that does not ask for the same once more.
    fn send(&mut self, mut batch: Batch) -> Next {
        let run = self.run;
        let range = Range { first: batch.first, last: batch.last };
        let begun = Instant::now();
        let mut backoff = Backoff::until(begun + run.policy.retry);
        let mut told = false;
        let mut joins = true;
        loop {
            if run.flag.is_raised() {
                return self.leave(&batch);
            }
            if batch.items.is_empty() {
                self.finish(&batch, 0, 0);
                return Next::Done;
            }
            run.with_books(|ledger, _| ledger.sent(range));
            let verdict = judge(self.ask(&batch, joins), batch.items.len(), run.mark.is_some());
            if !matches!(verdict, Verdict::Doubt(_)) && !batch.doubtful {
                run.with_books(|ledger, _| ledger.answered(range));
            }
            let (reason, retry_after, reached) = match verdict {
                Verdict::Applied { token } => {
                    self.token = token.or(self.token.take()).filter(|_| run.policy.ordered);
                    self.marked = batch.last;
                    self.finish(&batch, batch.items.len(), 0);
                    return Next::Done;
                }
                Verdict::Unconfirmed(refusal) => {
                    let reason = refusal.reason();
                    run.progress.say(&format!(
                        "{range}: applied on one replica, which will send them again; not confirmed yet: {reason}"
                    ));
                    self.finish(&batch, batch.items.len(), batch.items.len());
                    return Next::Done;
                }
                Verdict::Halve { too_large, .. } if batch.items.len() > 1 => {
                    if too_large {
                        self.shrink(&batch);
                    }
                    let middle = batch.items.len() / 2;
                    return Next::Instead(self.split(batch, middle).into());
                }
                Verdict::Halve { reason, .. } => match self.bad(batch, 0, reason) {
                    Ok(rest) => {
                        batch = rest;
                        continue;
                    }
                    Err(next) => return next,
                },
                Verdict::BadOperation { index, reason } => match self.bad(batch, index, reason) {
                    Ok(rest) => {
                        batch = rest;
                        continue;
                    }
                    Err(next) => return next,
                },
                Verdict::Halt(reason) => return self.give_up(&batch, reason, true),
                // The token is full, or (as may be after a restart) not understood. The batch itself can still wait
                // for what the full one names; those after it wait for this batch, and time does the rest.
                Verdict::TokenRefused if self.token.is_none() => {
                    return self.give_up(&batch, "a token was refused, though none was sent".to_owned(), true);
                }
                Verdict::TokenRefused => {
                    if !joins {
                        self.token = None;
                    }
                    joins = false;
                    run.flag.pause(SPREAD);
                    continue;
                }
                Verdict::NotNow { reason, retry_after, reached } => (reason, retry_after, reached),
                Verdict::Doubt(mut reason) => {
                    batch.doubtful = true;
                    if let Some(mark) = &run.mark {
                        let asked = Instant::now();
                        if let Some(next) = self.resolve(mark, &batch, &reason) {
                            return next;
                        }
                        batch.doubtful = false;
                        run.with_books(|ledger, counts| {
                            ledger.answered(range);
                            counts.doubts_lost += 1;
                        });
                        backoff.postpone(asked.elapsed());
                        reason.push_str("; not applied, as the mark tells");
                    } else if !run.policy.retry_ambiguous && !batch.repeatable() {
                        return self.give_up(&batch, reason, true);
                    }
                    (reason, None, true)
                }
            };
            let Some(pause) = backoff.pause(Instant::now(), retry_after) else {
                return self.give_up(&batch, reason, reached);
            };
            if !told && begun.elapsed() >= PATIENCE {
                told = true;
                run.progress.say(&format!("{range} wait: {reason}"));
            }
            run.with_books(|_, counts| counts.retries += 1);
            if run.flag.pause(pause) {
                return self.leave(&batch);
            }
        }
    }

    fn ask(&self, batch: &Batch, joins: bool) -> Result<Answer, Silence> {
        let token = self.token.as_deref();
        let context = token.filter(|_| joins);
        let mark = self.run.mark.as_ref().map(|mark| mark.operation(batch.last));
        let body = batch.body(mark.as_deref());
        self.run.server.ask(Ask {
            method: "POST",
            path: "/v1/batch",
            body: Some(&body),
            context,
            after: token,
            ..Ask::default()
        })
    }

    /// Asks the mark about a batch in doubt. Tells what is next, unless the batch was not applied.
    fn resolve(&mut self, mark: &Mark, batch: &Batch, reason: &str) -> Option<Next> {
        let Run { server, flag, progress, .. } = self.run;
        let tell = |problem: &str| progress.say(problem);
        let problem = match mark.watch(server, flag, tell, self.token.as_deref(), self.marked, batch.last) {
            Ok(line) if line < batch.last => return None,
            Ok(line) if line == batch.last => {
                self.marked = line;
                self.run.with_books(|_, counts| counts.doubts_applied += 1);
                self.finish(batch, batch.items.len(), 0);
                flag.pause(SPREAD);
                return Some(Next::Done);
            }
            Ok(line) => format!("it is at line {line}, which was not sent yet: something else sets it"),
            Err(Unread::Interrupted) => return Some(self.leave(batch)),
            Err(Unread::NoAnswer(problem) | Unread::Foreign(problem)) => problem,
        };
        Some(self.give_up(batch, format!("{reason}; and the mark does not help: {problem}"), true))
    }

    /// Enters a batch as done.
    fn finish(&self, batch: &Batch, applied: usize, unconfirmed: usize) {
        let range = Range { first: batch.first, last: batch.last };
        let (bytes, counts) = self.run.with_books(|ledger, counts| {
            ledger.answered(range);
            ledger.done(range, batch.bytes);
            counts.lines += range.last - range.first + 1;
            counts.applied += applied as u64;
            counts.unconfirmed += unconfirmed as u64;
            counts.batches += u64::from(applied > 0);
            (ledger.bytes, counts.clone())
        });
        self.run.progress.update(bytes, &counts);
    }

    /// Reports the operation of this index. Gives the batch without it, or what to do instead with `--strict`: send
    /// what stands before it, and end there.
    fn bad(&self, mut batch: Batch, index: usize, reason: String) -> Result<Batch, Next> {
        let line = batch.items[index].line;
        if !self.run.policy.strict {
            self.run.bad_line(line, &reason);
            batch.items.remove(index);
            return Ok(batch);
        }
        let before = if index > 0 {
            let [before, _] = self.split(batch, index);
            Some(before)
        } else {
            // Lines without operation.
            let last = line - 1;
            (last >= batch.first).then(|| Batch { last, bytes: 0, items: Vec::new(), ..batch })
        };
        self.run.with_books(|_, counts| counts.bad += 1);
        Err(Next::End(before, Stop::BadLine { line, reason }))
    }

    /// Splits a batch. If it is in doubt, so are the parts, also in the ledger.
    fn split(&self, batch: Batch, index: usize) -> [Batch; 2] {
        let whole = Range { first: batch.first, last: batch.last };
        let (front, back) = batch.split(index);
        if front.doubtful {
            self.run.with_books(|ledger, _| {
                ledger.answered(whole);
                for part in [&front, &back] {
                    ledger.sent(Range { first: part.first, last: part.last });
                }
            });
        }
        [front, back]
    }

    /// Makes later batches half as large as this one, which is too large.
    fn shrink(&self, batch: &Batch) {
        let half = batch.items.iter().map(|item| item.json.len() + 1).sum::<usize>() / 2;
        self.run.batch_bytes.fetch_min(half.max(SMALLEST_BATCH_BYTES), Ordering::Relaxed);
    }

    /// Ends the run because of this batch.
    fn give_up(&self, batch: &Batch, reason: String, reached: bool) -> Next {
        let range = Range { first: batch.first, last: batch.last };
        let stop = match (batch.doubtful, reached) {
            (true, _) => Stop::InDoubt { range, reason },
            (false, true) => Stop::Refused { range, reason },
            (false, false) => Stop::Unreachable { reason },
        };
        self.leave(batch);
        Next::End(None, stop)
    }

    /// Leaves a batch that is not done.
    fn leave(&self, batch: &Batch) -> Next {
        let range = Range { first: batch.first, last: batch.last };
        if batch.doubtful {
            self.run.with_books(|ledger, _| {
                ledger.answered(range);
                ledger.doubt(range);
            });
        }
        Next::Ended
    }
}

/// What an answer to a batch of so many operations, and perhaps a mark behind them, means, or that there is none.
fn judge(result: Result<Answer, Silence>, operations: usize, marked: bool) -> Verdict {
    let answer = match result {
        Ok(answer) => answer,
        Err(Silence::NotSent(reason)) => return Verdict::NotNow { reason, retry_after: None, reached: false },
        Err(Silence::NoAnswer(reason)) => return Verdict::Doubt(reason),
    };
    let Some(refusal) = answer.refusal() else { return Verdict::Applied { token: answer.context } };
    let reason = refusal.reason();
    match refusal.outcome() {
        Outcome::Applied => Verdict::Unconfirmed(refusal),
        Outcome::Unknown => Verdict::Doubt(reason),
        Outcome::NotNow => {
            // `not_yet` is about this replica; another one may be asked at once.
            let retry_after = answer.retry_after.filter(|_| refusal.code.as_deref() != Some("not_yet"));
            Verdict::NotNow { reason, retry_after, reached: true }
        }
        Outcome::Refused => match (refusal.status, refusal.code.as_deref(), refusal.operation()) {
            (413, Some("batch_too_large" | "body_too_large"), _) => Verdict::Halve { reason, too_large: true },
            (400, Some("bad_context"), _) => Verdict::TokenRefused,
            (400 | 409 | 413 | 422, Some(_), Some(index)) if index < operations => {
                Verdict::BadOperation { index, reason }
            }
            (400 | 409 | 413 | 422, Some(_), Some(index)) if marked && index == operations => {
                Verdict::Halt(format!("the mark is refused: {reason}"))
            }
            (400 | 409 | 413 | 422, Some(_), _) => Verdict::Halve { reason, too_large: false },
            _ => Verdict::Halt(refusal.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, code: &str, message: &str) -> Verdict {
        let body = serde_json::json!({"error": {"code": code, "message": message}}).to_string();
        let retry_after = Some(Duration::from_secs(1));
        let answer = Answer { status, body: Ok(body), context: None, replica: None, incomplete: false, retry_after };
        judge(Ok(answer), 3, false)
    }

    #[test]
    fn answers_are_told_apart() {
        let reason = |message: &str, code: &str| format!("{message} ({code})");
        assert_eq!(
            judged(422, "bad_value", "operation 2: no"),
            Verdict::BadOperation { index: 2, reason: reason("no", "bad_value") }
        );
        assert_eq!(
            judged(422, "bad_value", "operation 3: no"),
            Verdict::Halve { reason: reason("no", "bad_value"), too_large: false },
            "an operation that was not sent"
        );
        assert_eq!(
            judged(400, "bad_json", "too deep"),
            Verdict::Halve { reason: reason("too deep", "bad_json"), too_large: false }
        );
        assert_eq!(
            judged(413, "batch_too_large", "operation 1: no"),
            Verdict::Halve { reason: reason("no", "batch_too_large"), too_large: true }
        );
        assert_eq!(judged(400, "bad_context", "full"), Verdict::TokenRefused);
        assert!(matches!(judged(404, "no_such_path", "x"), Verdict::Halt(_)));
        assert!(matches!(judged(507, "store_full", "operation 0: x"), Verdict::Halt(_)));
        assert!(matches!(judged(503, "unconfirmed", "x"), Verdict::Unconfirmed(_)));
        assert!(matches!(judged(500, "internal", "x"), Verdict::Doubt(_)));
    }

    #[test]
    fn a_busy_cluster_is_given_time_and_a_replica_that_lags_is_passed_over() {
        let second = Some(Duration::from_secs(1));
        let not_now =
            |reason: &str, retry_after| Verdict::NotNow { reason: reason.to_owned(), retry_after, reached: true };
        assert_eq!(judged(503, "busy", "x"), not_now("x (busy)", second));
        assert_eq!(judged(503, "not_yet", "x"), not_now("x (not_yet)", None));
    }

    #[test]
    fn an_answer_that_says_ok_and_breaks_off_says_ok() {
        let answer = Answer {
            status: 200,
            body: Err("broke".to_owned()),
            context: Some("T".to_owned()),
            replica: None,
            incomplete: false,
            retry_after: None,
        };
        assert_eq!(judge(Ok(answer.clone()), 1, false), Verdict::Applied { token: Some("T".to_owned()) });
        assert!(matches!(judge(Ok(Answer { status: 503, ..answer }), 1, false), Verdict::Doubt(_)));
    }
}
