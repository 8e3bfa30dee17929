//! The manifest's defaults are those of the guest: who leaves a variable away gets what its comment says.

use dayfly_spin::settings::Settings;

/// What is packaged, with placeholders in places that do not matter here.
const MANIFEST: &str = include_str!("../templates/spin.toml");

#[test]
fn each_default_of_the_manifest_is_the_usual_value() {
    let manifest: toml::Table = MANIFEST.parse().expect("the template is TOML");
    let variables = manifest["variables"].as_table().expect("a table");
    let broker = |name: &str| (name == "broker").then(|| "amqp://broker".to_owned());
    let usual = Settings::read(broker).expect("only the broker has to be given");
    for name in variables.keys() {
        let default = |asked: &str| {
            let default = variables.get(asked).and_then(|variable| variable.get("default"));
            broker(asked).or_else(|| Some(default.filter(|_| asked == name)?.as_str()?.to_owned()))
        };
        assert_eq!(Settings::read(default), Ok(usual.clone()), "{name}");
    }
}

#[test]
fn every_variable_of_the_guest_is_in_the_manifest() {
    let manifest: toml::Table = MANIFEST.parse().expect("the template is TOML");
    let passed_on = manifest["component"]["dayfly"]["variables"].as_table().expect("a table");
    // Asked one after the other, until the last is answered.
    let asked = std::cell::RefCell::new(Vec::new());
    let answer = |name: &str| {
        asked.borrow_mut().push(name.to_owned());
        (name == "broker").then(|| "amqp://broker".to_owned())
    };
    Settings::read(answer).expect("settings");
    let asked = asked.into_inner();
    assert!(asked.len() > 10, "{asked:?}");
    for name in &asked {
        assert!(passed_on.contains_key(name), "{name}");
    }
    for name in passed_on.keys() {
        assert!(asked.contains(name), "the guest does not ask for {name}");
    }
}
