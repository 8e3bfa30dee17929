//! Test guests: a hostile one and one that reads logs, made into components of the replica's world, and the real one.

// Not every test uses them all.
#![allow(dead_code)]

use std::path::Path;

use dayfly_engine::contract::Config;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The imports that the test guests may have beyond the exports of `wit/`.
const RANDOM_WIT: &str =
    "package wasi:random@0.2.0; interface random { get-random-bytes: func(len: u64) -> list<u8>; }";
const HOSTILE_WIT: &str = "package test:hostile;
world hostile { import wasi:random/random@0.2.0; include dayfly:replica/replica@0.1.0; }";

/// The guest of `hostile.wat` as a component.
pub fn hostile_component() -> Vec<u8> {
    component(include_str!("hostile.wat"))
}

/// The guest of `scribe.wat` as a component.
pub fn scribe_component() -> Vec<u8> {
    component(include_str!("scribe.wat"))
}

fn component(text: &str) -> Vec<u8> {
    let mut module = wat::parse_str(text).expect("the text is a module");
    let mut resolve = Resolve::default();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    resolve.push_path(wit).expect("wit/ is a package");
    resolve.push_str("random.wit", RANDOM_WIT).expect("it is WIT");
    let package = resolve.push_str("hostile.wit", HOSTILE_WIT).expect("it is WIT");
    let world = resolve.select_world(&[package], Some("hostile")).expect("it has that world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .expect("the module takes its metadata");
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true);
    encoder.module(&module).expect("the module fits its world").encode().expect("a component")
}

/// The replica component as `cargo xtask build` or `cargo xtask component` leaves it, or as `DAYFLY_COMPONENT` says.
pub fn replica_component() -> Vec<u8> {
    let path = std::env::var_os("DAYFLY_COMPONENT").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/component/dayfly-replica.wasm"),
        Into::into,
    );
    std::fs::read(&path)
        .unwrap_or_else(|error| panic!("no component at {}: {error}; cargo xtask build", path.display()))
}

/// The usual configuration.
pub fn config(cluster: &str, name: &str) -> Config {
    Config { name: Some(name.to_owned()), ..dayfly_engine::usual_config(cluster) }
}
