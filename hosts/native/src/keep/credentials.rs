//! Who asks AWS: the environment, or the file of shared credentials.

use std::fmt;
use std::path::PathBuf;

/// A key pair of AWS.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Names the key pair.
    pub access_key_id: String,
    /// Signs.
    pub secret_access_key: String,
    /// Belongs to temporary key pairs.
    pub session_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The rest is secret.
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

impl Credentials {
    /// For emulators, which look at no signature.
    pub fn of_nobody() -> Self {
        Self { access_key_id: "emulator".to_owned(), secret_access_key: "emulator".to_owned(), session_token: None }
    }

    /// Looks them up, as AWS's own tools do: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`,
    /// unless `AWS_PROFILE` is set; then that profile, or `default`, of the file at `AWS_SHARED_CREDENTIALS_FILE`, or
    /// `~/.aws/credentials`. `None` if there are none anywhere; an error says what is wrong with those that there are.
    /// Read anew for each call, they may be renewed while the keeper runs.
    pub fn find() -> Result<Option<Self>, String> {
        Self::find_in(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    fn find_in(variable: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let profile = variable("AWS_PROFILE");
        if profile.is_none() {
            match (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
                (Some(access_key_id), Some(secret_access_key)) => {
                    let session_token = variable("AWS_SESSION_TOKEN");
                    return Ok(Some(Self { access_key_id, secret_access_key, session_token }));
                }
                (Some(_), None) => return Err("AWS_ACCESS_KEY_ID is set and AWS_SECRET_ACCESS_KEY is not".to_owned()),
                (None, _) => {}
            }
        }
        let file = variable("AWS_SHARED_CREDENTIALS_FILE")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".aws").join("credentials")));
        let name = profile.as_deref().unwrap_or("default");
        let content = match file.as_ref().map(std::fs::read_to_string) {
            Some(Ok(content)) => content,
            Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("the file of shared credentials cannot be read: {error}"));
            }
            Some(Err(_)) | None => String::new(),
        };
        match (Self::of_profile(&content, name)?, &profile) {
            (None, Some(name)) => Err(format!(
                "AWS_PROFILE names {name}, which has no key pair in the file of shared credentials; for other kinds of \
                 profiles: eval \"$(aws configure export-credentials --format env)\" and unset AWS_PROFILE"
            )),
            (found, _) => Ok(found),
        }
    }

    /// The key pair of a profile in a file's content; `None` if it has none.
    fn of_profile(content: &str, profile: &str) -> Result<Option<Self>, String> {
        let (mut id, mut secret, mut session_token) = (None, None, None);
        let mut within = false;
        for line in content.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                within = name.trim() == profile;
            } else if let Some((name, value)) = line.split_once('=').filter(|_| within) {
                let value = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
                match name.trim() {
                    "aws_access_key_id" => id = value,
                    "aws_secret_access_key" => secret = value,
                    "aws_session_token" => session_token = value,
                    _ => {}
                }
            }
        }
        match (id, secret) {
            (Some(access_key_id), Some(secret_access_key)) => {
                Ok(Some(Self { access_key_id, secret_access_key, session_token }))
            }
            (None, None) => Ok(None),
            _ => Err(format!("the profile {profile} in the file of shared credentials has half a key pair")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Result<Option<Credentials>, String> {
        let variables: Vec<(String, String)> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Credentials::find_in(|wanted| variables.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone()))
    }

    fn pair(id: &str, secret: &str, token: Option<&str>) -> Credentials {
        Credentials {
            access_key_id: id.to_owned(),
            secret_access_key: secret.to_owned(),
            session_token: token.map(str::to_owned),
        }
    }

    #[test]
    fn the_environment_comes_first_unless_a_profile_is_named() {
        let file = std::env::temp_dir().join(format!("dayfly-test-{}-credentials", std::process::id()));
        let content = "# mine\n[default]\naws_access_key_id = D\naws_secret_access_key=d=d\n\n[ other ]\n\
                       aws_access_key_id = O\naws_secret_access_key = o\naws_session_token = t\n[half]\n\
                       aws_access_key_id = H\n";
        std::fs::write(&file, content).expect("the folder for temporary files can be written");
        let path = ("AWS_SHARED_CREDENTIALS_FILE", file.to_str().expect("UTF-8"));
        let keys = [("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "e"), ("AWS_SESSION_TOKEN", "s")];
        let with = |more: &[(&str, &str)]| found(&[&[path], more].concat());
        assert_eq!(with(&keys), Ok(Some(pair("E", "e", Some("s")))));
        assert_eq!(with(&[]), Ok(Some(pair("D", "d=d", None))));
        assert_eq!(with(&[&keys[..], &[("AWS_PROFILE", "other")]].concat()), Ok(Some(pair("O", "o", Some("t")))));
        let error = |outcome: Result<Option<Credentials>, String>| outcome.expect_err("it is refused");
        assert!(error(with(&[("AWS_PROFILE", "half")])).contains("half a key pair"));
        assert!(error(with(&[("AWS_PROFILE", "none")])).contains("AWS_PROFILE names none"));
        assert!(error(with(&keys[..1])).contains("AWS_SECRET_ACCESS_KEY is not"));
        std::fs::remove_file(&file).expect("it was written");
        assert_eq!(with(&[]), Ok(None), "no file, no credentials");
    }

    #[test]
    fn a_secret_is_not_printed() {
        let text = format!("{:?}", pair("ID", "hidden", Some("hidden")));
        assert!(text.contains("ID") && !text.contains("hidden"), "{text}");
    }
}
