//! The Invoke API of AWS Lambda.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::{Request, Uri};

use super::call::{ANSWER_BYTES_MAX, Answer, Kind, Trouble};
use super::credentials::Credentials;
use super::signature;
use crate::client::text::excerpt;

/// How much of what AWS or a function says is shown, in characters.
const SAID_CHARS: usize = 300;

/// Invokes a function with a wake of so many seconds, and waits for its answer.
pub fn invoke(
    agent: &Agent,
    endpoint: Option<&str>,
    function: &str,
    region: &str,
    seconds: u64,
) -> Result<Answer, Trouble> {
    let credentials = match Credentials::find() {
        Ok(Some(credentials)) => credentials,
        // Emulators look at no signature, and their users need none.
        Ok(None) | Err(_) if endpoint.is_some() => Credentials::of_nobody(),
        Ok(None) => {
            let message = "there are no AWS credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or \
                           AWS_PROFILE to a profile in ~/.aws/credentials";
            return Err(Trouble::new(Kind::Refused, message));
        }
        Err(reason) => return Err(Trouble::new(Kind::Refused, reason)),
    };
    let base = endpoint.map_or_else(|| of_aws(region), str::to_owned);
    let body = json!({ "wake": { "seconds": seconds } }).to_string();
    let wrong = |what: &dyn std::fmt::Display| Trouble::new(Kind::Refused, format!("{base}: {what}"));
    // The colons of a version or an ARN are encoded.
    let path = format!("/2015-03-31/functions/{}/invocations", function.replace(':', "%3A").replace('$', "%24"));
    let uri: Uri = format!("{base}{path}").parse().map_err(|error| wrong(&error))?;
    let host = uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let to_sign = signature::Request {
        method: "POST",
        host: &host,
        path: uri.path(),
        body: body.as_bytes(),
        region,
        service: "lambda",
        now_s,
    };
    let mut request = Request::builder().method("POST").uri(&uri).header("content-type", "application/json");
    request = request.header("x-amz-invocation-type", "RequestResponse");
    for (name, value) in signature::sign(to_sign, &credentials) {
        request = request.header(name, value);
    }
    let request = request.body(body).map_err(|error| wrong(&error))?;
    let mut response = agent.run(request).map_err(|error| Trouble::of_transport(&error))?;
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let failed = header("x-amz-function-error");
    let error_type = header("x-amzn-errortype");
    let retry_after = header("retry-after").and_then(|value| value.parse().ok()).map(Duration::from_secs);
    let status = response.status().as_u16();
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
    let body = body.map_err(|error| Trouble::new(Kind::Silent, format!("the answer broke off: {error}")))?;
    let body = String::from_utf8_lossy(&body);
    match (status, failed) {
        (200, None) => serde_json::from_str(&body).map_err(|_| {
            let said = excerpt(body.trim(), SAID_CHARS);
            Trouble::new(Kind::Foreign, format!("{function} does not answer a wake as Dayfly does: {said}"))
        }),
        (200, Some(_)) => Err(Trouble::new(Kind::Function, format!("{function} failed: {}", function_error(&body)))),
        _ => Err(Trouble { retry_after, ..refusal(function, region, status, error_type.as_deref(), &body) }),
    }
}

/// Where AWS's Lambda of a region is.
fn of_aws(region: &str) -> String {
    let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    format!("https://lambda.{region}.{domain}")
}

/// What a function that failed says.
fn function_error(body: &str) -> String {
    let parsed: Value = serde_json::from_str(body).unwrap_or_default();
    let member = |name: &str| parsed[name].as_str().map(|text| excerpt(text, SAID_CHARS));
    match (member("errorType"), member("errorMessage")) {
        (Some(kind), Some(message)) => format!("{kind}: {message}"),
        (_, Some(message)) => message,
        (_, None) => excerpt(body.trim(), SAID_CHARS),
    }
}

/// What AWS means by an error.
fn refusal(function: &str, region: &str, status: u16, error_type: Option<&str>, body: &str) -> Trouble {
    let parsed: Value = serde_json::from_str(body).unwrap_or_default();
    let said = ["message", "Message"].iter().find_map(|name| parsed[*name].as_str());
    let said = excerpt(said.unwrap_or(body.trim()), SAID_CHARS);
    // The header may go on with the address of a description.
    let name = error_type.or(parsed["__type"].as_str()).unwrap_or_default();
    let name = name.split(':').next().unwrap_or_default().rsplit('#').next().unwrap_or_default();
    let trouble = |kind, message: String| Trouble::new(kind, message);
    match (status, name) {
        (429, _) => {
            let reason = parsed["Reason"].as_str().map(|reason| format!(" ({})", excerpt(reason, 100)));
            trouble(Kind::Throttled, format!("throttled{}: {said}", reason.unwrap_or_default()))
        }
        (404, _) => trouble(Kind::Refused, format!("there is no function {function} in {region}: {said}")),
        (_, "AccessDeniedException") => trouble(
            Kind::Refused,
            format!(
                "these credentials may not invoke {function}: they need the IAM action lambda:InvokeFunction: {said}"
            ),
        ),
        (_, "ExpiredTokenException" | "UnrecognizedClientException" | "InvalidSignatureException")
        | (_, "MissingAuthenticationTokenException" | "InvalidClientTokenId" | "IncompleteSignatureException") => {
            trouble(Kind::Refused, format!("AWS does not take these credentials: {name}: {said}"))
        }
        (400 | 401 | 403 | 413 | 415, _) => trouble(Kind::Refused, format!("AWS refused with {status} {name}: {said}")),
        // Of 5xx and 409 (a function that is being updated) it is not said that it ran.
        _ => trouble(Kind::Unreachable, format!("AWS answered {status} {name}: {said}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_aws_are_told_by_what_is_to_be_done() {
        let told = |status, name, body: &str| refusal("f", "eu-west-1", status, name, body);
        let throttled =
            told(429, None, r#"{"Reason":"ReservedFunctionConcurrentInvocationLimitExceeded","message":"Rate"}"#);
        assert_eq!(throttled.kind, Kind::Throttled);
        assert_eq!(throttled.message, "throttled (ReservedFunctionConcurrentInvocationLimitExceeded): Rate");
        let unknown = told(404, Some("ResourceNotFoundException:http://x"), r#"{"Message":"Function not found"}"#);
        assert_eq!(unknown.message, "there is no function f in eu-west-1: Function not found");
        let denied = told(403, Some("AccessDeniedException"), r#"{"Message":"not authorized"}"#);
        assert!(denied.kind == Kind::Refused && denied.message.contains("lambda:InvokeFunction"), "{denied:?}");
        let expired = told(403, Some("ExpiredTokenException"), r#"{"message":"expired"}"#);
        assert!(expired.message.contains("does not take these credentials: ExpiredTokenException"), "{expired:?}");
        assert_eq!(told(502, Some("EFSIOException"), "").kind, Kind::Unreachable);
        assert_eq!(
            function_error(r#"{"errorMessage":"Task timed out after 3.00 seconds"}"#),
            "Task timed out after 3.00 seconds"
        );
    }

    #[test]
    fn regions_have_their_hosts() {
        assert_eq!(of_aws("eu-west-1"), "https://lambda.eu-west-1.amazonaws.com");
        assert_eq!(of_aws("cn-north-1"), "https://lambda.cn-north-1.amazonaws.com.cn");
    }
}
