//! Answers in the form in which function URLs and the API Gateway take them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dayfly_engine::contract::Response;
use serde_json::{Map, Value, json};

/// An answer of Lambda holds at most 6 MiB of JSON; some of it is not body.
const ANSWER_BYTES_MAX: usize = (6 << 20) - (64 << 10);

/// A replica's answer.
pub fn of(response: Response) -> Value {
    let status = response.status;
    // Names that come several times are lists, in HTTP as well.
    let mut headers: Map<String, Value> = Map::new();
    for (name, value) in response.headers {
        match headers.get_mut(&name) {
            Some(Value::String(former)) => {
                former.push_str(", ");
                former.push_str(&value);
            }
            _ => {
                headers.insert(name, Value::String(value));
            }
        }
    }
    let (body, encoded) = match String::from_utf8(response.body) {
        Ok(text) => (text, false),
        Err(error) => (STANDARD.encode(error.into_bytes()), true),
    };
    let answer = json!({ "statusCode": status, "headers": headers, "body": body, "isBase64Encoded": encoded });
    // Bytes of the body can only become more in JSON, so most answers need not be measured.
    if body.len() > ANSWER_BYTES_MAX / 6 && answer.to_string().len() > ANSWER_BYTES_MAX {
        return error(
            507,
            "answer_too_large",
            "Lambda gives no answers of more than 6 MiB: ask for less at once",
            None,
        );
    }
    answer
}

/// An answer of the host itself: JSON.
pub fn json(status: u16, body: &Value) -> Value {
    let headers = json!({ "content-type": "application/json" });
    json!({ "statusCode": status, "headers": headers, "body": body.to_string(), "isBase64Encoded": false })
}

/// An error of the host, in the form of the API's errors (wit/http-api.md), with a header if there is one.
pub fn error(status: u16, code: &str, message: &str, header: Option<(&str, &str)>) -> Value {
    let mut answer = json(status, &json!({ "error": { "code": code, "message": message } }));
    if let Some((name, value)) = header {
        answer["headers"][name] = value.into();
    }
    answer
}

#[cfg(test)]
mod tests {
    use dayfly_engine::contract::Effects;

    use super::*;

    fn response(headers: &[(&str, &str)], body: Vec<u8>) -> Response {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (frames, next_tick) = (Vec::new(), None);
        let (serve_anyone, quiet, started_anew, replay, done_with) = (false, false, false, false, 0);
        let effects = Effects { frames, next_tick, serve_anyone, quiet, started_anew, replay, done_with };
        Response { status: 200, headers, body, after: None, effects }
    }

    #[test]
    fn text_goes_as_it_is_and_bytes_in_base64() {
        let answer = of(response(&[("a", "1"), ("b", "2"), ("a", "3")], "é".into()));
        let headers = json!({"a": "1, 3", "b": "2"});
        assert_eq!(answer, json!({"statusCode": 200, "headers": headers, "body": "é", "isBase64Encoded": false}));
        let answer = of(response(&[], vec![0xff, 0]));
        assert_eq!((&answer["body"], &answer["isBase64Encoded"]), (&json!("/wA="), &json!(true)));
    }

    #[test]
    fn what_lambda_would_not_deliver_becomes_an_error() {
        assert_eq!(of(response(&[], vec![b'x'; 5 << 20]))["statusCode"], 200);
        // Each of these takes six bytes in JSON.
        assert_eq!(of(response(&[], vec![1; 2 << 20]))["statusCode"], 507);
    }
}
