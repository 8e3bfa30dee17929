//! Functions of AWS Lambda.

use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};

use crate::invoke_api::{Does, InvokeApi};
use crate::keeping::{Keeping, program};

const F: &str = "lambda:f@eu-west-1";
const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIDTEST"), ("AWS_SECRET_ACCESS_KEY", "secret")];

fn is(name: &'static str) -> impl Fn(&Value) -> bool {
    move |event| event["event"] == name
}

#[test]
fn replicas_are_invoked_with_signed_wakes_and_hand_on() {
    let api = InvokeApi::start(Does::Wakes(Duration::from_millis(150)));
    let args = [&format!("{F}=2"), "--endpoint-url", &api.url(), "--seconds", "5", "--memory-mb", "512"];
    let mut keeping = Keeping::start(&args, &KEYS);
    let status = keeping.hear("both hand on twice", |event| {
        event["event"] == "status" && event["targets"][0]["handed_on"].as_u64() >= Some(4)
    });
    let row = &status["targets"][0];
    assert_eq!((&row["wanted"], &row["failed"], &status["held"]), (&json!(2), &json!(0), &json!(true)), "{status}");
    // Two of half a GB, for as long as it ran, and a little more for overlaps.
    let (second, gb_s) = (status["second"].as_f64().expect("a number"), row["gb_s"].as_f64().expect("a number"));
    assert!(gb_s >= second && gb_s <= 2.0 * (second + 1.0), "{status}");
    let month = status["total"]["month_usd"].as_f64().expect("a number");
    assert!((35.0..90.0).contains(&month), "a month of it costs 43 USD and the overlaps: {status}");
    keeping.signal("INT");
    let (ended, errors) = keeping.end();
    assert_eq!((ended.code(), errors.as_str()), (Some(0), ""));
    assert_eq!(keeping.named("nobody_holds"), Vec::<&Value>::new());
    let woken = keeping.named("woken");
    assert!(woken[2..].iter().all(|event| event["handed_on"] == true), "{woken:#?}");
    assert_eq!((&woken[0]["root"], &woken[0]["filled_ms"]), (&json!("00ff"), &json!(75)));
    api.with(|api| {
        for invocation in &api.invocations {
            assert_eq!(invocation.body, json!({ "wake": { "seconds": 5 } }));
            let header = |name| invocation.headers[name].to_str().expect("text");
            assert_eq!(header("x-amz-invocation-type"), "RequestResponse");
            let date = header("x-amz-date");
            assert!(date.len() == 16 && date.ends_with('Z'), "{date}");
            let scope = format!("AWS4-HMAC-SHA256 Credential=AKIDTEST/{}/eu-west-1/lambda/aws4_request, ", &date[..8]);
            let rest = header("authorization").strip_prefix(&scope).expect("the right scope");
            let signature = rest.strip_prefix("SignedHeaders=host;x-amz-date, Signature=").expect("the right headers");
            assert!(signature.len() == 64 && signature.bytes().all(|byte| byte.is_ascii_hexdigit()), "{signature}");
        }
    });
}

#[test]
fn throttling_is_backed_off_from_and_told_and_nobody_awake_is_told_loudly() {
    let api = InvokeApi::start(Does::Wakes(Duration::ZERO));
    // There is no room for a successor beside its predecessor.
    api.with(|api| api.concurrency = 1);
    let args = [&format!("{F}=1"), "--endpoint-url", &api.url(), "--seconds", "5", "--overlap", "2.5"];
    let mut keeping = Keeping::start(&args, &KEYS);
    let failed = keeping.hear("it is throttled", is("failed"));
    assert_eq!((&failed["kind"], &failed["target"]), (&json!("throttled"), &json!(F)));
    let message = failed["message"].as_str().expect("a text");
    assert!(message.contains("ReservedFunctionConcurrentInvocationLimitExceeded"), "{message}");
    keeping.hear("nobody is awake", is("nobody_holds"));
    keeping.hear("somebody is again", is("held"));
    let throttled = keeping.named("failed").len();
    assert!(throttled >= 2, "{:#?}", keeping.heard);
    api.with(|api| {
        for pair in api.invocations.windows(2).filter(|pair| pair[0].status == 429) {
            // The first pause is 250 ms at least.
            assert!(pair[1].at - pair[0].at >= Duration::from_millis(245), "{:?}", pair[1].at - pair[0].at);
        }
        api.concurrency = 2;
    });
    keeping.hear("it hands on", |event| event["event"] == "woken" && event["handed_on"] == true);
    let status = keeping.hear("a status", is("status"));
    assert!(status["targets"][0]["throttled"].as_u64() >= Some(throttled as u64), "{status}");
    assert_eq!(status["held"], true);
}

#[test]
fn what_the_target_asks_for_is_waited_for() {
    let api = InvokeApi::start(Does::Wakes(Duration::ZERO));
    api.with(|api| (api.concurrency, api.retry_after) = (0, Some(3)));
    // One: of several, those that were begun with it may come when there is room.
    let mut keeping = Keeping::start(&[&format!("{F}=1"), "--endpoint-url", &api.url()], &KEYS);
    let failed = keeping.hear("it is throttled", is("failed"));
    assert!((2_900..=3_000).contains(&failed["retry_ms"].as_u64().expect("a number")), "{failed}");
    api.with(|api| api.concurrency = 6);
    keeping.hear("it is awake", |event| event["event"] == "status" && event["targets"][0]["awake"] == 1);
    api.with(|api| {
        let throttled = api.invocations.iter().filter(|invocation| invocation.status == 429);
        let last = throttled.map(|invocation| invocation.at).max().expect("it was");
        let first = api.invocations.iter().find(|invocation| invocation.status == 200).expect("it was");
        assert!(first.at - last >= Duration::from_millis(2_900), "{:?}", first.at - last);
    });
}

#[test]
fn failures_are_tried_again_and_told_for_what_they_are() {
    let api = InvokeApi::start(Does::Fails);
    let mut keeping = Keeping::start(&[&format!("{F}=1"), "--endpoint-url", &api.url()], &[]);
    let failed = keeping.hear("it fails", is("failed"));
    assert_eq!(failed["kind"], "function_error");
    assert_eq!(failed["message"], "f failed: Runtime.ExitError: exit status 1");
    api.with(|api| api.does = Does::SaysHello);
    let failed = keeping.hear("it is foreign", |event| event["kind"] == "foreign");
    assert!(failed["message"].as_str().expect("a text").contains("hello"), "{failed}");
    api.with(|api| api.does = Does::Wakes(Duration::ZERO));
    keeping.hear("it wakes", is("woken"));
    let status = keeping.hear("a status", is("status"));
    assert!(status["targets"][0]["failed"].as_u64() >= Some(2), "{status}");
}

fn refused(args: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } =
        program(args).envs(environment.iter().copied()).output().expect("the program runs");
    (status.code(), String::from_utf8(stderr).expect("UTF-8"))
}

#[test]
fn what_will_never_work_ends_it_with_what_to_do() {
    let api = InvokeApi::start(Does::Wakes(Duration::ZERO));
    let at = ["--endpoint-url", &api.url()];
    let (code, errors) = refused(&[&["lambda:nosuch@eu-west-1=1"], &at[..]].concat(), &KEYS);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("there is no function nosuch in eu-west-1"), "{errors}");
    api.with(|api| api.refuses = Some((403, "AccessDeniedException")));
    let (code, errors) = refused(&[&[&format!("{F}=2")[..]], &at[..]].concat(), &KEYS);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("may not invoke f: they need the IAM action lambda:InvokeFunction"), "{errors}");
    // Nothing is sent to AWS without credentials.
    let (code, errors) = refused(&[&format!("{F}=1")], &[]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains("no AWS credentials: set AWS_ACCESS_KEY_ID"), "{errors}");
    let (code, errors) = refused(&["lambda:f=1"], &KEYS);
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("the region is missing"), "{errors}");
    let (code, errors) = refused(&[&format!("{F}=1"), &format!("{F}=2")], &KEYS);
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("is given twice"), "{errors}");
}

#[test]
fn one_target_that_refuses_does_not_end_the_others() {
    let api = InvokeApi::start(Does::Wakes(Duration::ZERO));
    let args = ["lambda:nosuch@eu-west-1=1", &format!("{F}=1"), "--endpoint-url", &api.url(), "--seconds", "5"];
    let mut keeping = Keeping::start(&args, &KEYS);
    keeping.hear("one is refused", |event| event["event"] == "failed" && event["kind"] == "refused");
    keeping.hear("the other hands on", |event| event["event"] == "woken" && event["handed_on"] == true);
}

#[test]
fn numbers_are_changed_by_lines() {
    let api = InvokeApi::start(Does::Wakes(Duration::ZERO));
    let mut keeping = Keeping::start(&[&format!("{F}=1"), "--endpoint-url", &api.url(), "--seconds", "5"], &KEYS);
    keeping.hear("one is awake", |event| event["targets"][0]["awake"] == 1);
    keeping.say(&format!("{F}=3"));
    keeping.hear("the change", |event| event["event"] == "wanted" && event["wanted"] == 3);
    keeping.hear("three are awake", |event| event["targets"][0]["awake"] == 3);
    keeping.say("lambda:f@us-east-1=1");
    keeping.hear("another target", |event| event["targets"][1]["awake"] == 1);
    keeping.say("nonsense");
    let note = keeping.hear("a note", is("note"));
    assert!(note["message"].as_str().expect("a text").starts_with("nonsense: the number is missing"), "{note}");
    keeping.say(&format!("{F}=0"));
    keeping.say("lambda:f@us-east-1=0");
    keeping.hear("nobody is awake", is("nobody_holds"));
    keeping.hear("nobody at all", |event| event["targets"][0]["awake"] == 0 && event["targets"][1]["awake"] == 0);
}

#[test]
fn a_signal_waits_for_answers_and_a_second_one_does_not() {
    let api = InvokeApi::start(Does::Wakes(Duration::from_secs(3)));
    let args = [&format!("{F}=1"), "--endpoint-url", &api.url()];
    let mut keeping = Keeping::start(&args, &KEYS);
    keeping.hear("one is on its way", |event| event["targets"][0]["waking"] == 1);
    keeping.signal("TERM");
    let ending = keeping.hear("it ends", is("ending"));
    assert_eq!(ending["waking"], 1);
    let (ended, _) = keeping.end();
    assert_eq!(ended.code(), Some(0));
    assert_eq!(keeping.named("woken").len(), 1);
    assert_eq!(keeping.heard.last().expect("it said so")["awake"], 1);

    api.with(|api| api.does = Does::Wakes(Duration::from_secs(600)));
    let mut keeping = Keeping::start(&args, &KEYS);
    keeping.hear("one is on its way", |event| event["targets"][0]["waking"] == 1);
    keeping.signal("INT");
    keeping.hear("it ends", is("ending"));
    keeping.signal("INT");
    assert_eq!(keeping.end().0.code(), Some(130));
}
