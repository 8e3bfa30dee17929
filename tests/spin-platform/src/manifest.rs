//! What `spin.toml` says: version 2 of Spin's manifest, for one component behind HTTP.
//!
//! Whatever would change what runs and is not offered here is refused, so that nobody tests something else than Spin
//! would run. What describes or builds an application is read over.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::outbound::AllowedHosts;
use super::variables::{Variables, check_name};

/// The file in an application's folder.
const FILE: &str = "spin.toml";
/// The one key-value store that Spin has without further configuration.
const DEFAULT_STORE: &str = "default";

/// An application, its variables filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// The component's name.
    pub component: String,
    /// The file of the component, relative to the folder.
    pub source: String,
    /// By name of a package (`package:name` or `package:name@version`) or interface (`package:name/interface`, with or
    /// without version): the file of the component that has it, relative to the folder.
    pub dependencies: BTreeMap<String, String>,
    /// Which paths the component answers.
    pub route: Route,
    /// The component's own variables.
    pub variables: BTreeMap<String, String>,
    /// What it may connect to.
    pub allowed_hosts: AllowedHosts,
    /// The labels of the key-value stores that it may open.
    pub key_value_stores: Vec<String>,
    /// The variables of its environment.
    pub environment: BTreeMap<String, String>,
}

/// Which paths are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// This one alone.
    Exact(String),
    /// This one and all below it; it ends without `/`.
    Below(String),
}

impl Route {
    fn parse(text: &str) -> Result<Self> {
        ensure!(text.starts_with('/'), "route {text:?}: it must begin with '/'");
        let route = match text.strip_suffix("/...") {
            Some(prefix) => Self::Below(prefix.to_owned()),
            None => Self::Exact(text.to_owned()),
        };
        let (Self::Exact(path) | Self::Below(path)) = &route;
        ensure!(
            !path.contains([':', '*']) && !path.contains("..."),
            "route {text:?}: only '...' at the end is offered"
        );
        Ok(route)
    }

    /// Whether this path is among them.
    pub fn takes(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Below(prefix) => {
                path.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    spin_manifest_version: u32,
    #[serde(rename = "application")]
    _application: IgnoredAny,
    #[serde(default)]
    variables: BTreeMap<String, Variable>,
    trigger: Triggers,
    component: BTreeMap<String, Component>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Variable {
    default: Option<String>,
    #[serde(default)]
    required: bool,
    #[serde(default, rename = "secret")]
    _secret: bool,
    #[serde(rename = "description")]
    _description: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Triggers {
    http: Vec<Trigger>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Trigger {
    #[serde(rename = "id")]
    _id: Option<String>,
    route: String,
    component: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Component {
    source: String,
    #[serde(default)]
    dependencies: BTreeMap<String, Dependency>,
    #[serde(default)]
    variables: BTreeMap<String, String>,
    #[serde(default)]
    allowed_outbound_hosts: Vec<String>,
    #[serde(default)]
    key_value_stores: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(rename = "description")]
    _description: Option<String>,
    #[serde(rename = "build")]
    _build: Option<IgnoredAny>,
    #[serde(rename = "tool")]
    _tool: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dependency {
    path: String,
}

impl Application {
    /// Reads the manifest in a folder, with these values of its variables in place of their defaults.
    ///
    /// # Errors
    /// There is none, Spin would refuse it, or it asks for something that is not offered here.
    pub fn read(folder: &Path, given: &BTreeMap<String, String>) -> Result<Self> {
        let file = folder.join(FILE);
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        Self::parse(&text, given).with_context(|| file.display().to_string())
    }

    /// The same of a manifest's text.
    ///
    /// # Errors
    /// As with [`Application::read`].
    pub fn parse(text: &str, given: &BTreeMap<String, String>) -> Result<Self> {
        let mut manifest: Manifest = toml::from_str(text)?;
        let version = manifest.spin_manifest_version;
        ensure!(version == 2, "spin_manifest_version = {version}: only 2 is offered");
        let variables = values(&manifest.variables, given)?;
        let [trigger] = manifest.trigger.http.as_slice() else { bail!("exactly one [[trigger.http]] is offered") };
        let name = trigger.component.clone();
        let component = manifest.component.remove(&name).with_context(|| format!("[component.{name}] is missing"))?;
        if let Some(other) = manifest.component.keys().next() {
            bail!("[component.{other}]: only one component is offered");
        }
        for label in &component.key_value_stores {
            ensure!(label == DEFAULT_STORE, "key_value_stores: {label:?} is unknown: only {DEFAULT_STORE:?} is there");
        }
        let filled = |(name, template): (&String, &String)| {
            check_name(name)?;
            Ok((name.clone(), variables.fill(template)?))
        };
        let hosts = component.allowed_outbound_hosts.iter().map(|entry| variables.fill(entry));
        let hosts = hosts.collect::<Result<Vec<_>>>().context("allowed_outbound_hosts")?;
        Ok(Self {
            source: component.source,
            dependencies: component.dependencies.into_iter().map(|(name, found)| (name, found.path)).collect(),
            route: Route::parse(&trigger.route)?,
            variables: component.variables.iter().map(filled).collect::<Result<_>>()?,
            allowed_hosts: AllowedHosts::parse(hosts.iter().map(String::as_str))?,
            key_value_stores: component.key_value_stores,
            environment: component.environment,
            component: name,
        })
    }
}

/// What the application's variables are: as given, else their defaults.
fn values(declared: &BTreeMap<String, Variable>, given: &BTreeMap<String, String>) -> Result<Variables> {
    if let Some(unknown) = given.keys().find(|name| !declared.contains_key(*name)) {
        bail!("variable {unknown:?} is given and not in [variables]");
    }
    let values = declared.iter().map(|(name, variable)| {
        let has_one = variable.required != variable.default.is_some();
        ensure!(has_one, "variable {name:?}: it has either a default or 'required = true'");
        let value = given.get(name).or(variable.default.as_ref());
        let value = value.with_context(|| format!("variable {name:?} is required and not given"))?;
        Ok((name.clone(), value.clone()))
    });
    Variables::new(values.collect::<Result<Vec<_>>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r#"
        spin_manifest_version = 2
        [application]
        name = "dayfly"
        version = "0.1.0"
        [variables]
        address = { default = "127.0.0.1:5672" }
        password = { required = true, secret = true }
        [[trigger.http]]
        route = "/..."
        component = "dayfly"
        [component.dayfly]
        source = "guest.wasm"
        allowed_outbound_hosts = ["tcp://{{ address }}"]
        key_value_stores = ["default"]
        [component.dayfly.variables]
        broker = "amqp://guest:{{ password }}@{{ address }}/%2f"
        [component.dayfly.dependencies]
        "dayfly:replica@0.1.0" = { path = "replica.wasm" }
    "#;

    fn given(values: &[(&str, &str)]) -> BTreeMap<String, String> {
        values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_manifest_is_read_and_filled() {
        let application = Application::parse(MANIFEST, &given(&[("password", "secret")])).unwrap();
        assert_eq!(application.source, "guest.wasm");
        assert_eq!(application.dependencies["dayfly:replica@0.1.0"], "replica.wasm");
        assert_eq!(application.variables["broker"], "amqp://guest:secret@127.0.0.1:5672/%2f");
        assert!(application.allowed_hosts.allow("127.0.0.1:5672".parse().unwrap()));
        let other = given(&[("password", ""), ("address", "127.0.0.1:1")]);
        let application = Application::parse(MANIFEST, &other).unwrap();
        assert_eq!(application.variables["broker"], "amqp://guest:@127.0.0.1:1/%2f");
        assert!(!application.allowed_hosts.allow("127.0.0.1:5672".parse().unwrap()));
    }

    #[test]
    fn what_is_missing_or_not_offered_is_told() {
        let changed = |from: &str, to: &str| {
            assert!(MANIFEST.contains(from));
            MANIFEST.replace(from, to)
        };
        let password = given(&[("password", "x")]);
        for (manifest, given, reason) in [
            (MANIFEST.to_owned(), given(&[]), "\"password\" is required and not given"),
            (MANIFEST.to_owned(), given(&[("password", "x"), ("pasword", "x")]), "\"pasword\" is given and not in"),
            (changed("_version = 2", "_version = 3"), password.clone(), "only 2 is offered"),
            (changed("required = true, ", ""), password.clone(), "either a default or"),
            (changed("key_value_stores", "sqlite_databases"), password.clone(), "unknown field `sqlite_databases`"),
            (changed("[\"default\"]", "[\"other\"]"), password.clone(), "only \"default\" is there"),
            (changed("{{ password }}", "{{ word }}"), password.clone(), "unknown variable \"word\""),
            (changed("path = \"replica.wasm\"", "component = \"x\""), password.clone(), "unknown field `component`"),
            (changed("\"/...\"", "\"/:id\""), password.clone(), "only '...' at the end"),
            (changed("tcp://", "amqp://"), password.clone(), "expected tcp://HOST:PORT"),
            (
                changed("[component.dayfly]", "[component.x]\nsource = \"\"\n[component.dayfly]"),
                password,
                "only one component",
            ),
        ] {
            let told = format!("{:#}", Application::parse(&manifest, &given).unwrap_err());
            assert!(told.contains(reason), "{told}\nexpected: {reason}");
        }
    }

    #[test]
    fn routes_take_what_is_below_them() {
        let all = Route::parse("/...").unwrap();
        assert!(all.takes("/") && all.takes("/v1/data"));
        let below = Route::parse("/v1/...").unwrap();
        assert!(below.takes("/v1") && below.takes("/v1/data") && !below.takes("/v12"));
        let exact = Route::parse("/v1").unwrap();
        assert!(exact.takes("/v1") && !exact.takes("/v1/data"));
    }
}
