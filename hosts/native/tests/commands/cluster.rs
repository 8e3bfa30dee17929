//! A cluster as far as its client can see: an HTTP server in this process that answers as `wit/http-api.md` says, keeps
//! values in memory, and fails as it is told to.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde_json::{Value, json};

/// How the next request shall fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No fault: this one is answered as it should be.
    None,
    /// 503 `busy`.
    Busy,
    /// 503 `not_yet`.
    NotYet,
    /// 503 `no_replica`: nobody is awake.
    Nobody,
    /// 503 `no_replica`: the replica was lost; nothing was applied.
    LostBefore,
    /// 503 `no_replica`: the replica was lost; what it was sent is applied so many milliseconds later.
    LostLate(u64),
    /// Applied, and then 503 `no_replica`: the replica was lost.
    Lost,
    /// Applied, and then 503 `unconfirmed`.
    Unconfirmed,
    /// The connection is closed; nothing was applied.
    BreakBefore,
    /// Applied, and then the connection is closed.
    BreakAfter,
    /// 400 `bad_context`.
    TokenFull,
    /// 507 `store_full`.
    StoreFull,
    /// No answer for longer than any test waits; nothing is applied.
    Silence,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub line: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// What the cluster holds.
#[derive(Debug, Default)]
pub struct Inside {
    pub data: BTreeMap<(String, String), Value>,
    pub seen: Vec<Seen>,
    /// Taken one by one by each `POST`; when there are none left, there is no fault.
    pub faults: VecDeque<Fault>,
    /// The same for each `GET` of a key.
    pub read_faults: VecDeque<Fault>,
    /// How many operations a batch may hold, if less than 10,000.
    pub most_operations: Option<usize>,
    /// How long each `POST` takes.
    pub delay: Duration,
    /// Whether the replica is still being filled.
    pub incomplete: bool,
    writes: u64,
}

/// A running cluster. It ends with the test's process.
#[derive(Clone, Debug)]
pub struct Cluster {
    address: SocketAddr,
    inside: Arc<Mutex<Inside>>,
}

type Refused = (u16, &'static str, String);

impl Cluster {
    /// Starts one on a free port.
    pub fn start() -> Self {
        let inside = Arc::new(Mutex::new(Inside::default()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        listener.set_nonblocking(true).expect("a socket can be non-blocking");
        let address = listener.local_addr().expect("a bound socket has an address");
        let cluster = Self { address, inside };
        let router = Router::new().fallback(answer).with_state(cluster.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("the socket is non-blocking");
                axum::serve(listener, router).await.expect("serving never ends");
            });
        });
        cluster
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn value(&self, type_name: &str, key: &str) -> Option<Value> {
        self.inside().data.get(&(type_name.to_owned(), key.to_owned())).cloned()
    }

    /// The faults of the next readings of keys.
    pub fn fail_reads(&self, faults: impl IntoIterator<Item = Fault>) {
        self.inside().read_faults.extend(faults);
    }

    /// The readings of keys that came.
    pub fn reads(&self) -> Vec<Seen> {
        self.inside().seen.iter().filter(|seen| seen.line.starts_with("GET /v1/data/")).cloned().collect()
    }

    /// The faults of the next writes.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.inside().faults.extend(faults);
    }

    /// The batches that came, as lists of operations.
    pub fn batches(&self) -> Vec<Seen> {
        self.inside().seen.iter().filter(|seen| seen.line == "POST /v1/batch").cloned().collect()
    }
}

async fn answer(State(cluster): State<Cluster>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 2 << 20).await.expect("no test sends more");
    let body = String::from_utf8(body.to_vec()).expect("the client sends UTF-8");
    let path = parts.uri.path().strip_prefix("/replicas/r1").unwrap_or(parts.uri.path()).to_owned();
    let line = format!("{} {}", parts.method, parts.uri);
    let (fault, delay) = {
        let mut inside = cluster.inside();
        inside.seen.push(Seen { line, headers: parts.headers.clone(), body: body.clone() });
        let fault = match parts.method.as_str() {
            "POST" => inside.faults.pop_front(),
            _ if path.starts_with("/v1/data/") => inside.read_faults.pop_front(),
            _ => None,
        };
        (fault.unwrap_or(Fault::None), inside.delay)
    };
    if parts.method == "POST" {
        tokio::time::sleep(delay).await;
    }
    let refuse = |status, code, message: &str| Err((status, code, message.to_owned()));
    const LOST: &str = "the replica ended while it answered: a write may or may not have been applied";
    let mut inside = cluster.inside();
    let result = match fault {
        Fault::Busy => refuse(503, "busy", "the broker does not keep up"),
        Fault::NotYet => refuse(503, "not_yet", "this replica has not seen that much"),
        Fault::Nobody => refuse(503, "no_replica", "nobody is awake"),
        Fault::LostBefore => refuse(503, "no_replica", LOST),
        Fault::LostLate(after) => {
            let (cluster, method) = (cluster.clone(), parts.method.to_string());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(after)).await;
                cluster.inside().answer(&method, &path, "", &body).expect("the late write is good");
            });
            refuse(503, "no_replica", LOST)
        }
        Fault::TokenFull => refuse(400, "bad_context", "more than 16 writers"),
        Fault::StoreFull => refuse(507, "store_full", "operation 0: the store is full"),
        // Unwinding out of a handler closes the connection; this way nothing is printed.
        Fault::BreakBefore => std::panic::resume_unwind(Box::new(())),
        Fault::Silence => {
            drop(inside);
            tokio::time::sleep(Duration::from_secs(600)).await;
            return Response::new(Body::empty());
        }
        Fault::None | Fault::Lost | Fault::Unconfirmed | Fault::BreakAfter => {
            let query = parts.uri.query().unwrap_or_default();
            let result = inside.answer(parts.method.as_str(), &path, query, &body);
            match fault {
                Fault::Lost => refuse(503, "no_replica", LOST),
                Fault::Unconfirmed => refuse(503, "unconfirmed", "the broker did not confirm in time"),
                Fault::BreakAfter => std::panic::resume_unwind(Box::new(())),
                _ => result,
            }
        }
    };
    let mut response = Response::builder().header("dayfly-replica", "r1");
    if inside.incomplete {
        response = response.header("dayfly-complete", "false");
    }
    let body = match result {
        Ok(body) => {
            if parts.method != "GET" {
                inside.writes += 1;
                let joined = parts.headers.get("dayfly-context").and_then(|value| value.to_str().ok());
                let token =
                    format!("{}w{}", joined.map_or_else(String::new, |token| format!("{token}.")), inside.writes);
                response = response.header("dayfly-context", token);
            }
            response = response.status(if body.is_null() { 204 } else { 200 });
            if body.is_null() { String::new() } else { body.to_string() }
        }
        Err((status, code, message)) => {
            response = response.status(status);
            // As the hosts do: what may have been applied is not to be repeated.
            let in_doubt = [Fault::Lost, Fault::LostBefore, Fault::Unconfirmed].contains(&fault);
            if status == 503 && !in_doubt && !matches!(fault, Fault::LostLate(_)) {
                response = response.header("retry-after", "1");
            }
            json!({"error": {"code": code, "message": message}}).to_string()
        }
    };
    response.body(Body::from(body)).expect("the parts above are well formed")
}

impl Inside {
    /// Answers a request; null is 204.
    fn answer(&mut self, method: &str, path: &str, query: &str, body: &str) -> Result<Value, Refused> {
        let parameter = |name: &str| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find(|(key, _)| *key == name)
                .map(|(_, v)| decoded(v))
        };
        match (method, path.split('/').skip(1).collect::<Vec<_>>().as_slice()) {
            ("GET", ["v1", "data", type_name, key]) => {
                let key = (decoded(type_name), decoded(key));
                let value = self.data.get(&key).ok_or((404, "no_such_key", format!("there is no {}", key.1)))?;
                Ok(json!({"key": key.1, "type": key.0, "value": value}))
            }
            ("POST", ["v1", "data", type_name, key]) => {
                let key = (decoded(type_name), decoded(key));
                let operation = serde_json::from_str(body).map_err(|e| (400, "bad_json", e.to_string()))?;
                let value = applied(self.data.get(&key), &key.0, &operation)?;
                self.data.insert(key.clone(), value.clone());
                Ok(json!({"key": key.1, "type": key.0, "value": value}))
            }
            ("DELETE", ["v1", "data", type_name, key]) => {
                self.data.remove(&(decoded(type_name), decoded(key)));
                Ok(Value::Null)
            }
            ("POST", ["v1", "batch"]) => self.batch(body),
            ("GET", ["v1", "keys"]) => {
                let limit: usize = parameter("limit").map_or(100, |limit| limit.parse().expect("a number"));
                let (prefix, after) = (parameter("prefix").unwrap_or_default(), parameter("after").unwrap_or_default());
                assert!((1..=1000).contains(&limit), "the client keeps to the bounds");
                let mut keys: Vec<_> = self.data.keys().map(|(type_name, key)| (key, type_name)).collect();
                keys.sort();
                keys.retain(|(key, type_name)| key.starts_with(&prefix) && format!("{key}/{type_name}") > after);
                let more = keys.len() > limit;
                keys.truncate(limit);
                let next = keys.last().filter(|_| more).map(|(key, type_name)| format!("{key}/{type_name}"));
                let rows: Vec<_> = keys.iter().map(|(key, type_name)| json!({"key": key, "type": type_name})).collect();
                let mut whole = json!({"keys": rows});
                if let Some(next) = next {
                    whole["next"] = Value::from(next);
                }
                Ok(whole)
            }
            ("GET", ["v1", "members"]) => {
                let row = |name: &str, state: &str, awake_until: u64| {
                    json!({"name": name, "state": state, "host": "native", "region": "eu", "zone": "a",
                           "awake_until": awake_until, "incarnation": 7})
                };
                Ok(match parameter("after").as_deref() {
                    None => json!({"members": [row("r1", "awake", 4_000_000_000_000)], "next": "r1"}),
                    Some(_) => json!({"members": [row("r2", "gone", 86_400_000)]}),
                })
            }
            ("GET", ["v1", "status"]) => Ok(json!({"name": "r1", "cluster": "test", "root": "00ff",
                "entries": self.data.len(), "complete": true, "repair": {"sessions": 0}})),
            _ => Err((404, "no_such_path", format!("there is no {path}"))),
        }
    }

    /// All or none.
    fn batch(&mut self, body: &str) -> Result<Value, Refused> {
        let operations: Vec<Value> = serde_json::from_str(body).map_err(|e| (400, "bad_json", e.to_string()))?;
        let most = self.most_operations.unwrap_or(10_000);
        if operations.len() > most {
            return Err((413, "batch_too_large", format!("at most {most} operations")));
        }
        assert!(!operations.is_empty(), "no empty batch is sent");
        let mut data = self.data.clone();
        for (index, operation) in operations.iter().enumerate() {
            let mut operation = operation.as_object().expect("the client checks that").clone();
            let member = |value: Option<Value>| value.and_then(|v| v.as_str().map(str::to_owned)).expect("checked");
            let key = (member(operation.remove("type")), member(operation.remove("key")));
            if operation.contains_key("delete") {
                data.remove(&key);
                continue;
            }
            let value = applied(data.get(&key), &key.0, &Value::Object(operation))
                .map_err(|(status, code, message)| (status, code, format!("operation {index}: {message}")))?;
            data.insert(key, value);
        }
        self.data = data;
        Ok(json!({"applied": operations.len()}))
    }
}

/// The value after an operation.
fn applied(value: Option<&Value>, type_name: &str, operation: &Value) -> Result<Value, Refused> {
    let (verb, argument) = match operation.as_object().map(|members| members.iter().collect::<Vec<_>>()).as_deref() {
        Some([(verb, argument)]) => (verb.as_str(), *argument),
        _ => return Err((400, "bad_request", "exactly one operation".to_owned())),
    };
    let bad_value = || (422, "bad_value", format!("not a value for {verb}"));
    let elements = || argument.as_array().cloned().ok_or_else(bad_value);
    let held = || value.and_then(Value::as_array).cloned().unwrap_or_default();
    let count = |sign: i64| {
        let by = argument.as_i64().filter(|by| *by >= 0).ok_or_else(bad_value)?;
        Ok(Value::from(value.and_then(Value::as_i64).unwrap_or(0) + sign * by))
    };
    match (type_name, verb) {
        ("gcounter" | "pncounter", "increment") => count(1),
        ("pncounter", "decrement") => count(-1),
        ("gset" | "orset", "add") => {
            let mut all = held();
            all.extend(elements()?.into_iter().filter(|element| !held().contains(element)));
            all.sort_by_key(Value::to_string);
            Ok(Value::from(all))
        }
        ("orset", "remove") => {
            let removed = elements()?;
            Ok(Value::from(held().into_iter().filter(|element| !removed.contains(element)).collect::<Vec<_>>()))
        }
        ("lwwregister", "set") => Ok(argument.clone()),
        ("maxregister", "set") => {
            let set = argument.as_u64().ok_or_else(bad_value)?;
            Ok(Value::from(value.and_then(Value::as_u64).map_or(set, |held| held.max(set))))
        }
        ("ewflag", "enable") => Ok(Value::from(true)),
        ("map", "update") => Ok(argument.clone()),
        ("gcounter" | "pncounter" | "gset" | "orset" | "lwwregister" | "maxregister" | "ewflag" | "map", _) => {
            Err((422, "wrong_operation", format!("a {type_name} has no {verb}")))
        }
        _ => Err((400, "unknown_type", format!("there is no type {type_name}"))),
    }
}

/// A percent-encoded text, decoded.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits: String = rest.by_ref().take(2).map(char::from).collect();
            bytes.push(u8::from_str_radix(&digits, 16).expect("two hexadecimal digits"));
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).expect("the client sends UTF-8")
}
