//! AWS Signature Version 4 of a request with a small body: the headers that show who sends it.
//!
//! As "Signature Version 4 signing process" in the AWS general reference describes it, for services whose paths are
//! encoded twice (all but S3).

use std::fmt::Write;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use super::credentials::Credentials;

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// The header `host`.
    pub host: &'a str,
    /// The path as it is sent, percent-encoded, without a query.
    pub path: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// The region, as the scope names it.
    pub region: &'a str,
    /// The service, as the scope names it.
    pub service: &'a str,
    /// Now, in seconds since 1970; a server takes it within five minutes of its own time.
    pub now_s: u64,
}

/// The headers that sign a request: `x-amz-date`, `authorization`, and for temporary credentials
/// `x-amz-security-token`.
pub fn sign(request: Request<'_>, credentials: &Credentials) -> Vec<(&'static str, String)> {
    let stamp = stamp(request.now_s);
    let date = &stamp[..8];
    let mut headers = vec![("host", request.host.to_owned()), ("x-amz-date", stamp.clone())];
    if let Some(token) = &credentials.session_token {
        headers.push(("x-amz-security-token", token.clone()));
    }
    headers.sort();
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let canonical = format!(
        "{}\n{}\n\n{lines}\n{names}\n{}",
        request.method,
        encoded(request.path),
        hex(&Sha256::digest(request.body))
    );
    let scope = format!("{date}/{}/{}/aws4_request", request.region, request.service);
    let to_sign = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
    let mut key = format!("AWS4{}", credentials.secret_access_key).into_bytes();
    for part in [date, request.region, request.service, "aws4_request"] {
        key = authenticated(&key, part);
    }
    let signature = hex(&authenticated(&key, &to_sign));
    headers.retain(|(name, _)| *name != "host");
    let id = &credentials.access_key_id;
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}");
    headers.push(("authorization", authorization));
    headers
}

fn authenticated(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key may have any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

/// A path that is encoded already, encoded once more.
fn encoded(path: &str) -> String {
    path.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.' | b'~') {
            text.push(char::from(byte));
        } else {
            write!(text, "%{byte:02X}").expect("a string takes all");
        }
        text
    })
}

/// A time in the form `20150830T123600Z`.
fn stamp(now_s: u64) -> String {
    let (days, second) = (now_s / 86_400, now_s % 86_400);
    let (year, month, day) = date(days);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", second / 3_600, second / 60 % 60, second % 60)
}

/// Year, month and day of a number of days since 1970.
fn date(days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut day) = (1970, days);
    loop {
        let length = if is_leap(year) { 366 } else { 365 };
        if day < length {
            break;
        }
        day -= length;
        year += 1;
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    (year, month, day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key pair and the time of the test suite that AWS publishes for Signature Version 4.
    fn suite(method: &str, path: &str) -> String {
        let credentials = Credentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: None,
        };
        let request = Request {
            method,
            host: "example.amazonaws.com",
            path,
            body: b"",
            region: "us-east-1",
            service: "service",
            now_s: 1_440_938_160,
        };
        let headers = sign(request, &credentials);
        assert_eq!(headers[0], ("x-amz-date", "20150830T123600Z".to_owned()));
        headers[1].1.clone()
    }

    #[test]
    fn the_published_examples_come_out() {
        let expected = |signature: &str| {
            format!(
                "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                 SignedHeaders=host;x-amz-date, Signature={signature}"
            )
        };
        let get = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        assert_eq!(suite("GET", "/"), expected(get));
        let post = "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b";
        assert_eq!(suite("POST", "/"), expected(post));
    }

    #[test]
    fn an_invocation_is_signed_as_by_other_implementations() {
        // What botocore makes of the same.
        let cases = [
            (None, "host;x-amz-date", "d466e09bb5ab46fe84a59a1e2213e075f10f4ab84c39fdc6143c1aeb61e76220"),
            (
                Some("token+/="),
                "host;x-amz-date;x-amz-security-token",
                "5cb621342896590128ac570180b802613b3ddacf3cb8a5c282f0e92f7356e30e",
            ),
        ];
        for (token, names, signature) in cases {
            let credentials = Credentials {
                access_key_id: "AKID".to_owned(),
                secret_access_key: "secret/key".to_owned(),
                session_token: token.map(str::to_owned),
            };
            let request = Request {
                method: "POST",
                host: "lambda.eu-west-1.amazonaws.com",
                path: "/2015-03-31/functions/f%3Alive/invocations",
                body: br#"{"wake":{"seconds":30}}"#,
                region: "eu-west-1",
                service: "lambda",
                now_s: 1_795_525_200,
            };
            let headers = sign(request, &credentials);
            let authorization = headers.last().expect("it signs").1.clone();
            let scope = "AWS4-HMAC-SHA256 Credential=AKID/20261124/eu-west-1/lambda/aws4_request";
            assert_eq!(authorization, format!("{scope}, SignedHeaders={names}, Signature={signature}"));
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let cases = [
            (0, "19700101T000000Z"),
            (951_782_399, "20000228T235959Z"),
            (951_782_400, "20000229T000000Z"),
            (1_709_164_800, "20240229T000000Z"),
            (1_798_761_599, "20261231T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
        ];
        for (seconds, text) in cases {
            assert_eq!(stamp(seconds), text);
        }
    }
}
