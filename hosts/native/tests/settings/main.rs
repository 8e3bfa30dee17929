//! Settings as users meet them: flags over environment over a file over defaults, and where each value came from.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A folder to run the program in, removed with this value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dayfly-settings-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the folder for temporary files can be written");
        Self(path)
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.0.join(name), content).expect("it can be written");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that stays behind fails no test.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the program in a folder, with these variables and no others of its own.
fn run(folder: &Path, variables: &[(&str, &str)], args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dayfly"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("DAYFLY_")) {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).envs(variables.iter().copied()).args(args);
    command.output().expect("the program can be started")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// A setting's value and origin, as `dayfly config --json` tells them.
#[track_caller]
fn told(output: &Output, key: &str) -> (Value, String) {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let all: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let settings = all["settings"].as_array().expect("a list");
    let setting = settings.iter().find(|setting| setting["key"] == key).unwrap_or_else(|| panic!("no {key}"));
    (setting["value"].clone(), setting["origin"].as_str().expect("a text").to_owned())
}

#[test]
fn each_layer_covers_those_below() {
    let folder = Folder::new("layers");
    folder.write("dayfly.toml", "# ours\nregion = \"file\"\nzone = \"file\"\nstore-mib = 8\nlog = true\n");
    let variables = [("DAYFLY_ZONE", "variable"), ("DAYFLY_STORE_MIB", "16"), ("DAYFLY_NAME", "")];
    let output = run(&folder.0, &variables, &["config", "--json", "--store-mib", "32"]);
    assert_eq!(told(&output, "store-mib"), (32.into(), "flag --store-mib".to_owned()));
    assert_eq!(told(&output, "zone"), ("variable".into(), "environment DAYFLY_ZONE".to_owned()));
    assert_eq!(told(&output, "region"), ("file".into(), "dayfly.toml line 2".to_owned()));
    assert_eq!(told(&output, "log"), (true.into(), "dayfly.toml line 5".to_owned()));
    assert_eq!(told(&output, "frame-kib"), (64.into(), "default".to_owned()));
    assert_eq!(told(&output, "name"), (Value::Null, "default".to_owned()), "an empty variable is none");
}

#[test]
fn the_file_is_that_of_the_flag_else_of_the_variable_else_the_usual_one() {
    let folder = Folder::new("files");
    for name in ["dayfly.toml", "flag.toml", "variable.toml"] {
        folder.write(name, &format!("region = \"{name}\""));
    }
    let region = |variables: &[(&str, &str)], args: &[&str]| told(&run(&folder.0, variables, args), "region").0;
    let variable = [("DAYFLY_CONFIG", "variable.toml")];
    assert_eq!(region(&variable, &["config", "--json", "--config", "flag.toml"]), "flag.toml");
    assert_eq!(region(&variable, &["config", "--json"]), "variable.toml");
    assert_eq!(region(&[], &["config", "--json"]), "dayfly.toml");
    let missing = run(&folder.0, &[], &["config", "--config", "missing.toml"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(text(&missing.stderr).contains("cannot read missing.toml"), "{missing:?}");
}

#[test]
fn a_mistake_is_told_with_its_place() {
    let folder = Folder::new("mistakes");
    let refused = |file: &str, variables: &[(&str, &str)], args: &[&str], told: &str| {
        folder.write("dayfly.toml", file);
        let output = run(&folder.0, variables, args);
        assert_eq!(output.status.code(), Some(2), "{told}: {output:?}");
        assert!(text(&output.stderr).contains(told), "{told}: {output:?}");
    };
    refused(
        "\nregoin = \"x\"",
        &[],
        &["config"],
        "dayfly.toml line 2: there is no setting `regoin`; did you mean `region`?",
    );
    refused("store-mib = 0", &[], &["up"], "store-mib must be a number from 1 to 1024 (from dayfly.toml line 1)");
    refused("", &[("DAYFLY_FRAME_KIB", "3")], &["up"], "(from environment DAYFLY_FRAME_KIB)");
    refused("", &[], &["up", "--retention", "0"], "(from flag --retention)");
    refused("repair-kib = 8", &[], &["up"], "repair-kib must be at least frame-kib");
    refused("[broker]\nurl = \"x\"", &[], &["config"], "dayfly.toml line 1: broker must be amqp://");
    refused("", &[], &["node"], "no broker: give --broker");
    refused("", &[], &["up", "--idle", "3"], "--idle needs --ephemeral");
}

#[test]
fn passwords_are_not_shown() {
    let folder = Folder::new("passwords");
    let variables = [("DAYFLY_BROKER", "amqp://me:hunter2@127.0.0.1:1/")];
    for args in
        [&["config"][..], &["config", "--json"], &["node", "--help"], &["doctor"], &["node", "--listen", "127.0.0.1:0"]]
    {
        let output = run(&folder.0, &variables, args);
        let all = text(&output.stdout) + &text(&output.stderr);
        assert!(!all.contains("hunter2"), "{args:?}: {all}");
    }
    assert_eq!(told(&run(&folder.0, &variables, &["config", "--json"]), "broker").0, "amqp://me:***@127.0.0.1:1/");
}
