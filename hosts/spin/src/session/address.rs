//! Where the broker is, and who connects.

use std::fmt;

use dayfly_amqp::without_password;

/// What stands in the variable `broker`: `amqp://user:password@host:port/vhost`. What is left out is `guest`, `guest`,
/// `localhost`, 5672 and `/`. User, password and vhost are percent-encoded.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// A name, or an address; one of IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Who connects.
    pub user: String,
    /// Its password.
    pub password: String,
    /// The virtual host.
    pub vhost: String,
    /// The `?heartbeat=` of the URL, in seconds: in place of the usual one. 0: none.
    pub heartbeat_s: Option<u16>,
}

/// What AMQP has room for in a name.
const VHOST_BYTES_MAX: usize = 255;

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    /// It is none, or one that a guest cannot use. The text tells what to change, and no password.
    pub fn read(url: &str) -> Result<Self, String> {
        let url = url.trim();
        let refuse = |reason: &str| {
            let shown = without_password(url);
            format!(
                "the variable `broker`, {shown}, is no URL of a broker, as amqp://user:password@host:5672/vhost: {reason}"
            )
        };
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(refuse("it does not begin with `amqp://`"));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "amqp" => {}
            "amqps" => {
                return Err(format!(
                    "the variable `broker`, {}, asks for TLS, which is not available inside Spin: put a proxy beside it \
                     that ends TLS, as stunnel does, and give its address with `amqp://`",
                    without_password(url)
                ));
            }
            _ => return Err(refuse("it does not begin with `amqp://`")),
        }
        let (rest, query) = rest.split_once('?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user_info, place) =
            authority.rsplit_once('@').map_or((None, authority), |(user, place)| (Some(user), place));
        let decode = |text: &str, what: &str| decoded(text).ok_or_else(|| refuse(&format!("{what} is badly encoded")));
        let (user, password) = match user_info {
            None => ("guest".to_owned(), "guest".to_owned()),
            Some(info) => {
                let (user, password) = info.split_once(':').unwrap_or((info, "guest"));
                (decode(user, "the user")?, decode(password, "the password")?)
            }
        };
        let (host, port) = match place.strip_prefix('[') {
            Some(literal) => {
                let (host, port) = literal.split_once(']').ok_or_else(|| refuse("a bracket is not closed"))?;
                let after = "what follows the bracket is no port";
                let port = match port {
                    "" => None,
                    port => Some(port.strip_prefix(':').ok_or_else(|| refuse(after))?),
                };
                (host, port)
            }
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            None => 5672,
            Some(port) => port.parse().map_err(|_| refuse("the port is no number up to 65535"))?,
        };
        let host = if host.is_empty() { "localhost" } else { host }.to_owned();
        let vhost = if path.is_empty() { "/".to_owned() } else { decode(path, "the vhost")? };
        if vhost.len() > VHOST_BYTES_MAX {
            return Err(refuse("the vhost is longer than 255 bytes"));
        }
        // PLAIN ends each with a zero.
        if user.contains('\0') || password.contains('\0') {
            return Err(refuse("user or password holds a zero byte"));
        }
        let heartbeat_s = match query {
            None | Some("") => None,
            Some(query) => {
                let seconds = query.strip_prefix("heartbeat=").and_then(|seconds| seconds.parse().ok());
                Some(seconds.ok_or_else(|| refuse("of a query, only `?heartbeat=SECONDS` is known here"))?)
            }
        };
        Ok(Self { host, port, user, password, vhost, heartbeat_s })
    }
}

/// Host and port, for people.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

// By hand: without the password.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("vhost", &self.vhost)
            .field("heartbeat_s", &self.heartbeat_s)
            .finish_non_exhaustive()
    }
}

/// Percent-decoded; none if it is no UTF-8 or a `%` is not followed by two digits.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
            let (high, low) = (digit()?, digit()?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::Address;

    fn read(url: &str) -> Address {
        Address::read(url).expect("it is a URL")
    }

    #[test]
    fn what_is_left_out_is_the_usual() {
        let address = read("amqp://");
        assert_eq!((address.host.as_str(), address.port), ("localhost", 5672));
        assert_eq!((address.user.as_str(), address.password.as_str()), ("guest", "guest"));
        assert_eq!((address.vhost.as_str(), address.heartbeat_s), ("/", None));
        assert_eq!(read("amqp://h/").vhost, "/");
        assert_eq!(read("amqp://u@h").password, "guest");
    }

    #[test]
    fn all_parts_are_read_and_decoded() {
        let address = read("amqp://u%40x:p%3aq@h.example:1234/v%2Fw?heartbeat=7");
        assert_eq!((address.host.as_str(), address.port), ("h.example", 1234));
        assert_eq!((address.user.as_str(), address.password.as_str()), ("u@x", "p:q"));
        assert_eq!((address.vhost.as_str(), address.heartbeat_s), ("v/w", Some(7)));
        assert_eq!(address.to_string(), "h.example:1234");
        assert_eq!(read("amqp://h/%2f").vhost, "/");
        let address = read("amqp://u:p@[::1]:5/");
        assert_eq!((address.host.as_str(), address.port), ("::1", 5));
        assert_eq!(address.to_string(), "[::1]:5");
        assert_eq!(read("amqp://[::1]").port, 5672);
    }

    #[test]
    fn what_is_no_url_is_refused_without_telling_the_password() {
        for url in [
            "h:5672",
            "http://u:s3cret@h",
            "amqp://u:s3cret@h:99999",
            "amqp://u:s3cret@h:x/",
            "amqp://u:s3cret%zz@h",
            "amqp://u:s3cret@[::1",
            "amqp://u:s3cret@[::1]5",
            "amqp://u:s3cret@h/%ff",
            "amqp://u:s3cret%00@h/",
            "amqp://u:s3cret@h/v?frame_max=1",
            &format!("amqp://u:s3cret@h/{}", "v".repeat(256)),
        ] {
            let reason = Address::read(url).err().unwrap_or_else(|| panic!("{url} is taken"));
            assert!(reason.contains("`broker`") && reason.contains("is no URL"), "{reason}");
            assert!(!reason.contains("s3cret"), "{reason}");
        }
        let reason = Address::read("amqps://u:s3cret@h/").expect_err("a guest has no TLS");
        assert!(reason.contains("TLS") && reason.contains("stunnel") && !reason.contains("s3cret"), "{reason}");
        assert!(!format!("{:?}", read("amqp://u:s3cret@h/")).contains("s3cret"));
    }
}
