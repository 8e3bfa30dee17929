//! Clients that write to whichever replica, and what must be there in the end.
//!
//! Each client writes batches with operations of every type to keys of its own, each batch after the last one: it carries the
//! token of what it wrote to the next replica, which may be of the other version. So what its keys hold in the end follows from
//! the number of its batches. To shared keys all write at once; what only adds up is known there too, and of what is contended it
//! is known that all replicas show the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dayfly_engine::Replica;
use dayfly_engine::contract::Request;
use serde_json::{Value, json};
use tokio::sync::RwLock;
use tokio::task::JoinHandle;

use crate::cluster::{Contents, PATIENCE, header, post};

/// How many clients write at once.
const CLIENTS: u64 = 3;
/// A client waits so long after each batch.
const PAUSE: Duration = Duration::from_millis(10);
/// The key that clients write to at once with an outcome that nobody can foresee.
pub const CONTENDED: &str = "contended";

/// The replicas that are written to. While one is written to it is not taken out, so that nothing is left in doubt.
#[derive(Clone, Default)]
pub struct Targets(Arc<RwLock<Vec<Replica>>>);

impl Targets {
    /// Has a replica written to.
    pub async fn add(&self, replica: &Replica) {
        self.0.write().await.push(replica.clone());
    }

    /// Has it written to no more; all that was written to it is confirmed when this returns.
    pub async fn remove(&self, replica: &Replica) {
        self.0.write().await.retain(|other| other.name() != replica.name());
    }
}

/// How far each client has come, over all its loads.
#[derive(Clone, Debug, Default)]
pub struct Written {
    clients: Vec<Client>,
}

#[derive(Clone, Debug, Default)]
struct Client {
    number: u64,
    rounds: u64,
    token: Option<String>,
}

impl Written {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { clients: Vec::new() }.of_others()
    }

    /// Nothing yet, of other clients than these.
    pub fn of_others(&self) -> Self {
        let first = self.clients.iter().map(|client| client.number + 1).max().unwrap_or(0);
        Self { clients: (first..first + CLIENTS).map(|number| Client { number, ..Client::default() }).collect() }
    }

    /// What these clients and others have written.
    pub fn and(&self, others: &Self) -> Self {
        Self { clients: self.clients.iter().chain(&others.clients).cloned().collect() }
    }

    /// Has each client write so many batches more.
    pub async fn write(&mut self, targets: &Targets, rounds: u64) -> Result<()> {
        let until: Vec<u64> = self.clients.iter().map(|client| client.rounds + rounds).collect();
        let clients = std::mem::take(&mut self.clients).into_iter().zip(until);
        let writing: Vec<_> = clients
            .map(|(client, until)| tokio::spawn(client.write(targets.clone(), move |rounds| rounds < until)))
            .collect();
        self.clients = joined(writing).await?;
        Ok(())
    }

    /// Begins to write, until it is ended.
    pub fn begin(self, targets: &Targets) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let writing = self.clients.into_iter().map(|client| {
            let stop = Arc::clone(&stop);
            tokio::spawn(client.write(targets.clone(), move |_| !stop.load(Ordering::SeqCst)))
        });
        let writing = writing.collect();
        Load { stop, writing }
    }

    /// How many batches were written.
    pub fn rounds(&self) -> u64 {
        self.clients.iter().map(|client| client.rounds).sum()
    }

    /// Compares what a replica shows with what was written.
    ///
    /// # Errors
    /// Says what differs, the first few.
    pub fn compare(&self, name: &str, contents: &Contents) -> Result<()> {
        let expected = self.expected();
        let missing = expected.iter().filter(|(key, value)| contents.get(*key) != Some(*value));
        let missing = missing.map(|(key, value)| format!("{key:?} is {:?} in place of {value}", contents.get(key)));
        let surplus = contents.keys().filter(|key| !expected.contains_key(*key) && key.1 != CONTENDED);
        let surplus = surplus.map(|key| format!("{key:?} is too much"));
        let differences: Vec<String> = missing.chain(surplus).take(5).collect();
        ensure!(differences.is_empty(), "{name} does not show what was written: {}", differences.join("; "));
        Ok(())
    }

    /// All keys with their values, but for what is contended.
    fn expected(&self) -> Contents {
        let mut expected: Contents = self.clients.iter().flat_map(Client::expected).collect();
        let most = self.clients.iter().map(|client| client.rounds).max().unwrap_or(0);
        if most == 0 {
            return expected;
        }
        let elements = self.clients.iter().flat_map(|client| (1..=client.rounds).map(|round| client.element(round)));
        let mut elements: Vec<String> = elements.collect();
        elements.sort_unstable();
        let sum: u64 = self.clients.iter().map(|client| sum_to(client.rounds)).sum();
        for (data_type, value) in [
            ("gcounter", json!(self.rounds())),
            ("pncounter", json!(sum)),
            ("gset", json!(elements)),
            ("maxregister", json!(most)),
            ("minregister", json!(-i128::from(most) as i64)),
        ] {
            expected.insert((data_type.to_owned(), "all".to_owned()), value);
        }
        expected
    }
}

/// Clients that write.
pub struct Load {
    stop: Arc<AtomicBool>,
    writing: Vec<JoinHandle<Result<Client>>>,
}

impl Load {
    /// Ends it, and tells what was written. A client that failed says why.
    pub async fn end(self) -> Result<Written> {
        self.stop.store(true, Ordering::SeqCst);
        Ok(Written { clients: joined(self.writing).await? })
    }
}

async fn joined(writing: Vec<JoinHandle<Result<Client>>>) -> Result<Vec<Client>> {
    let mut clients = Vec::new();
    for client in writing {
        clients.push(client.await.context("a client panicked")??);
    }
    Ok(clients)
}

fn sum_to(number: u64) -> u64 {
    number * (number + 1) / 2
}

impl Client {
    async fn write(mut self, targets: Targets, goes_on: impl Fn(u64) -> bool) -> Result<Self> {
        while goes_on(self.rounds) {
            self.write_once(&targets).await?;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(self)
    }

    /// Writes the next batch, to another replica each time.
    async fn write_once(&mut self, targets: &Targets) -> Result<()> {
        let round = self.rounds + 1;
        let request = self.request(round);
        let until = Instant::now() + PATIENCE;
        for turn in self.number + round.. {
            let targets = targets.0.read().await;
            ensure!(!targets.is_empty(), "there is nobody to write to");
            let replica = &targets[turn as usize % targets.len()];
            let response = replica.invoke(request.clone()).await.with_context(|| replica.name().to_owned())?;
            let text = String::from_utf8_lossy(&response.body);
            match response.status {
                200 => {
                    let token = header(&response, "dayfly-context").context("a write that has no token")?;
                    self.token = Some(token.to_owned());
                    self.rounds = round;
                    return Ok(());
                }
                // It has not heard yet of what this client wrote elsewhere.
                503 if text.contains("\"not_yet\"") => {
                    ensure!(Instant::now() < until, "{} does not get to know what was written", replica.name());
                }
                status => bail!("{} answers a write with {status} {text}", replica.name()),
            }
            drop(targets);
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    fn request(&self, round: u64) -> Request {
        let mut request = post("/v1/batch", &self.batch(round).to_string());
        for name in ["dayfly-context", "dayfly-after"] {
            request.headers.extend(self.token.iter().map(|token| (name.to_owned(), token.clone())));
        }
        request
    }

    fn element(&self, round: u64) -> String {
        format!("{} {round}", self.number)
    }

    fn passing(&self, round: i64) -> String {
        format!("passing/{} {round}", self.number)
    }

    /// Operations of every type. What a round adds, the next but one removes.
    fn batch(&self, round: u64) -> Value {
        let (own, now, old) = (self.number.to_string(), round as i64, round as i64 - 2);
        let flag = if round % 2 == 1 { "enable" } else { "disable" };
        let fields = json!({
            "last": { "type": "lwwregister", "set": now },
            "deep": { "type": "map", "update": { "count": { "type": "pncounter", "increment": 2 } } },
            (format!("of {now}")): { "type": "gset", "add": [now] },
        });
        json!([
            { "type": "gcounter", "key": own, "increment": now },
            { "type": "pncounter", "key": own, "increment": 1 },
            { "type": "pncounter", "key": own, "decrement": now },
            { "type": "gset", "key": own, "add": [now] },
            { "type": "orset", "key": own, "add": [now, "always"] },
            { "type": "orset", "key": own, "remove": [old] },
            { "type": "rwset", "key": own, "add": [now, "always"] },
            { "type": "rwset", "key": own, "remove": [old] },
            { "type": "lwwregister", "key": own, "set": { "round": now } },
            { "type": "mvregister", "key": own, "set": now },
            { "type": "maxregister", "key": own, "set": now },
            { "type": "minregister", "key": own, "set": -now },
            { "type": "ewflag", "key": own, (flag): true },
            { "type": "dwflag", "key": own, (flag): true },
            { "type": "map", "key": own, "update": fields },
            { "type": "map", "key": own, "remove": [format!("of {old}")] },
            { "type": "lwwregister", "key": self.passing(now), "set": now },
            { "type": "lwwregister", "key": self.passing(old), "delete": true },
            { "type": "gcounter", "key": "all", "increment": 1 },
            { "type": "pncounter", "key": "all", "increment": now },
            { "type": "gset", "key": "all", "add": [self.element(round)] },
            { "type": "maxregister", "key": "all", "set": now },
            { "type": "minregister", "key": "all", "set": -now },
            { "type": "orset", "key": CONTENDED, "add": [now] },
            { "type": "orset", "key": CONTENDED, "remove": [old] },
            { "type": "rwset", "key": CONTENDED, "add": [now] },
            { "type": "rwset", "key": CONTENDED, "remove": [old] },
            { "type": "lwwregister", "key": CONTENDED, "set": self.element(round) },
            { "type": "mvregister", "key": CONTENDED, "set": self.element(round) },
            { "type": "ewflag", "key": CONTENDED, (flag): true },
            { "type": "dwflag", "key": CONTENDED, (flag): true },
            { "type": "map", "key": CONTENDED, "update": { "field": { "type": "mvregister", "set": self.element(round) } } },
        ])
    }

    /// What this client's own keys hold after all its rounds.
    fn expected(&self) -> BTreeMap<(String, String), Value> {
        let (own, rounds) = (self.number.to_string(), self.rounds as i64);
        let mut expected = BTreeMap::new();
        if rounds == 0 {
            return expected;
        }
        let mut put = |data_type: &str, key: &str, value: Value| {
            expected.insert((data_type.to_owned(), key.to_owned()), value);
        };
        let sum = sum_to(self.rounds);
        // Sets read in the order of their elements' texts; what was added in the last two rounds is still there.
        let in_order = |from: i64| {
            let mut elements: Vec<i64> = (from.max(1)..=rounds).collect();
            elements.sort_by_key(i64::to_string);
            elements
        };
        let mut still: Vec<Value> = vec!["always".into()];
        still.extend(in_order(rounds - 1).into_iter().map(Value::from));
        let mut fields = json!({
            "last": { "lwwregister": rounds },
            "deep": { "map": { "count": { "pncounter": 2 * rounds } } },
        });
        for round in in_order(rounds - 1) {
            fields[format!("of {round}")] = json!({ "gset": [round] });
            put("lwwregister", &self.passing(round), json!(round));
        }
        put("gcounter", &own, json!(sum));
        put("pncounter", &own, json!(rounds - sum as i64));
        put("gset", &own, json!(in_order(1)));
        put("orset", &own, json!(still));
        put("rwset", &own, json!(still));
        put("lwwregister", &own, json!({ "round": rounds }));
        put("mvregister", &own, json!([rounds]));
        put("maxregister", &own, json!(rounds));
        put("minregister", &own, json!(-rounds));
        put("ewflag", &own, json!(rounds % 2 == 1));
        put("dwflag", &own, json!(rounds % 2 == 1));
        put("map", &own, fields);
        expected
    }
}
