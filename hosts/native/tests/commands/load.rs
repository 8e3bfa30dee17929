//! `load`.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::cluster::{Cluster, Fault};
use crate::program::{TemporaryFile, end, program, run, run_with_input, signal};

/// So many increments of one counter, a line each.
fn increments(count: usize) -> String {
    "{\"type\":\"gcounter\",\"key\":\"n\",\"increment\":1}\n".repeat(count)
}

/// So many settings of one register, to the number of the line.
fn settings(count: usize) -> String {
    (1..=count).map(|line| format!("{{\"type\":\"lwwregister\",\"key\":\"r\",\"set\":{line}}}\n")).collect()
}

#[test]
fn a_file_is_loaded_as_a_sequential_program_would() {
    let cluster = Cluster::start();
    let mut lines = String::from("# a comment\n\n");
    let mut expected: BTreeMap<(String, String), Value> = BTreeMap::new();
    let mut sets: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for number in 0..20_000_u64 {
        let key = format!("k{}", number * 7919 % 97);
        match number % 3 {
            0 => {
                lines.push_str(&format!("{{\"type\":\"gcounter\",\"key\":\"{key}\",\"increment\":{number}}}\n"));
                let value = expected.entry(("gcounter".to_owned(), key)).or_insert(json!(0));
                *value = json!(value.as_u64().expect("a number") + number);
            }
            1 => {
                lines.push_str(&format!("{{\"type\":\"orset\",\"key\":\"{key}\",\"add\":[\"e{}\"]}}\n", number % 50));
                let set = sets.entry(key).or_default();
                let element = format!("e{}", number % 50);
                if !set.contains(&element) {
                    set.push(element);
                }
            }
            _ => {
                lines.push_str(&format!("{{\"type\":\"lwwregister\",\"key\":\"{key}\",\"set\":{number}}}\n"));
                expected.insert(("lwwregister".to_owned(), key), json!(number));
            }
        }
    }
    for (key, mut set) in sets {
        set.sort_by_key(|element| format!("\"{element}\""));
        expected.insert(("orset".to_owned(), key), json!(set));
    }
    let file = TemporaryFile::with("sequential", &lines);
    let ran = run(&cluster.url(), &["load", file.path(), "--json"]);
    ran.failed(0, &[]);
    let summary = ran.json();
    assert_eq!(cluster.inside().data, expected);
    assert_eq!((&summary["applied"], &summary["lines"]), (&json!(20_000), &json!(20_002)));
    assert_eq!(
        (&summary["bad"], &summary["complete"], &summary["next_line"]),
        (&json!(0), &json!(true), &json!(20_003))
    );
    let longest = cluster.batches().iter().map(|batch| batch.body.len()).max().expect("batches came");
    assert!(longest <= 56 * 1024 + 1, "{longest}");
}

#[test]
fn a_batch_waits_for_those_before_it() {
    let cluster = Cluster::start();
    cluster.fail([Fault::None, Fault::NotYet, Fault::None]);
    run_with_input(&cluster.url(), &["load", "-", "--batch", "2"], &settings(6)).failed(0, &[]);
    let tokens: Vec<_> = cluster
        .batches()
        .iter()
        .map(|seen| (seen.header("dayfly-context").map(str::to_owned), seen.header("dayfly-after").map(str::to_owned)))
        .collect();
    let token = |text: &str| (Some(text.to_owned()), Some(text.to_owned()));
    assert_eq!(tokens, [(None, None), token("w1"), token("w1"), token("w1.w2")]);
    assert_eq!(cluster.value("lwwregister", "r"), Some(json!(6)));
}

#[test]
fn a_full_token_begins_anew_without_losing_the_order() {
    let cluster = Cluster::start();
    cluster.fail([Fault::None, Fault::TokenFull]);
    run_with_input(&cluster.url(), &["load", "-", "--batch", "1"], &settings(3)).failed(0, &[]);
    let batches = cluster.batches();
    assert_eq!((batches[2].header("dayfly-context"), batches[2].header("dayfly-after")), (None, Some("w1")));
    assert_eq!(batches[3].header("dayfly-after"), Some("w2"));
    assert_eq!(cluster.value("lwwregister", "r"), Some(json!(3)));
}

#[test]
fn without_order_there_are_no_tokens() {
    let cluster = Cluster::start();
    for args in
        [&["load", "-", "--batch", "5", "--unordered"][..], &["load", "-", "--batch", "5", "--connections", "4"]]
    {
        run_with_input(&cluster.url(), args, &increments(200)).failed(0, &[]);
    }
    let batches = cluster.batches();
    assert_eq!(batches.len(), 80);
    assert!(batches.iter().all(|seen| seen.header("dayfly-after").or(seen.header("dayfly-context")).is_none()));
    assert_eq!(cluster.value("gcounter", "n"), Some(json!(400)));
}

#[test]
fn bad_lines_are_told_and_the_rest_goes_on() {
    let cluster = Cluster::start();
    let too_long = format!("{{\"type\":\"gset\",\"key\":\"s\",\"add\":[\"{}\"]}}", "x".repeat(1 << 20));
    let deep = format!("{{\"type\":\"gset\",\"key\":\"s\",\"add\":[{}{}]}}", "[".repeat(10_000), "]".repeat(10_000));
    let good = increments(1);
    let lines = format!(
        "{good}no JSON\n{good}{{\"type\":\"gcounter\",\"key\":\"n\",\"decrement\":1}}\n\n{good}{too_long}\n{deep}\n\
         {{\"type\":\"unheard\",\"key\":\"n\",\"increment\":1}}\n\
         {{\"type\":\"gcounter\",\"key\":\"n\",\"increment\":-1}}\n{good}"
    );
    let ran = run_with_input(&cluster.url(), &["load", "-", "--json"], &lines);
    ran.failed(
        1,
        &[
            "line 2: no JSON object",
            "line 4: a gcounter has no decrement (wrong_operation)",
            "line 7: longer than 1048576 bytes",
            "line 8: recursion limit exceeded",
            "line 9: there is no type unheard (unknown_type)",
            "line 10: not a value for increment (bad_value)",
        ],
    );
    let summary = ran.json();
    assert_eq!((&summary["bad"], &summary["applied"], &summary["lines"]), (&json!(6), &json!(4), &json!(11)));
    assert_eq!(cluster.value("gcounter", "n"), Some(json!(4)));
}

#[test]
fn strict_ends_at_the_first_bad_line_with_all_before_it_applied() {
    let refused = "{\"type\":\"gcounter\",\"key\":\"n\",\"decrement\":1}\n";
    for (bad, reason) in [("no JSON\n", "no JSON object"), (refused, "wrong_operation")] {
        for before in [0, 1, 10] {
            let cluster = Cluster::start();
            let lines = format!("\n{}\n{bad}{}", increments(before), increments(10));
            let ran = run_with_input(&cluster.url(), &["load", "-", "--strict", "--json"], &lines);
            let line = before + 3;
            ran.failed(1, &[&format!("line {line}: "), reason, &format!("go on with --from-line {line}")]);
            assert_eq!(cluster.value("gcounter", "n"), (before > 0).then(|| json!(before)), "{before} {reason}");
            assert_eq!(ran.json()["next_line"], json!(line), "{before} {reason}");
            assert_eq!(ran.json()["bad"], json!(1));
        }
    }
}

#[test]
fn what_is_refused_for_now_is_sent_again() {
    let cluster = Cluster::start();
    cluster.fail([Fault::Busy, Fault::Nobody, Fault::NotYet, Fault::None, Fault::Nobody]);
    let ran = run_with_input(&cluster.url(), &["load", "-", "--batch", "10", "--json"], &increments(20));
    ran.failed(0, &[]);
    assert_eq!(ran.json()["retries"], json!(4));
    assert_eq!(cluster.value("gcounter", "n"), Some(json!(20)));
}

#[test]
fn a_batch_that_is_too_large_is_halved_and_so_are_those_after_it() {
    let cluster = Cluster::start();
    cluster.inside().most_operations = Some(100);
    let ran = run_with_input(&cluster.url(), &["load", "-", "--json"], &increments(5000));
    ran.failed(0, &[]);
    assert_eq!(cluster.value("gcounter", "n"), Some(json!(5000)));
    assert!(cluster.batches().len() < 150, "{} requests", cluster.batches().len());
    run_with_input(&cluster.url(), &["load", "-", "--batch", "800"], &settings(800)).failed(0, &[]);
    assert_eq!(cluster.value("lwwregister", "r"), Some(json!(800)), "the parts keep their order");
    cluster.inside().most_operations = Some(0);
    let ran = run_with_input(&cluster.url(), &["load", "-"], &increments(2));
    ran.failed(1, &["line 1: at most 0 operations (batch_too_large)", "line 2: "]);
}

#[test]
fn what_is_unconfirmed_is_applied_and_not_sent_again() {
    let cluster = Cluster::start();
    cluster.fail([Fault::None, Fault::Unconfirmed]);
    let ran = run_with_input(&cluster.url(), &["load", "-", "--batch", "10", "--json"], &increments(30));
    ran.failed(5, &["lines 11 to 20: applied on one replica", "not confirmed yet"]);
    let summary = ran.json();
    assert_eq!(
        (&summary["unconfirmed"], &summary["applied"], &summary["complete"]),
        (&json!(10), &json!(30), &json!(true))
    );
    assert_eq!(cluster.value("gcounter", "n"), Some(json!(30)));
}

#[test]
fn counters_in_doubt_end_the_run_and_it_says_where_to_go_on() {
    for (fault, applied) in [(Fault::BreakBefore, 10), (Fault::BreakAfter, 20), (Fault::Lost, 20)] {
        let cluster = Cluster::start();
        cluster.fail([Fault::None, fault]);
        let file = TemporaryFile::with("doubt", &increments(30));
        let args = ["load", file.path(), "--batch", "10", "--json"];
        let ran = run(&cluster.url(), &args);
        ran.failed(
            5,
            &[
                "every line before 11 is done",
                "lines 11 to 20 may have been applied or not, together",
                "if they were not, go on with --from-line 11, else with --from-line 21",
            ],
        );
        assert_eq!(cluster.value("gcounter", "n"), Some(json!(applied)), "{fault:?}");
        assert_eq!(ran.json()["in_doubt"], json!([[11, 20]]));
        // The reader of that line looks whether they were.
        let from = if applied == 20 { "21" } else { "11" };
        run(&cluster.url(), &["load", file.path(), "--from-line", from]).failed(0, &[]);
        assert_eq!(cluster.value("gcounter", "n"), Some(json!(30)), "{fault:?}");
    }
}

#[test]
fn what_cannot_show_is_sent_again_and_the_rest_only_if_the_user_says_so() {
    let cluster = Cluster::start();
    cluster.fail([Fault::BreakAfter, Fault::BreakBefore, Fault::Lost]);
    let ran = run_with_input(&cluster.url(), &["load", "-", "--batch", "10"], &settings(20));
    ran.failed(0, &[]);
    assert!(ran.out.contains("3 requests repeated"), "{ran:?}");
    assert_eq!(cluster.value("lwwregister", "r"), Some(json!(20)));
    assert_eq!(cluster.batches().len(), 5);
    cluster.fail([Fault::BreakAfter, Fault::BreakBefore]);
    let args = ["load", "-", "--batch", "10", "--retry-ambiguous"];
    let ran = run_with_input(&cluster.url(), &args, &increments(10));
    ran.failed(0, &[]);
    assert!(ran.out.contains("2 requests repeated"), "{ran:?}");
    assert_eq!(cluster.value("gcounter", "n"), Some(json!(20)), "counted twice, as --help says");
}

#[test]
fn trying_again_has_an_end() {
    let cluster = Cluster::start();
    cluster.fail([Fault::None]);
    cluster.fail([Fault::Nobody; 1000]);
    let ran = run_with_input(&cluster.url(), &["load", "-", "--batch", "10", "--retry", "0.5"], &increments(30));
    ran.failed(1, &["lines 11 to 20 refused: nobody is awake (no_replica)", "go on with --from-line 11"]);
    let cluster = Cluster::start();
    cluster.fail([Fault::BreakAfter; 1000]);
    let ran = run_with_input(&cluster.url(), &["load", "-", "--retry", "0.5", "--timeout", "5"], &settings(30));
    ran.failed(5, &["lines 1 to 30 sent, but not answered", "lines 1 to 30 may have been applied"]);
}

#[test]
fn a_full_store_ends_the_run() {
    let cluster = Cluster::start();
    cluster.fail([Fault::None, Fault::StoreFull]);
    let ran = run_with_input(&cluster.url(), &["load", "-", "--batch", "10"], &increments(30));
    ran.failed(1, &["lines 11 to 20 refused: the store is full (store_full)", "go on with --from-line 11"]);
    assert_eq!(cluster.value("gcounter", "n"), Some(json!(10)));
}

#[test]
fn a_range_of_lines_is_loaded() {
    let cluster = Cluster::start();
    let file = TemporaryFile::with("range", &settings(100));
    run(&cluster.url(), &["load", file.path(), "--from-line", "31", "--to-line", "60"]).failed(0, &[]);
    assert_eq!(cluster.value("lwwregister", "r"), Some(json!(60)));
    let bodies: Vec<_> = cluster.batches().into_iter().map(|seen| seen.body).collect();
    assert_eq!(bodies.len(), 1);
    assert!(bodies[0].starts_with("[{\"type\":\"lwwregister\",\"key\":\"r\",\"set\":31}"));
    run(&cluster.url(), &["load", file.path(), "--from-line", "200"]).failed(0, &["only 100 lines"]);
    run(&cluster.url(), &["load", file.path(), "--from-line", "5", "--to-line", "4"])
        .failed(2, &["before --from-line"]);
}

#[test]
fn what_other_connections_overtook_is_told_as_a_gap() {
    let cluster = Cluster::start();
    cluster.inside().delay = Duration::from_millis(30);
    cluster.fail([Fault::None, Fault::None, Fault::None, Fault::None, Fault::BreakBefore]);
    let args = ["load", "-", "--batch", "10", "--connections", "4", "--json"];
    let ran = run_with_input(&cluster.url(), &args, &increments(1000));
    assert_eq!(ran.code, 5, "{ran:?}");
    let summary = ran.json();
    let applied = cluster.value("gcounter", "n").and_then(|n| n.as_u64()).expect("some were applied");
    // What is told as not done, done now: every line is applied once.
    let doubt = summary["in_doubt"].as_array().expect("a list");
    assert_eq!(doubt.len(), 1, "{summary}");
    let gaps: u64 = summary["gaps"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|gap| gap[1].as_u64().expect("a line") - gap[0].as_u64().expect("a line") + 1)
        .sum();
    let next = summary["next_line"].as_u64().expect("a line");
    assert_eq!(applied + gaps + (1000 - (next - 1)), 1000, "{summary}");
}

#[test]
fn an_interruption_waits_for_the_answer_and_says_where_to_go_on() {
    let cluster = Cluster::start();
    cluster.inside().delay = Duration::from_millis(100);
    let file = TemporaryFile::with("interrupt", &increments(10_000));
    let args = ["load", file.path(), "--batch", "10", "--json"];
    let child = program(&cluster.url(), &args).spawn().expect("the program can be started");
    while cluster.batches().len() < 3 {
        std::thread::sleep(Duration::from_millis(5));
    }
    signal(child.id(), "INT");
    let ran = end(child);
    assert_eq!(ran.code, 130, "{ran:?}");
    let applied = cluster.value("gcounter", "n").and_then(|n| n.as_u64()).expect("some were applied");
    assert_eq!(ran.json()["next_line"], json!(applied + 1));
    assert_eq!(ran.json()["in_doubt"], json!([]));
    let from = (applied + 1).to_string();
    cluster.inside().delay = Duration::ZERO;
    run(&cluster.url(), &["load", file.path(), "--from-line", &from]).failed(0, &[]);
    assert_eq!(cluster.value("gcounter", "n"), Some(json!(10_000)));
}

#[test]
fn a_second_interruption_does_not_wait() {
    let cluster = Cluster::start();
    cluster.fail([Fault::None, Fault::Silence]);
    let file = TemporaryFile::with("twice", &increments(30));
    let args = ["load", file.path(), "--batch", "10", "--json"];
    let begun = Instant::now();
    let child = program(&cluster.url(), &args).spawn().expect("the program can be started");
    while cluster.batches().len() < 2 {
        std::thread::sleep(Duration::from_millis(5));
    }
    signal(child.id(), "TERM");
    std::thread::sleep(Duration::from_millis(300));
    signal(child.id(), "INT");
    let ran = end(child);
    ran.failed(130, &["lines 11 to 20 may have been applied or not, together"]);
    assert_eq!(ran.json()["in_doubt"], json!([[11, 20]]));
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[test]
fn lines_that_come_slowly_do_not_wait_for_a_full_batch() {
    let cluster = Cluster::start();
    let mut child = program(&cluster.url(), &["load", "-"]).stdin(Stdio::piped()).spawn().expect("it can be started");
    let mut stdin = child.stdin.take().expect("it is piped");
    let begun = Instant::now();
    for count in 1..=3 {
        stdin.write_all(increments(1).as_bytes()).expect("the program reads");
        while cluster.value("gcounter", "n") != Some(json!(count)) {
            assert!(begun.elapsed() < Duration::from_secs(20), "line {count} did not arrive");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    // An interruption ends it although its input goes on.
    signal(child.id(), "INT");
    let ran = end(child);
    ran.failed(130, &["every line before 4 is done"]);
    drop(stdin);
}

#[test]
fn progress_is_told_without_a_terminal_unless_quiet() {
    let cluster = Cluster::start();
    cluster.inside().delay = Duration::from_millis(700);
    let file = TemporaryFile::with("progress", &increments(100));
    let args = ["load", file.path(), "--batch", "10"];
    let quiet = program(&cluster.url(), &[&args[..], &["--quiet"]].concat()).spawn().expect("it can be started");
    let loud = run(&cluster.url(), &args);
    assert!(loud.err.contains(" operations, ") && loud.err.lines().count() <= 2, "{loud:?}");
    assert_eq!(end(quiet).ok().split(" in ").next(), Some("100 operations applied from 100 lines"));
}

#[test]
fn input_that_cannot_be_read_is_told() {
    let cluster = Cluster::start();
    run(&cluster.url(), &["load", "no/such/file"]).failed(2, &["cannot read no/such/file"]);
    run(&cluster.url(), &["load", "."]).failed(2, &["it is a directory"]);
    run(&cluster.url(), &["load", "-", "--batch", "10001"]).failed(2, &["10000"]);
    run(&cluster.url(), &["load", "-", "--replica", "r9"]).failed(1, &["no_such_path"]);
    assert!(run_with_input(&cluster.url(), &["load", "-"], "").ok().starts_with("0 operations applied from 0 lines"));
}
