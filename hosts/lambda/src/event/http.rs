//! Requests of HTTP, in the two forms in which Lambda gets them: payload 2.0 (function URLs, HTTP APIs) and payload 1.0
//! (REST APIs, and HTTP APIs that ask for it).
//!
//! Function URLs and REST APIs give the path as it was sent; HTTP APIs give it decoded, so a slash within a key cannot
//! be told from one between parts of the path. What can stand in no path is encoded here, whoever decoded it.

use std::collections::BTreeMap;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dayfly_engine::contract::Request;
use serde::Deserialize;
use serde_json::Value;

use super::{Unknown, unknown};

/// What all paths of the API begin with.
const ROOT: &str = "/v1/";
/// Stands in the domain of every function URL.
const FUNCTION_URL: &str = ".lambda-url.";

/// Both forms: each has a part of the fields.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    /// Of HTTP APIs and function URLs; events of REST APIs have none.
    version: Option<String>,
    raw_path: Option<String>,
    raw_query_string: Option<String>,
    path: Option<String>,
    http_method: Option<String>,
    headers: Option<BTreeMap<String, String>>,
    multi_value_headers: Option<BTreeMap<String, Vec<String>>>,
    query_string_parameters: Option<BTreeMap<String, String>>,
    multi_value_query_string_parameters: Option<BTreeMap<String, Vec<String>>>,
    request_context: Option<Context>,
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Context {
    stage: Option<String>,
    domain_name: Option<String>,
    http: Option<Http>,
}

#[derive(Deserialize)]
struct Http {
    method: String,
}

pub(super) fn read(event: Value) -> Result<Request, Unknown> {
    let payload: Payload =
        serde_json::from_value(event).map_err(|error| unknown(format!("a request of HTTP is broken: {error}")))?;
    let missing = |name: &str| unknown(format!("a request of HTTP has no `{name}`"));
    let context = payload.request_context.unwrap_or_default();
    let is_function_url = context.domain_name.is_some_and(|name| name.contains(FUNCTION_URL));
    let is_decoded = payload.version.is_some() && !is_function_url;
    let (method, path, query) = match context.http {
        Some(http) => {
            let path = payload.raw_path.ok_or_else(|| missing("rawPath"))?;
            // The one field of the query that keeps what was sent.
            (http.method, path, payload.raw_query_string.unwrap_or_default())
        }
        None => {
            let method = payload.http_method.ok_or_else(|| missing("httpMethod"))?;
            let path = payload.path.ok_or_else(|| missing("path"))?;
            let query = match payload.multi_value_query_string_parameters {
                Some(parameters) => query_of(parameters),
                None => query_of(single(payload.query_string_parameters)),
            };
            (method, path, query)
        }
    };
    let headers = payload.multi_value_headers.unwrap_or_else(|| single(payload.headers));
    let headers =
        headers.into_iter().flat_map(|(name, values)| values.into_iter().map(move |value| (name.clone(), value)));
    let body = payload.body.unwrap_or_default();
    let body = match payload.is_base64_encoded {
        true => STANDARD.decode(body).map_err(|error| unknown(format!("the body is not in base64: {error}")))?,
        false => body.into_bytes(),
    };
    let path = encoded(below_root(&path, context.stage.as_deref()), is_decoded);
    Ok(Request { method, path, query, headers: headers.collect(), body })
}

fn single(values: Option<BTreeMap<String, String>>) -> BTreeMap<String, Vec<String>> {
    values.unwrap_or_default().into_iter().map(|(name, value)| (name, vec![value])).collect()
}

/// The path without what the gateway put before the API's own: the stage, or the base path of a domain.
fn below_root<'a>(path: &'a str, stage: Option<&str>) -> &'a str {
    let below_stage = || path.strip_prefix('/')?.strip_prefix(stage?).filter(|rest| rest.starts_with(ROOT));
    if let Some(rest) = below_stage() {
        return rest;
    }
    match path.find(ROOT) {
        // A key may hold what looks like the root: only what comes before the first is not ours.
        Some(at) => &path[at..],
        None => path,
    }
}

/// Encodes what cannot stand in a path, and leaves what is encoded. A stray `%` is one that was encoded before if the
/// path `is_decoded`; else it is the client's mistake, and told by the API.
fn encoded(path: &str, is_decoded: bool) -> String {
    let bytes = path.as_bytes();
    let mut out = String::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        let is_escape =
            || !is_decoded || bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let stands = is_unreserved(*byte) || b"/!$&'()*+,;=:@".contains(byte) || (*byte == b'%' && is_escape());
        push(&mut out, *byte, stands);
    }
    out
}

/// A query of parameters that the gateway has decoded.
fn query_of(parameters: BTreeMap<String, Vec<String>>) -> String {
    let mut query = String::new();
    for (name, values) in parameters {
        for value in values {
            if !query.is_empty() {
                query.push('&');
            }
            name.bytes().for_each(|byte| push(&mut query, byte, is_unreserved(byte)));
            query.push('=');
            value.bytes().for_each(|byte| push(&mut query, byte, is_unreserved(byte)));
        }
    }
    query
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn push(out: &mut String, byte: u8, stands: bool) {
    if stands {
        out.push(char::from(byte));
    } else if write!(out, "%{byte:02X}").is_err() {
        unreachable!("a string takes all that is written to it");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn header<'a>(request: &'a Request, name: &str) -> Vec<&'a str> {
        request.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect()
    }

    /// As a function URL sends it.
    #[test]
    fn payload_2_gives_path_and_query_as_they_were_sent() {
        let request = read(json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": "/v1/data/orset/a%2Fb%20c%zz",
            "rawQueryString": "prefix=%C3%A9&prefix=a+b",
            "cookies": ["c=1"],
            "headers": {"content-type": "application/json", "dayfly-after": "token"},
            "queryStringParameters": {"prefix": "é,a b"},
            "requestContext": {
                "accountId": "anonymous",
                "apiId": "url-id",
                "domainName": "url-id.lambda-url.us-west-2.on.aws",
                "domainPrefix": "url-id",
                "http": {"method": "POST", "path": "/v1/data/orset/a%2Fb%20c%zz", "protocol": "HTTP/1.1",
                    "sourceIp": "192.0.2.1", "userAgent": "agent"},
                "requestId": "id",
                "routeKey": "$default",
                "stage": "$default",
                "time": "12/Mar/2026:19:03:58 +0000",
                "timeEpoch": 1_773_342_238_000_u64
            },
            "body": "eyJhZGQiOlsieCJdfQ==",
            "isBase64Encoded": true
        }));
        let request = request.expect("it is one");
        assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/v1/data/orset/a%2Fb%20c%zz"));
        assert_eq!(request.query, "prefix=%C3%A9&prefix=a+b");
        assert_eq!(request.body, br#"{"add":["x"]}"#);
        assert_eq!(header(&request, "dayfly-after"), ["token"]);
    }

    fn payload_2(path: &str, stage: &str) -> String {
        let context =
            json!({"stage": stage, "domainName": "id.execute-api.eu-north-1.amazonaws.com", "http": {"method": "GET"}});
        let event = json!({"version": "2.0", "rawPath": path, "requestContext": context});
        read(event).expect("it is one").path
    }

    /// As an HTTP API sends it.
    #[test]
    fn what_the_gateway_puts_before_the_path_is_taken_off_and_what_it_decoded_is_encoded() {
        assert_eq!(payload_2("/prod/v1/keys", "prod"), "/v1/keys");
        assert_eq!(payload_2("/v1/v1/keys", "v1"), "/v1/keys");
        assert_eq!(payload_2("/v1/keys", "v1"), "/v1/keys");
        assert_eq!(payload_2("/base/path/v1/data/gset/v1", "$default"), "/v1/data/gset/v1");
        assert_eq!(payload_2("/v1/data/gset/a/v1/b", "$default"), "/v1/data/gset/a/v1/b");
        assert_eq!(payload_2("/other", "prod"), "/other");
        assert_eq!(payload_2("/v1/data/gset/a b?ü#%x%41", "$default"), "/v1/data/gset/a%20b%3F%C3%BC%23%25x%41");
    }

    /// As a REST API with proxy integration sends it.
    #[test]
    fn payload_1_gives_parameters_that_are_encoded_anew() {
        let request = read(json!({
            "resource": "/{proxy+}",
            "path": "/v1/keys",
            "httpMethod": "GET",
            "headers": {"Accept": "b", "Host": "id.execute-api.us-east-1.amazonaws.com"},
            "multiValueHeaders": {"Accept": ["a", "b"], "Host": ["id.execute-api.us-east-1.amazonaws.com"]},
            "queryStringParameters": {"prefix": "a&b=é", "limit": "10"},
            "multiValueQueryStringParameters": {"prefix": ["x y", "a&b=é"], "limit": ["10"]},
            "pathParameters": {"proxy": "v1/keys"},
            "stageVariables": null,
            "requestContext": {
                "accountId": "123456789012",
                "apiId": "id",
                "httpMethod": "GET",
                "path": "/prod/v1/keys",
                "protocol": "HTTP/1.1",
                "requestId": "id",
                "resourcePath": "/{proxy+}",
                "stage": "prod"
            },
            "body": null,
            "isBase64Encoded": false
        }));
        let request = request.expect("it is one");
        assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/v1/keys"));
        assert_eq!(request.query, "limit=10&prefix=x%20y&prefix=a%26b%3D%C3%A9");
        assert_eq!(header(&request, "Accept"), ["a", "b"]);
        assert!(request.body.is_empty());
    }

    #[test]
    fn payload_1_does_without_what_may_be_absent() {
        let event = json!({"httpMethod": "GET", "path": "/v1/status", "queryStringParameters": {"a": "1"},
            "headers": {"h": "v"}, "multiValueHeaders": null});
        let request = read(event).expect("it is one");
        assert_eq!((request.query.as_str(), header(&request, "h")), ("a=1", vec!["v"]));
    }

    #[test]
    fn a_broken_request_says_what_is_wrong() {
        let reason = |event| read(event).expect_err("it is broken").reason;
        assert!(reason(json!({"requestContext": {"http": {"method": "GET"}}})).contains("rawPath"));
        assert!(reason(json!({"httpMethod": "GET"})).contains("`path`"));
        assert!(reason(json!({"httpMethod": 1, "path": "/"})).contains("invalid type"));
        let event = json!({"httpMethod": "POST", "path": "/", "body": "?", "isBase64Encoded": true});
        assert!(reason(event).contains("base64"));
    }
}
