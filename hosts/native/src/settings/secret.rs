//! Passwords in URLs, which nothing that we print may tell.

/// The text with the password of each `scheme://user:password@host` in it replaced by `***`.
pub fn masked(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        // The last `@` before the path: passwords that ought to be percent-encoded, and are not, are hidden as well.
        let end = after.find(|c: char| c == '/' || c.is_whitespace()).unwrap_or(after.len());
        let authority = &after[..end];
        match authority.rsplit_once('@') {
            Some((who, host)) => {
                let user = who.split_once(':').map_or(who, |(user, _)| user);
                shown.push_str(user);
                if user.len() < who.len() {
                    shown.push_str(":***");
                }
                shown.push('@');
                shown.push_str(host);
            }
            None => shown.push_str(authority),
        }
        rest = &after[end..];
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_hidden_and_the_rest_is_shown() {
        let cases = [
            ("amqp://me:secret@host:5673/vhost", "amqp://me:***@host:5673/vhost"),
            ("amqp://me:se@cret@host", "amqp://me:***@host"),
            ("amqp://me@host/", "amqp://me@host/"),
            ("amqp://host/a@b:c", "amqp://host/a@b:c"),
            ("no amqps://a:b@c/ and http://d:e@f", "no amqps://a:***@c/ and http://d:***@f"),
            ("nothing", "nothing"),
        ];
        for (text, shown) in cases {
            assert_eq!(masked(text), shown);
        }
    }
}
