//! `dayfly load`: many operations from a file.
//!
//! One thread reads lines ([`reader`]), this one cuts them into batches ([`batch`]) and hands them out, and a thread
//! for each connection sends them ([`sender`]). A ledger knows which lines are done ([`ledger`]), so that a run that
//! ends early can say from where to go on.

mod batch;
mod item;
mod ledger;
mod line;
mod mark;
mod progress;
mod reader;
mod sender;
pub mod signal;
mod stop;
mod summary;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use clap::Args;

use crate::client::Failure;
use crate::client::arguments::{ClusterArgs, seconds};
use crate::client::data::key_name;
use crate::client::refusal::Outcome;
use crate::client::server::{Ask, Server, Silence};
use batch::{Batch, Cutter};
use ledger::Ledger;
use mark::{Mark, Unread};
use progress::Progress;
use reader::Message;
use sender::{Policy, Run, Sender};
use stop::{Flag, Stop};
use summary::{Counts, Summary};

/// How long lines that do not fill a batch wait for more.
const LINGER: Duration = Duration::from_millis(50);

const LOAD_HELP: &str = "\
The file:
  One operation a line, as a JSON object with type, key and operation (at most 1 MiB a line):
    {\"type\":\"gcounter\",\"key\":\"visits\",\"increment\":3}
    {\"type\":\"orset\",\"key\":\"tags\",\"add\":[\"red\",\"green\"]}
    {\"type\":\"lwwregister\",\"key\":\"greeting\",\"set\":\"good day\"}
    {\"type\":\"map\",\"key\":\"user:7\",\"update\":{\"visits\":{\"type\":\"gcounter\",\"increment\":1}}}
    {\"type\":\"orset\",\"key\":\"tags\",\"delete\":true}
  Blank lines and lines that begin with # are passed over, but counted. A bad line is reported with its number and
  reason, and the rest goes on; with --strict the run ends there.

Order:
  With one connection, batches are applied in the order of their lines: each is taken only by a replica that has seen
  those before it. (The token that says so names at most 16 replicas' writes. Over a run in which more of them write, it
  begins anew, after a pause in which what it named arrives.) With --unordered, or more than one connection, batches may
  be taken by replicas that have not seen the earlier ones; that is as good where the order does not matter: counters,
  sets that only grow, maxregisters and minregisters.

When something fails:
  What the cluster refuses for now (busy, nobody awake, not reachable) has changed nothing, and is tried again for
  --retry seconds.
  A batch that one replica has applied, but the broker did not confirm in time, is not sent again, since that replica
  does so. Its lines are told and count as not confirmed; lines after it do not wait for them.
  If the connection breaks, or the replica is lost, after a batch was sent, it may have been applied or not, as a
  whole. If it holds nothing but `set` of lwwregisters, maxregisters and minregisters, `add` to gsets, `remove` from
  orsets and maps, and `delete`, it is sent again: twice is as good as once (only, a later `delete` of the same key may
  miss what the lost replica wrote, if that still arrives). Else the run ends and says which lines are in doubt. With
  --retry-ambiguous they are sent again all the same: counters may then count twice, and what later lines take back may
  stay.
  A run that ends early, also by Ctrl-C, says from which line to go on; all before it are done. (A second Ctrl-C does
  not wait for the answers that are due.)

With --mark KEY:
  Each batch also sets the maxregister KEY to the number of its last line, and is applied with it or not at all. So
  nothing stays in doubt: if no answer comes, the mark is read for --settle seconds, and --retry more while no complete
  replica tells it. If it reaches the batch, that was applied and the run goes on; if it does not, the batch is sent
  again. If it cannot be read, the run ends as above.
  Each run begins by reading it, for --settle seconds as well, and goes on behind it; so after any end, even a crash,
  the same command does the rest, and --from-line is refused. (Lines at which no batch was applied, being bad or blank,
  may be told again.) Take a new KEY for each file, and let nothing else write it: of another file's mark only one
  beyond this file's end is noticed.
  It takes one connection and the order above: batches that overtake each other would lift the mark over lines that are
  not applied.
  What remains is a risk at both ends. A batch that is still under way after --settle seconds (in a slow broker, or in
  a replica that hung, or was frozen before its writes were out) is sent again and counts twice if it still arrives:
  take more seconds where messages take longer. And one that is seen on a replica, while the broker does not have it
  yet, is lost if that replica is killed right then.

Examples:
  dayfly load operations.jsonl
  dayfly load operations.jsonl --from-line 1201
  dayfly load operations.jsonl --mark loaded:operations.jsonl
  zcat big.jsonl.gz | dayfly load - --connections 4 --json

Exit codes:
  0 all lines applied; 1 some were bad, or the run ended because of a refusal or a bad line; 2 wrong usage; 3 not
  reachable; 5 some lines are in doubt or not confirmed yet; 130 interrupted";

/// Apply many operations from a file of JSON lines
#[derive(Debug, Args)]
#[command(after_help = LOAD_HELP)]
pub struct LoadArgs {
    /// The file, or - for standard input
    file: PathBuf,

    /// Begin with this line, counted from 1
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    from_line: u64,

    /// End after this line
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    to_line: Option<u64>,

    /// Operations in a batch at most, 1 to 10,000; it also ends at 56 KiB of JSON, to fit one frame
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u16).range(1..=batch::MOST_OPERATIONS))]
    batch: u16,

    /// Batches under way at once, 1 to 64; with more than one their order is not kept
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    connections: u8,

    /// Do not wait for a replica that has seen the batches before
    #[arg(long)]
    unordered: bool,

    /// End at the first bad line
    #[arg(long)]
    strict: bool,

    /// Send again what may have been applied
    #[arg(long)]
    retry_ambiguous: bool,

    /// How long one batch is tried again, in seconds (0.1 to 3600)
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    retry: Duration,

    /// Keep in the maxregister KEY how far the cluster has come, to go on there and to resolve doubts (see below)
    #[arg(long, value_name = "KEY", value_parser = key_name,
          conflicts_with_all = ["from_line", "unordered", "retry_ambiguous"])]
    mark: Option<String>,

    /// How long what is under way may take to arrive, in seconds (0.1 to 3600): so long the mark is read
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds, requires = "mark")]
    settle: Duration,

    /// Show no progress; bad lines and the summary are told all the same
    #[arg(long, short)]
    quiet: bool,

    /// Print the summary as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// `dayfly load`.
pub fn run(args: &LoadArgs) -> anyhow::Result<ExitCode> {
    if args.to_line.is_some_and(|to_line| to_line < args.from_line) {
        return Err(Failure::Usage("--to-line is before --from-line".to_owned()).into());
    }
    if args.mark.is_some() && args.connections > 1 {
        return Err(
            Failure::Usage("--mark takes one connection: its batches must not overtake each other".to_owned()).into()
        );
    }
    let server = Server::new(&args.cluster)?;
    let (input, bytes) = open(&args.file)?;
    knock(&server)?;
    let mark = args.mark.as_ref().map(|key| Mark::new(key, args.settle, args.retry));
    let marked = mark.as_ref().map_or(Ok(0), |mark| find(mark, &server))?;
    let first_line = args.from_line.max(marked.saturating_add(1));
    let run = Arc::new(Run {
        server,
        policy: Policy {
            strict: args.strict,
            retry_ambiguous: args.retry_ambiguous,
            retry: args.retry,
            ordered: args.connections == 1 && !args.unordered,
        },
        books: Mutex::new((Ledger::starting_at(first_line), Counts::default())),
        mark,
        first_line,
        flag: Flag::default(),
        progress: Progress::begin(args.quiet, bytes),
        batch_bytes: AtomicUsize::new(batch::BATCH_BYTES),
    });
    let (as_json, for_signals) = (args.json, Arc::clone(&run));
    signal::watch(move |count| match count {
        1 => {
            for_signals.flag.raise(Stop::Interrupted);
            for_signals
                .progress
                .say("interrupted: waiting for the answers that are due; Ctrl-C again to give up on them");
        }
        // A panic hook or destructor has nothing to do here: what is under way is in doubt, and is told as such.
        _ => std::process::exit(i32::from(report(&for_signals, Some(Stop::Interrupted), as_json))),
    })?;
    let stop = transfer(args, &run, input)?;
    if let (Some(mark), Some(stop @ Stop::ForeignMark { .. })) = (&run.mark, &stop) {
        run.progress.end();
        return Err(Failure::Usage(format!("--mark {}: {stop}", mark.name())).into());
    }
    Ok(ExitCode::from(report(&run, stop, args.json)))
}

/// Opens the input; tells its size if it is a file.
fn open(file: &Path) -> Result<(Box<dyn Read + Send>, Option<u64>), Failure> {
    if file == Path::new("-") {
        return Ok((Box::new(io::stdin()), None));
    }
    let fail = |error: io::Error| Failure::Usage(format!("cannot read {}: {error}", file.display()));
    let opened = File::open(file).map_err(fail)?;
    let metadata = opened.metadata().map_err(fail)?;
    if metadata.is_dir() {
        return Err(Failure::Usage(format!("cannot read {}: it is a directory", file.display())));
    }
    Ok((Box::new(opened), metadata.is_file().then_some(metadata.len())))
}

/// Asks for the status, so that a wrong URL or replica is told before anything is sent. A cluster that cannot answer
/// yet is given time later.
fn knock(server: &Server) -> Result<(), Failure> {
    let answer = server.ask(Ask { method: "GET", path: "/v1/status", ..Ask::default() });
    match answer.map_err(|silence: Silence| server.failure(silence, false))?.refusal() {
        Some(refusal) if refusal.outcome() == Outcome::Refused => Err(Failure::Refused(refusal)),
        Some(_) | None => Ok(()),
    }
}

/// Where the mark of an earlier run is; at 0 if there is none.
fn find(mark: &Mark, server: &Server) -> Result<u64, Failure> {
    let tell = |problem: &str| eprintln!("dayfly: {problem}");
    match mark.watch(server, &Flag::default(), tell, None, 0, u64::MAX) {
        Ok(0) => Ok(0),
        Ok(line) => {
            eprintln!("dayfly: mark {}: lines up to {line} are done, going on behind it", mark.name());
            Ok(line)
        }
        Err(Unread::Foreign(what)) => Err(Failure::Usage(format!("--mark {}: {what}", mark.name()))),
        Err(Unread::NoAnswer(reason)) => Err(server.failure(Silence::NoAnswer(reason), false)),
        Err(Unread::Interrupted) => unreachable!("nobody raises the flag of a run that has not begun"),
    }
}

/// Loads the lines; tells why it ended early, if it did.
fn transfer(args: &LoadArgs, run: &Run, input: Box<dyn Read + Send>) -> io::Result<Option<Stop>> {
    let (messages, told) = sync_channel(reader::GROUPS_AHEAD);
    let (from, to) = (run.first_line, args.to_line);
    // Not joined: it may be blocked in reading what never comes.
    thread::Builder::new().name("reader".to_owned()).spawn(move || reader::read(input, from, to, &messages))?;
    let connections = usize::from(args.connections);
    let stop = thread::scope(|scope| {
        let (batches, queue) = sync_channel::<Batch>(connections);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..connections {
            let queue = Arc::clone(&queue);
            scope.spawn(move || send_all(run, &queue));
        }
        drop(queue);
        let mut cutter = Cutter::new(usize::from(args.batch));
        let stop = cut_all(args, run, &told, &mut cutter, &batches);
        if let Some(rest) = cutter.flush() {
            // Refused only if the connections have ended, because the flag is raised.
            let _ = batches.send(rest);
        }
        stop
    });
    Ok(run.flag.reason().or(stop))
}

/// Takes lines from the reader and hands out batches, until the end or until the flag is raised. What the cutter still
/// holds then is complete. A reason to end early that leaves the lines before it to be sent is returned.
fn cut_all(
    args: &LoadArgs,
    run: &Run,
    told: &Receiver<Message>,
    cutter: &mut Cutter,
    batches: &SyncSender<Batch>,
) -> Option<Stop> {
    while !run.flag.is_raised() {
        let finished = match told.recv_timeout(LINGER) {
            Ok(Message::Lines(entries)) => {
                for entry in entries {
                    let item = match entry.content {
                        Ok(item) => item,
                        Err(reason) if run.policy.strict => {
                            run.with_books(|_, counts| counts.bad += 1);
                            return Some(Stop::BadLine { line: entry.number, reason });
                        }
                        Err(reason) => {
                            run.bad_line(entry.number, &reason);
                            None
                        }
                    };
                    let most_bytes = run.batch_bytes.load(Ordering::Relaxed);
                    if let Some(batch) = cutter.push(entry.number, entry.bytes, item, most_bytes)
                        && batches.send(batch).is_err()
                    {
                        return None;
                    }
                }
                None
            }
            Ok(Message::Passed(bytes)) => {
                run.with_books(|ledger, _| ledger.bytes += bytes);
                None
            }
            Ok(Message::End(lines)) => {
                // If --to-line is before the mark, the file was not read as far.
                let whole = args.to_line.is_none_or(|to_line| lines < to_line);
                if run.mark.is_some() && whole && lines + 1 < run.first_line {
                    return Some(Stop::ForeignMark { line: run.first_line - 1, lines });
                }
                if run.mark.is_none() && lines + 1 < run.first_line {
                    run.progress.say(&format!("the input has only {lines} lines"));
                }
                return None;
            }
            Ok(Message::Failed(reason)) => return Some(Stop::Input { reason }),
            Err(RecvTimeoutError::Timeout) => cutter.flush(),
            Err(RecvTimeoutError::Disconnected) => {
                return Some(Stop::Input { reason: "the reading thread has ended".to_owned() });
            }
        };
        if let Some(batch) = finished
            && batches.send(batch).is_err()
        {
            return None;
        }
    }
    None
}

/// One connection: sends batches as they come, until there are no more or the flag is raised.
fn send_all(run: &Run, queue: &Mutex<Receiver<Batch>>) {
    let mut sender = Sender::new(run);
    while !run.flag.is_raised() {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match next {
            Ok(batch) => sender.deliver(batch),
            Err(_) => return,
        }
    }
}

/// Prints the summary and, if there is something left, how to go on; gives the exit code.
fn report(run: &Run, stop: Option<Stop>, json: bool) -> u8 {
    run.progress.end();
    let elapsed = run.progress.elapsed();
    let summary =
        run.with_books(|ledger, counts| Summary { counts: counts.clone(), elapsed, rest: ledger.rest(), stop });
    let told = if json { summary.json().to_string() } else { summary.text() };
    // Whoever does not listen is not told; the exit code says the same.
    let _ = writeln!(io::stdout().lock(), "{told}");
    if let Some(stop) = &summary.stop {
        run.progress.say(&format!("the run ended early: {stop}"));
        summary.rest.advice(run.mark.is_some()).iter().for_each(|line| run.progress.say(&format!("  {line}")));
    }
    summary.exit_code()
}
