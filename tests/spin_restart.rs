//! The broker is restarted under an application for Spin. In a file of its own, so that no other test meets a broker that
//! is away.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use dayfly_tests::application::{Application, Platform, StateFolder};
use dayfly_tests::control::control;
use dayfly_tests::node::{Node, fresh_cluster};
use dayfly_tests::patience::await_that;
use serde_json::json;

#[test]
fn a_restart_of_the_broker_loses_nothing() -> Result<()> {
    let cluster = fresh_cluster("spinrestart");
    let node = Node::start(&cluster, "node", &[])?;
    node.await_ready()?;
    let state = StateFolder::new()?;
    let application = Application::start(Platform::Ours, &cluster, &state, &[])?;
    let increment = || application.post("/v1/data/gcounter/n", &json!({"increment": 1}));
    // One instance all the time: it has to find the broker again.
    application.begin_linger(60)?;
    increment()?.value()?;
    control(&["stop_app"])?;
    let read = application.get("/v1/data/gcounter/n")?;
    let answer = increment()?;
    control(&["start_app"])?;
    ensure!(read.value()? == json!(1), "{read:?}");
    ensure!(answer.status == 503 && answer.code()? == "unconfirmed", "{answer:?}");
    await_that("writes are confirmed again", || {
        let answer = increment()?;
        ensure!(answer.status == 200 || answer.code()? == "unconfirmed", "{answer:?}");
        // What is unconfirmed is applied, so that only the number of attempts would tell the sum.
        thread::sleep(Duration::from_millis(100));
        Ok(answer.status == 200)
    })?;
    let sum = application.get("/v1/data/gcounter/n")?.value()?;
    await_that("the native replica has every write, those that were not confirmed included", || {
        let answer = node.client()?.get("/v1/data/gcounter/n")?;
        Ok(answer.status == 200 && answer.value()? == sum)
    })?;
    application.kill()?;
    node.leave()
}
