//! `load --mark`: doubts that are resolved, and runs that go on by themselves.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::{Cluster, Fault};
use crate::program::{Ran, TemporaryFile, end, program, run, run_with_input, signal};

/// So many increments of one counter by 1, a line each.
fn increments(count: usize) -> String {
    "{\"type\":\"gcounter\",\"key\":\"n\",\"increment\":1}\n".repeat(count)
}

/// Loads these lines, ten a batch, with the mark `m` and a short settling time.
fn load(cluster: &Cluster, lines: &str, more: &[&str]) -> Ran {
    let args = ["load", "-", "--batch", "10", "--mark", "m", "--settle", "0.3", "--json"];
    run_with_input(&cluster.url(), &[&args[..], more].concat(), lines)
}

/// The value of the counter, and where the mark is.
fn state(cluster: &Cluster) -> (Option<Value>, Option<Value>) {
    (cluster.value("gcounter", "n"), cluster.value("maxregister", "m"))
}

/// What [`state`] gives then.
fn at(counter: u64, mark: u64) -> (Option<Value>, Option<Value>) {
    (Some(json!(counter)), Some(json!(mark)))
}

/// Asserts how many doubts the summary counts.
#[track_caller]
fn doubts(ran: &Ran, applied: u64, lost: u64) {
    let summary = ran.json();
    assert_eq!((&summary["doubts_applied"], &summary["doubts_lost"]), (&json!(applied), &json!(lost)), "{ran:?}");
}

#[test]
fn each_batch_sets_the_mark_together_with_its_operations() {
    let cluster = Cluster::start();
    let ran = load(&cluster, &format!("{}# the end\n", increments(25)), &[]);
    ran.failed(0, &[]);
    doubts(&ran, 0, 0);
    let batches: Vec<Vec<Value>> =
        cluster.batches().iter().map(|seen| serde_json::from_str(&seen.body).expect("JSON")).collect();
    let marks: Vec<_> = batches.iter().map(|operations| operations.last().expect("some")["set"].clone()).collect();
    assert_eq!(marks, [10, 20, 26]);
    assert!(batches[..2].iter().all(|operations| operations.len() == 11));
    assert_eq!(state(&cluster), at(25, 26));
}

#[test]
fn a_batch_in_doubt_that_was_applied_is_not_sent_again() {
    for fault in [Fault::Lost, Fault::BreakAfter, Fault::LostLate(150)] {
        let cluster = Cluster::start();
        cluster.fail([Fault::None, fault]);
        let ran = load(&cluster, &increments(30), &[]);
        ran.failed(0, &[]);
        doubts(&ran, 1, 0);
        assert_eq!(state(&cluster), at(30, 30), "{fault:?}");
        assert_eq!(cluster.batches().len(), 3, "{fault:?}");
        // It was asked of replicas that have seen what was confirmed before.
        let reads = cluster.reads();
        let last = reads.last().expect("it was read");
        assert_eq!((last.line.as_str(), last.header("dayfly-after")), ("GET /v1/data/maxregister/m", Some("w1")));
    }
}

#[test]
fn a_batch_in_doubt_that_was_lost_is_sent_again_once_the_settling_time_is_over() {
    for fault in [Fault::LostBefore, Fault::BreakBefore] {
        let cluster = Cluster::start();
        // The first batch of all, and the same one twice.
        cluster.fail([fault, Fault::None, fault, fault]);
        let begun = Instant::now();
        let ran = load(&cluster, &increments(30), &[]);
        ran.failed(0, &[]);
        doubts(&ran, 0, 3);
        assert_eq!(state(&cluster), at(30, 30), "{fault:?}");
        assert_eq!(cluster.batches().len(), 6, "{fault:?}");
        // Once at the begin, and for each doubt.
        assert!(begun.elapsed() >= Duration::from_millis(4 * 300), "{fault:?}: {:?}", begun.elapsed());
        assert_eq!(ran.json()["in_doubt"], json!([]));
    }
}

#[test]
fn settling_does_not_use_up_the_time_of_trying_again() {
    let cluster = Cluster::start();
    cluster.fail([Fault::LostBefore; 3]);
    load(&cluster, &increments(10), &["--retry", "0.5"]).failed(0, &[]);
    assert_eq!(state(&cluster), at(10, 10));
    cluster.fail([Fault::LostBefore; 100]);
    let ran = load(&cluster, &increments(20), &["--retry", "0.5"]);
    ran.failed(1, &["lines 11 to 20 refused", "not applied, as the mark tells", "go on with the same --mark"]);
    assert_eq!(state(&cluster), at(10, 10));
}

/// Loads 30 increments; acts when the second batch has come, before it is answered.
fn load_and_act(cluster: &Cluster, more: &[&str], act: impl FnOnce()) -> Ran {
    cluster.inside().delay = Duration::from_millis(200);
    std::thread::scope(|scope| {
        let running = scope.spawn(|| load(cluster, &increments(30), more));
        while cluster.batches().len() < 2 {
            assert!(!running.is_finished(), "it ended before the second batch");
            std::thread::sleep(Duration::from_millis(1));
        }
        act();
        running.join().expect("it ends")
    })
}

#[test]
fn a_mark_that_cannot_be_read_for_a_while_is_asked_again() {
    for (fault, counted) in [(Fault::Lost, (1, 0)), (Fault::LostBefore, (0, 1))] {
        let cluster = Cluster::start();
        cluster.fail([Fault::None, fault]);
        let unread = [Fault::Nobody, Fault::NotYet, Fault::BreakBefore, Fault::BreakAfter, Fault::LostBefore];
        let ran = load_and_act(&cluster, &[], || cluster.fail_reads(unread.into_iter().chain([Fault::Nobody; 3])));
        ran.failed(0, &[]);
        doubts(&ran, counted.0, counted.1);
        assert!(cluster.inside().read_faults.is_empty());
        assert_eq!(state(&cluster), at(30, 30), "{fault:?}");
    }
}

#[test]
fn readings_of_replicas_that_know_too_little_do_not_count() {
    type Spoil = fn(&Cluster);
    let spoils: [(Spoil, &str); 2] = [
        (|cluster| cluster.inside().incomplete = true, "still being filled"),
        (|cluster| cluster.inside().data.clear(), "it is at line 0, although it was at 10 before"),
    ];
    for (spoil, part) in spoils {
        let cluster = Cluster::start();
        cluster.fail([Fault::None, Fault::LostBefore]);
        let ran = load_and_act(&cluster, &["--retry", "0.5"], || spoil(&cluster));
        ran.failed(5, &["lines 11 to 20 sent, but not answered", "the mark does not help", part]);
        assert_eq!(cluster.batches().len(), 2, "it is not sent again unseen");
    }
}

#[test]
fn a_mark_that_stays_unread_leaves_the_doubt_and_the_next_run_resolves_it() {
    for (fault, counter) in [(Fault::Lost, 20), (Fault::LostBefore, 10)] {
        let cluster = Cluster::start();
        cluster.fail([Fault::None, fault]);
        let ran = load_and_act(&cluster, &["--retry", "4"], || cluster.fail_reads([Fault::Nobody; 1000]));
        ran.failed(
            5,
            &[
                "the mark cannot be read yet: nobody is awake",
                "and the mark does not help: nobody is awake (no_replica)",
                "every line before 11 is done",
                "lines 11 to 20 may have been applied or not, together",
                "go on with the same --mark",
            ],
        );
        assert!(!ran.err.contains("--from-line"), "{ran:?}");
        assert_eq!(ran.json()["in_doubt"], json!([[11, 20]]));
        assert_eq!(cluster.value("gcounter", "n"), Some(json!(counter)));
        cluster.inside().read_faults.clear();
        load(&cluster, &increments(30), &[]).failed(0, &[&format!("lines up to {counter} are done")]);
        assert_eq!(state(&cluster), at(30, 30), "{fault:?}");
    }
}

#[test]
fn an_interruption_does_not_wait_for_the_mark() {
    let cluster = Cluster::start();
    cluster.fail([Fault::None, Fault::LostBefore]);
    let file = TemporaryFile::with("interrupted-mark", &increments(30));
    let args = ["load", file.path(), "--batch", "10", "--mark", "m", "--settle", "1", "--json"];
    let child = program(&cluster.url(), &args).spawn().expect("the program can be started");
    let begun = Instant::now();
    while cluster.batches().len() < 2 {
        assert!(begun.elapsed() < Duration::from_secs(60), "no batch came");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(Duration::from_millis(100));
    signal(child.id(), "INT");
    let ran = end(child);
    ran.failed(130, &["lines 11 to 20 may have been applied or not, together", "go on with the same --mark"]);
    assert_eq!(ran.json()["in_doubt"], json!([[11, 20]]));
    run(&cluster.url(), &args).failed(0, &["lines up to 10 are done"]);
    assert_eq!(state(&cluster), at(30, 30));
}

#[test]
fn a_run_goes_on_behind_the_mark() {
    let cluster = Cluster::start();
    let file = TemporaryFile::with("resumed", &increments(45));
    let args = ["load", file.path(), "--batch", "10", "--mark", "a/b c", "--settle", "0.1", "--json"];
    run(&cluster.url(), &[&args[..], &["--to-line", "25"]].concat()).failed(0, &[]);
    assert_eq!(cluster.value("gcounter", "n"), Some(json!(25)));
    let ran = run(&cluster.url(), &args);
    ran.failed(0, &["mark a/b c: lines up to 25 are done, going on behind it"]);
    assert_eq!((&ran.json()["lines"], &ran.json()["next_line"]), (&json!(20), &json!(46)));
    // Nothing is left; nor is there up to an earlier line.
    for more in [&[][..], &["--to-line", "30"]] {
        let ran = run(&cluster.url(), &[&args[..], more].concat());
        ran.failed(0, &["lines up to 45 are done"]);
        assert_eq!(ran.json()["lines"], json!(0));
    }
    assert_eq!(cluster.value("gcounter", "n"), Some(json!(45)));
    assert_eq!(cluster.value("maxregister", "a/b c"), Some(json!(45)));
}

#[test]
fn what_an_earlier_run_left_under_way_is_waited_for() {
    let cluster = Cluster::start();
    load(&cluster, &increments(20), &["--to-line", "10"]).failed(0, &[]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(150));
            let mut inside = cluster.inside();
            inside.data.insert(("gcounter".to_owned(), "n".to_owned()), json!(20));
            inside.data.insert(("maxregister".to_owned(), "m".to_owned()), json!(20));
        });
        let args = ["load", "-", "--mark", "m", "--settle", "1"];
        run_with_input(&cluster.url(), &args, &increments(20)).failed(0, &["lines up to 20 are done"]);
    });
    assert_eq!(state(&cluster), at(20, 20));
}

#[test]
fn the_mark_of_another_file_is_told() {
    let cluster = Cluster::start();
    load(&cluster, &increments(50), &[]).failed(0, &[]);
    let before = cluster.batches().len();
    let ran = load(&cluster, &increments(30), &[]);
    ran.failed(2, &["--mark m: the mark is at line 50, but the input has only 30 lines", "another file"]);
    assert_eq!(ran.out, "");
    for value in [json!(2.5), json!(-3), json!("x")] {
        cluster.inside().data.insert(("maxregister".to_owned(), "m".to_owned()), value);
        load(&cluster, &increments(30), &[]).failed(2, &["--mark m: its value", "no line of a file"]);
    }
    assert_eq!(cluster.batches().len(), before, "nothing was sent");
    // Something else lifts it while the run lasts.
    let cluster = Cluster::start();
    cluster.fail([Fault::Lost]);
    let foreign = "{\"type\":\"maxregister\",\"key\":\"m\",\"set\":99}\n";
    load(&cluster, &format!("{foreign}{}", increments(19)), &[]).failed(5, &["at line 99", "something else sets it"]);
}

#[test]
fn bad_lines_do_not_move_the_mark_of_their_batch() {
    let wrong = "{\"type\":\"gcounter\",\"key\":\"n\",\"decrement\":1}\n";
    let last = "{\"type\":\"gcounter\",\"key\":\"n\",\"increment\":-1}\n";
    let lines = format!("{}{wrong}no JSON\n{}{last}{}", increments(3), increments(4), increments(10));
    let cluster = Cluster::start();
    // Refused, refused for the next line, and then lost; the batch without them is lost once more.
    cluster.fail([Fault::None, Fault::None, Fault::LostBefore, Fault::Lost]);
    let ran = load(&cluster, &lines, &[]);
    ran.failed(1, &["line 4: a gcounter has no decrement", "line 5: no JSON", "line 10: not a value for increment"]);
    doubts(&ran, 1, 1);
    assert_eq!((&ran.json()["bad"], &ran.json()["applied"]), (&json!(3), &json!(17)));
    assert_eq!(state(&cluster), at(17, 20));
    let bodies: Vec<_> = cluster.batches().into_iter().map(|seen| seen.body).collect();
    let mark = "{\"key\":\"m\",\"set\":11,\"type\":\"maxregister\"}]";
    assert!(bodies[..4].iter().all(|body| body.ends_with(mark)), "{bodies:?}");

    // The parts of a batch that is too large have marks of their own, and so has what stands before a bad line.
    let cluster = Cluster::start();
    cluster.inside().most_operations = Some(6);
    load(&cluster, &increments(10), &[]).failed(0, &[]);
    let marks: Vec<_> = cluster.batches().iter().map(|seen| seen.body.contains("\"set\":5,")).collect();
    assert_eq!((marks, state(&cluster)), (vec![false, true, false], at(10, 10)));
    let cluster = Cluster::start();
    let ran = load(&cluster, &lines, &["--strict"]);
    ran.failed(1, &["line 4: ", "every line before 4 is done", "go on with the same --mark"]);
    assert_eq!(state(&cluster), at(3, 3));
    let mended = lines.replace(wrong, "\n").replace("no JSON", "").replace(last, "\n");
    load(&cluster, &mended, &["--strict"]).failed(0, &["lines up to 3 are done"]);
    assert_eq!(state(&cluster), at(17, 20));
}

#[test]
fn what_is_unconfirmed_counts_as_before() {
    let cluster = Cluster::start();
    cluster.fail([Fault::None, Fault::Unconfirmed]);
    let ran = load(&cluster, &increments(30), &[]);
    ran.failed(5, &["lines 11 to 20: applied on one replica"]);
    doubts(&ran, 0, 0);
    assert_eq!(state(&cluster), at(30, 30));
}

#[test]
fn what_does_not_go_with_a_mark_is_refused() {
    let cluster = Cluster::start();
    let cases: [(&[&str], &str); 6] = [
        (&["--connections", "2"], "one connection"),
        (&["--unordered"], "--unordered"),
        (&["--from-line", "3"], "--from-line"),
        (&["--retry-ambiguous"], "--retry-ambiguous"),
        (&["--mark", ""], "1 to 1,024 bytes"),
        (&["--settle", "1"], "--mark"),
    ];
    for (more, part) in cases {
        let own = more.iter().any(|arg| ["--mark", "--settle"].contains(arg));
        let mark: &[&str] = if own { &[] } else { &["--mark", "m"] };
        let ran = run(&cluster.url(), &[&["load", "-"], mark, more].concat());
        ran.failed(2, &[part]);
    }
    assert!(cluster.inside().seen.is_empty(), "nothing was asked");
}
