//! Clients: random requests on few keys, so that they collide, and what each client remembers to have written.

use anyhow::{Context, Result, ensure};
use dayfly_core::cell::DataType;
use dayfly_core::effect::FrameId;
use dayfly_core::http::{Request, Response};
use serde_json::{Value, json};

use super::cluster::{Cluster, Event};
use super::drawn;
use super::node::{NodeId, Phase};
use super::types::{Deed, Operation};
use crate::chance::Chance;

/// The names of keys: one of each kind that needs care in a path.
const NAMES: [&str; 3] = ["k", "a/b", "ü %"];

/// What one client has written, and the token that says so.
#[derive(Clone, Debug, Default)]
struct Session {
    token: String,
    writes: Vec<usize>,
    /// The write whose answer it waits for, with the token that the answer will bring.
    waits_for: Option<(NodeId, FrameId, String, Option<usize>)>,
}

/// All clients.
#[derive(Clone, Debug)]
pub struct Client {
    chance: Chance,
    sessions: [Session; 3],
    /// Reads with `dayfly-after` that were answered, and those that were not.
    pub after_served: u64,
    /// Those that were not.
    pub after_refused: u64,
    /// Those that were answered where something that the write dropped was still live.
    pub after_torn: u64,
}

impl Client {
    /// Clients that have written nothing.
    pub fn new(seed: u64) -> Self {
        Self {
            chance: Chance::new(seed, "client"),
            sessions: Default::default(),
            after_served: 0,
            after_refused: 0,
            after_torn: 0,
        }
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        drawn::pick(&mut self.chance, choices)
    }

    fn operation(&mut self, deletes: bool) -> Operation {
        let data_type = self.pick(&DataType::ALL);
        let name = self.pick(&NAMES).to_owned();
        let deed = match self.chance.below(40) {
            0 if deletes => Deed::Delete,
            1 if data_type == DataType::PnCounter => Deed::Count(i64::MAX / 3),
            _ => drawn::deed(&mut self.chance, data_type, deletes, 0),
        };
        Operation { name, data_type, deed }
    }
}

/// A name as a path has it.
fn encoded(name: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    name.bytes().map(byte).collect()
}

/// The request that asks for these operations: one alone, or a batch.
pub fn write_request(operations: &[Operation]) -> Request {
    let (path, body) = match operations {
        [Operation { name, data_type, deed: Deed::Delete }] => {
            let path = format!("/v1/data/{}/{}", data_type.name(), encoded(name));
            return Request { method: "DELETE".into(), path, ..Request::default() };
        }
        [Operation { name, data_type, deed }] => {
            (format!("/v1/data/{}/{}", data_type.name(), encoded(name)), Value::Object(deed.to_json()))
        }
        several => {
            let item = |operation: &Operation| {
                let mut item = operation.deed.to_json();
                item.insert("type".into(), operation.data_type.name().into());
                item.insert("key".into(), operation.name.clone().into());
                Value::Object(item)
            };
            ("/v1/batch".to_owned(), several.iter().map(item).collect())
        }
    };
    Request { method: "POST".into(), path, body: body.to_string().into_bytes(), ..Request::default() }
}

/// The request that reads a key.
pub fn read_request(name: &str, data_type: DataType) -> Request {
    let path = format!("/v1/data/{}/{}", data_type.name(), encoded(name));
    Request { method: "GET".into(), path, ..Request::default() }
}

/// A request without parameters or body.
pub fn get_request(path: &str) -> Request {
    Request { method: "GET".into(), path: path.into(), ..Request::default() }
}

/// A header of an answer.
pub fn header<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    response.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
}

impl Cluster<'_> {
    /// Sends one random request to a random awake node.
    pub fn client_acts(&mut self) -> Result<()> {
        let pause_ms = self.pause(self.plan.request_ms);
        self.schedule(pause_ms, Event::Client);
        let awake = self.in_phase(Phase::Awake);
        if awake.is_empty() {
            return Ok(());
        }
        let id = awake[self.client.chance.below(awake.len() as u64) as usize];
        match self.client.chance.below(20) {
            0..12 => self.write_something(id),
            12..16 => self.read_something(id),
            16 | 17 => self.read_own_writes(id),
            18 => self.list_keys(id),
            _ => self.list_members(id),
        }
    }

    fn write_something(&mut self, id: NodeId) -> Result<()> {
        let deletes = self.plan.deletes;
        let count = if self.client.chance.below(5) == 0 { 2 + self.client.chance.below(3) } else { 1 };
        let operations: Vec<Operation> = (0..count).map(|_| self.client.operation(deletes)).collect();
        let mut request = write_request(&operations);
        let at = self.client.chance.below(3) as usize;
        let session = &mut self.client.sessions[at];
        // It did not wait for long.
        session.waits_for = None;
        if !session.token.is_empty() {
            request.headers.push(("Dayfly-Context".into(), session.token.clone()));
        }
        self.tell(|| format!("{} is asked {}", self.node(id).name, String::from_utf8_lossy(&request.body)));
        let (response, write) = self.operate(id, &request, &operations)?;
        let session = &mut self.client.sessions[at];
        if response.status == 400 {
            // The token has too many writers: the client begins anew, as the answer tells it.
            *session = Session::default();
        } else if let Some(after) = response.after {
            let token = header(&response, "dayfly-context").context("an answer to a write has no token")?.to_owned();
            session.waits_for = Some((id, after, token, write));
        }
        Ok(())
    }

    /// The broker has confirmed a frame: the clients whose writes are in it get their answers.
    pub fn answer_clients(&mut self, id: NodeId, frame: FrameId) {
        for session in &mut self.client.sessions {
            match session.waits_for.take() {
                Some((node, after, token, write)) if (node, after) == (id, frame) => {
                    session.token = token;
                    session.writes.extend(write);
                }
                waits_for => session.waits_for = waits_for,
            }
        }
    }

    fn read_something(&mut self, id: NodeId) -> Result<()> {
        let (name, data_type) = (self.client.pick(&NAMES), self.client.pick(&DataType::ALL));
        self.read(id, name, data_type)
    }

    /// Reads a key, and compares it with what it should be.
    pub fn read(&mut self, id: NodeId, name: &str, data_type: DataType) -> Result<()> {
        let response = self.ask(id, &read_request(name, data_type))?;
        match &self.witness {
            Some(witness) => witness.read(id.0, name, data_type, &response),
            None => Ok(()),
        }
    }

    fn read_own_writes(&mut self, id: NodeId) -> Result<()> {
        let (name, data_type) = (self.client.pick(&NAMES), self.client.pick(&DataType::ALL));
        let at = self.client.chance.below(3) as usize;
        let mut request = read_request(name, data_type);
        let token = self.client.sessions[at].token.clone();
        if token.is_empty() {
            return Ok(());
        }
        request.headers.push(("dayfly-after".into(), token));
        let response = self.ask(id, &request)?;
        if response.status == 503 {
            self.client.after_refused += 1;
            // What was written is gone with the only replica that had it, or not yet here.
            if self.client.chance.below(10) == 0 {
                self.client.sessions[at] = Session::default();
            }
            return Ok(());
        }
        self.client.after_served += 1;
        let Some(witness) = &self.witness else { return Ok(()) };
        witness.read(id.0, name, data_type, &response)?;
        let mut torn = 0;
        for write in &self.client.sessions[at].writes {
            let (write, view) = (&witness.history.writes[*write], witness.view(id.0));
            let unseen: Vec<_> = write.own().filter(|dot| !view.has_seen(*dot)).collect();
            let undead: Vec<_> = write.drops.iter().filter(|dot| view.is_live(**dot)).collect();
            if unseen.is_empty() && !undead.is_empty() && !self.is_gentle() {
                torn += 1;
                continue;
            }
            ensure!(
                unseen.is_empty() && undead.is_empty(),
                "node {} answered a request with dayfly-after, but has not seen {unseen:?}, and has {undead:?} live, of {write:?}",
                id.0
            );
        }
        self.client.after_torn += torn;
        Ok(())
    }

    /// Whether no frame was lost or overtaken by another and nobody killed, so that nobody knows a write's dot (from a
    /// later write that dropped it, or from a piece of a repair) before it knows what that write itself dropped.
    fn is_gentle(&self) -> bool {
        let plan = &self.plan;
        let is_orderly = plan.loss == 0 && plan.lateness == 0 && plan.failure == 0 && self.broker.overflowed == 0;
        is_orderly && !plan.kills && !plan.checkpoints && !plan.combines()
    }

    fn list_keys(&mut self, id: NodeId) -> Result<()> {
        let response = self.ask(id, &Request { query: "limit=1000".into(), ..get_request("/v1/keys") })?;
        let Some(witness) = &self.witness else { return Ok(()) };
        let cells = witness.view(id.0).cells();
        let mut keys: Vec<(String, &str)> = cells.map(|cell| (cell.name.to_string(), cell.key_type.name())).collect();
        keys.sort_by_key(|(name, data_type)| (name.clone(), DataType::from_name(data_type)));
        keys.dedup();
        let keys: Vec<Value> =
            keys.into_iter().map(|(name, data_type)| json!({"key": name, "type": data_type})).collect();
        let body: Value = serde_json::from_slice(&response.body).context("the keys are no JSON")?;
        ensure!(body == json!({ "keys": keys }), "the keys are {body}, not {keys:?}");
        Ok(())
    }

    /// Looks at the members that a node shows: each in the state that follows from what it announced.
    fn list_members(&mut self, id: NodeId) -> Result<()> {
        let response = self.ask(id, &get_request("/v1/members"))?;
        let body: Value = serde_json::from_slice(&response.body).context("the members are no JSON")?;
        let now = self.node(id).clock(self.now).0;
        let config = &self.plan.config;
        for member in body["members"].as_array().context("members are an array")? {
            let name = member["name"].as_str().context("a member has a name")?;
            let incarnation = member["incarnation"].as_u64().context("a member has an incarnation")?;
            let until = member["awake_until"].as_u64().context("a member has a lease")?;
            let announced = self.announced.get(&(name.to_owned(), incarnation));
            ensure!(
                announced.is_some_and(|times| times.contains(&until)),
                "{member} is shown, but it announced {announced:?}"
            );
            let state = member["state"].as_str().context("a member has a state")?;
            ensure!(now <= until + config.retention_ms + config.skew_ms, "{member} is shown at {now}: resurrected");
            let is_right = match state {
                "awake" => now <= until + config.skew_ms,
                "dormant" => now > until + config.skew_ms,
                "gone" => self.nodes.iter().any(|node| node.name == name && node.leaves),
                _ => false,
            };
            ensure!(is_right, "{member} is shown at {now}");
        }
        Ok(())
    }
}
