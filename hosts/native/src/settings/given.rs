//! What flags and variables say, as clap finds it.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::kind::Kind;
use super::origin::Origin;
use super::table::{self, Default, Setting, User};

/// Whose settings a command takes.
pub trait Scope: Clone + std::fmt::Debug + Send + Sync + 'static {
    /// Whether what stands there is carried out, so that a flag which means nothing is a mistake.
    const ACTS: bool = true;

    /// Whether the setting is one of them.
    fn has(setting: &Setting) -> bool;
}

/// Defines scopes: each stands for a command, so that its arguments are of a type of their own.
macro_rules! scopes {
    ($($name:ident)*) => {$(
        #[doc = concat!("The settings of `", stringify!($name), "`.")]
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl Scope for $name {
            fn has(setting: &Setting) -> bool {
                setting.users.contains(&User::$name)
            }
        }
    )*};
}

scopes! { Up Node Doctor Purge }

/// All settings.
#[derive(Clone, Copy, Debug)]
pub struct Any;

impl Scope for Any {
    const ACTS: bool = false;

    fn has(_: &Setting) -> bool {
        true
    }
}

/// What the command line and the environment say of a command's settings.
#[derive(Clone, Debug)]
pub struct Given<S> {
    /// By key: the value as it was given, and by what.
    pub values: BTreeMap<&'static str, (String, Origin)>,
    /// The file that was named, and by what.
    pub file: Option<(PathBuf, Origin)>,
    scope: PhantomData<S>,
}

/// The flag that names the file.
const FILE_FLAG: &str = "config";
/// The variable that names it.
const FILE_VARIABLE: &str = "DAYFLY_CONFIG";

fn argument(setting: &'static Setting) -> Arg {
    let default = match setting.default {
        Default::Is("") => "none",
        Default::Is(text) | Default::Told(text) => text,
    };
    let short = (setting.key == table::REPLICAS_NUMBER.key).then_some('n');
    let argument = Arg::new(setting.key)
        .long(setting.key)
        .short(short)
        .value_name(setting.value_name)
        .env(setting.variable())
        // Told once, below, instead of forty times; and a broker's URL may hold a password.
        .hide_env(true)
        .help(first_sentence(setting.help))
        .long_help(format!("{} [default: {default}]", setting.help))
        .help_heading(setting.heading)
        .action(ArgAction::Set);
    let argument = match setting.alias {
        Some(alias) => argument.visible_alias(alias),
        None => argument,
    };
    match setting.kind {
        Kind::Switch => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::Name(_)
        | Kind::Names(_)
        | Kind::Text(_)
        | Kind::BrokerUrl
        | Kind::Path
        | Kind::Address
        | Kind::Number(..)
        | Kind::Seconds(..)
        | Kind::Choice(_) => argument,
    }
}

/// For the short help, `-h`.
fn first_sentence(help: &str) -> &str {
    let end = [". ", ": "].iter().filter_map(|stop| help.find(stop)).min();
    &help[..end.unwrap_or(help.len())]
}

impl<S: Scope> Args for Given<S> {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new(FILE_FLAG)
            .long(FILE_FLAG)
            .value_name("FILE")
            .env(FILE_VARIABLE)
            .hide_env(true)
            .help("A TOML file of settings [default: ./dayfly.toml if there is one]")
            .long_help(
                "A TOML file of settings, each named as its flag is [default: DAYFLY_CONFIG, else ./dayfly.toml if \
                 there is one]. Each setting may also be an environment variable: DAYFLY_ and the flag's name in capitals, \
                 with _ for -. Flags count before variables, variables before the file; `dayfly config` shows what \
                 holds",
            )
            .help_heading("Settings");
        table::ALL
            .iter()
            .filter(|setting| S::has(setting))
            .fold(command.arg(file), |command, setting| command.arg(argument(setting)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<S: Scope> FromArgMatches for Given<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |key: &'static str, variable: String| {
            let text = matches.try_get_one::<String>(key).ok()??;
            let origin = match matches.value_source(key)? {
                ValueSource::CommandLine => Origin::Flag(key),
                // Whoever empties a variable wants to be rid of it.
                ValueSource::EnvVariable if text.is_empty() => return None,
                ValueSource::EnvVariable => Origin::Environment(variable),
                _ => return None,
            };
            Some((text.clone(), origin))
        };
        let values = table::ALL
            .iter()
            .filter(|setting| S::has(setting))
            .filter_map(|setting| given(setting.key, setting.variable()).map(|value| (setting.key, value)));
        Ok(Self {
            values: values.collect(),
            file: given(FILE_FLAG, FILE_VARIABLE.to_owned()).map(|(path, origin)| (path.into(), origin)),
            scope: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<S: Scope> Given<S> {
    /// Whether the setting is one of the command's.
    pub fn has(setting: &Setting) -> bool {
        S::has(setting)
    }
}
