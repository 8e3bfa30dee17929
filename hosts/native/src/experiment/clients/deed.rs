//! What clients do: their requests, and what they make of the answers.

use std::collections::BTreeSet;

use dayfly_engine::Chance;
use dayfly_engine::contract::Request;
use serde::Deserialize;
use serde_json::{Value, json};

use super::template::Filling;
use super::zipf::Zipf;
use super::{Client, Clients, Then, Wanted};
use crate::experiment::moment::Moment;
use crate::experiment::scenario::{Ask, Does, Retwis};

/// So many timelines at most are written by one request: all of a batch has to fit one frame.
const TIMELINES_MAX: usize = 400;

impl Clients {
    /// A client's deed now: what it asks for.
    pub fn deed(&mut self, client: usize) -> Vec<Wanted> {
        let index = client;
        let size = self.sizes[self.clients[index].group];
        let client = &mut self.clients[index];
        let wanted = |request, then| vec![Wanted { client: index, request, then }];
        let wanted = match &self.scenario.clients[client.group].does {
            Does::Requests(asks) => wanted(plain(asks, client), Then::Nothing),
            Does::Advertise { .. } => wanted(read("orset", "advertisements"), Then::Show),
            Does::TakeDown { .. } => wanted(read("orset", "advertisements"), Then::LookAt),
            Does::ChangeMap { keys, percent } => {
                let request = change_map(client, size, *keys, *percent);
                request.map_or_else(Vec::new, |request| wanted(request, Then::Nothing))
            }
            Does::Retwis(retwis) => {
                let zipf = &self.zipfs[&client.group];
                let (request, then) = retwis_deed(retwis, zipf, client.deeds, &mut client.chance);
                wanted(request, then)
            }
            Does::Fill { entries, bytes, batch } => {
                let request = fill(client, *entries, *bytes, *batch);
                request.map_or_else(Vec::new, |request| wanted(request, Then::Nothing))
            }
        };
        self.clients[index].deeds += 1;
        wanted
    }

    /// What a client asks for next, once it has an answer with such a body. What was not found is empty.
    pub fn follow_up(&mut self, client: usize, then: Then, found: bool, body: &[u8], now: Moment) -> Vec<Wanted> {
        let index = client;
        let group = self.clients[index].group;
        let client = &mut self.clients[index];
        let does = &self.scenario.clients[group].does;
        let texts = || if found { texts(body) } else { Vec::new() };
        let wanted = |request| Wanted { client: index, request, then: Then::Nothing };
        match then {
            Then::Nothing => Vec::new(),
            Then::Show => {
                let left = texts();
                let Some(chosen) = pick(&left, &mut client.chance) else { return Vec::new() };
                vec![wanted(write("gcounter", &format!("shown-{chosen}"), &json!({ "increment": 1 })))]
            }
            Then::LookAt => {
                let judge = |advertisement: String| Wanted {
                    client: index,
                    request: read("gcounter", &format!("shown-{advertisement}")),
                    then: Then::Judge { advertisement },
                };
                texts().into_iter().map(judge).collect()
            }
            Then::Judge { advertisement } => {
                let count = if found { number(body) } else { 0 };
                let Does::TakeDown { shown_per_replica, .. } = does else { return Vec::new() };
                if count < self.scenario.shown(*shown_per_replica) {
                    return Vec::new();
                }
                vec![wanted(write("orset", "advertisements", &json!({ "remove": [advertisement] })))]
            }
            Then::Post { user, deed } => {
                let Does::Retwis(retwis) = does else { return Vec::new() };
                let id = post_id(retwis, client.number, deed);
                post(retwis, user, &id, &texts(), now).into_iter().map(wanted).collect()
            }
        }
    }
}

fn pick<'a>(texts: &'a [String], chance: &mut Chance) -> Option<&'a String> {
    (!texts.is_empty()).then(|| &texts[chance.below(texts.len() as u64) as usize])
}

// Requests.

fn read(kind: &str, key: &str) -> Request {
    crate::experiment::node::get(&format!("/v1/data/{kind}/{}", encoded(key)))
}

/// A write whose answer need not tell the new value: to sum a counter of a thousand writers takes its time.
fn write(kind: &str, key: &str, operation: &Value) -> Request {
    Request {
        method: "POST".to_owned(),
        headers: vec![("prefer".to_owned(), "return=minimal".to_owned())],
        body: operation.to_string().into_bytes(),
        ..read(kind, key)
    }
}

fn batch(operations: &[Value]) -> Request {
    Request {
        method: "POST".to_owned(),
        path: "/v1/batch".to_owned(),
        body: Value::from(operations).to_string().into_bytes(),
        ..crate::experiment::node::get("")
    }
}

/// A key as it stands in a path.
fn encoded(key: &str) -> String {
    let mut path = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

// Answers.

#[derive(Deserialize)]
struct OfTexts {
    value: Vec<String>,
}

#[derive(Deserialize)]
struct OfNumber {
    value: u64,
}

/// The texts in a set. An answer of another form has none: the component answers as its API says.
fn texts(body: &[u8]) -> Vec<String> {
    serde_json::from_slice(body).map_or_else(|_| Vec::new(), |OfTexts { value }| value)
}

/// The value of a counter.
pub fn number(body: &[u8]) -> u64 {
    serde_json::from_slice(body).map_or(0, |OfNumber { value }| value)
}

// Deeds.

fn plain(asks: &[Ask], client: &mut Client) -> Request {
    let whole: f64 = asks.iter().map(|ask| ask.weight).sum();
    let mut at = client.chance.next_f64() * whole;
    let chosen = asks.iter().find(|ask| {
        at -= ask.weight;
        at < 0.0
    });
    let ask = chosen.or(asks.last()).expect("a scenario is checked to have at least one");
    let mut filling = Filling { client: client.number, deed: client.deeds, chance: &mut client.chance };
    let key = filling.text(&ask.key);
    match &ask.operation {
        None => read(&ask.kind, &key),
        Some(operation) => {
            let members = operation.iter().map(|(name, value)| (name.clone(), filling.value(value)));
            write(&ask.kind, &key, &Value::Object(members.collect()))
        }
    }
}

/// None, if the client has no keys.
fn change_map(client: &mut Client, clients: u64, keys: u32, percent: f64) -> Option<Request> {
    let mut own: Vec<u64> = (client.number..u64::from(keys)).step_by(clients as usize).collect();
    let count = ((own.len() as f64 * percent / 100.0).round() as usize).clamp(own.len().min(1), own.len());
    let mut fields = serde_json::Map::new();
    for at in 0..count {
        let other = at + client.chance.below((own.len() - at) as u64) as usize;
        own.swap(at, other);
        fields.insert(format!("k{}", own[at]), json!({ "type": "maxregister", "set": client.deeds + 1 }));
    }
    (count > 0).then(|| write("map", "map", &json!({ "update": fields })))
}

fn retwis_deed(retwis: &Retwis, zipf: &Zipf, deed: u64, chance: &mut Chance) -> (Request, Then) {
    let of_hundred = chance.next_f64() * 100.0;
    let user = zipf.draw(chance);
    if of_hundred < retwis.follow {
        let follower = zipf.draw(chance);
        let request = write("gset", &format!("followers-{user}"), &json!({ "add": [follower.to_string()] }));
        (request, Then::Nothing)
    } else if of_hundred < retwis.follow + retwis.post {
        (read("gset", &format!("followers-{user}")), Then::Post { user, deed })
    } else {
        (read("map", &format!("timeline-{user}")), Then::Nothing)
    }
}

/// An id of its length, that no other post has.
fn post_id(retwis: &Retwis, client: u64, deed: u64) -> String {
    format!("{client:08x}{deed:012x}{}", "-".repeat(retwis.id_bytes.saturating_sub(20) as usize))
}

/// The post goes to the wall of its author, and its id to the timelines of the followers.
fn post(retwis: &Retwis, user: u32, id: &str, followers: &[String], now: Moment) -> Vec<Request> {
    let text = "x".repeat(retwis.post_bytes as usize);
    let on_wall = json!({ (id): { "type": "lwwregister", "set": text } });
    let mut operations = vec![json!({ "type": "map", "key": format!("wall-{user}"), "update": on_wall })];
    let mut requests = Vec::new();
    let at = format!("{:013}", now.wall_ms());
    let followers: BTreeSet<&String> = followers.iter().collect();
    for follower in followers {
        if operations.len() > TIMELINES_MAX {
            requests.push(batch(&std::mem::take(&mut operations)));
        }
        let field = json!({ (&at): { "type": "lwwregister", "set": id } });
        operations.push(json!({ "type": "map", "key": format!("timeline-{follower}"), "update": field }));
    }
    requests.push(batch(&operations));
    requests
}

/// None, if all is written.
fn fill(client: &mut Client, entries: u32, bytes: u32, batch_size: u32) -> Option<Request> {
    let from = client.deeds * u64::from(batch_size);
    let to = (from + u64::from(batch_size)).min(entries.into());
    let mut operations = Vec::new();
    for number in from..to {
        let mut text = String::new();
        while text.len() < bytes as usize {
            text.push_str(&format!("{:016x}", client.chance.next_u64()));
        }
        text.truncate(bytes as usize);
        let key = format!("fill-{}-{number}", client.number);
        operations.push(json!({ "type": "lwwregister", "key": key, "set": text }));
    }
    (!operations.is_empty()).then(|| batch(&operations))
}
