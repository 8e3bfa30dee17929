//! The broker's URL, shown.

/// A URL for people: without its password.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "(what was given)".to_owned() };
    // The last one: a password may hold what should have been encoded.
    match rest.rsplit_once('@') {
        None => url.to_owned(),
        Some((user, host)) => {
            let user = user.split_once(':').map_or(user, |(user, _)| user);
            format!("{scheme}://{user}:…@{host}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn a_url_is_shown_without_its_password() {
        assert_eq!(without_password("amqp://u:secret@h:1/v"), "amqp://u:…@h:1/v");
        assert_eq!(without_password("amqp://u:se@cr/et@h:1/v"), "amqp://u:…@h:1/v");
        assert_eq!(without_password("amqp://h:1/v"), "amqp://h:1/v");
        assert_eq!(without_password("u:secret@h"), "(what was given)");
    }
}
