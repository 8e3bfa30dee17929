//! `--dry-run`: what is printed, to the letter, since people plan by it.

use crate::keeping::program;

fn printed(args: &[&str]) -> String {
    let output = program(args).arg("--dry-run").output().expect("the program runs");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn the_schedule_and_its_cost() {
    let text = printed(&["lambda:dayfly@eu-west-1=2", "lambda:dayfly@us-east-1=1", "http://127.0.0.1:8080=1"]);
    assert_eq!(text, include_str!("schedule.txt"));
}

#[test]
fn own_prices_count() {
    let args = ["lambda:f@r=1", "--price-gb-s", "1", "--price-requests", "0", "--memory-mb", "1024", "--json"];
    let schedule: serde_json::Value = serde_json::from_str(&printed(&args)).expect("JSON");
    assert_eq!(schedule["total"]["month_usd"], schedule["total"]["month_gb_s"]);
    // A GB without a break, and 30 of 28 seconds.
    let day_usd = schedule["total"]["day_usd"].as_f64().expect("a number");
    assert!((day_usd - 86_400.0 * 30.0 / 28.0).abs() < 1.0, "{day_usd}");
}
