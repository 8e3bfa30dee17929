//! A component together with those that it depends on, made one component, as Spin does before it compiles.

use std::collections::BTreeMap;
use std::fmt::Display;

use anyhow::{Context, Result, anyhow, bail, ensure};
use wac_graph::types::Package;
use wac_graph::{CompositionGraph, EncodeOptions};

/// Gives a component those that it depends on: by name of a package (`package:name`, perhaps with `@version`) or of an
/// interface (`package:name/interface`, likewise), the component that has it.
///
/// # Errors
/// What Spin refuses as well: bytes are no component, a name matches no import, two match one, a dependency lacks what
/// is imported or has it otherwise, or two names are of one package. Spin registers a dependency by its package alone,
/// so it takes one name a package, and each has an instance of its own: for several interfaces of one component, name
/// the package.
pub fn compose(component: Vec<u8>, dependencies: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>> {
    if dependencies.is_empty() {
        return Ok(component);
    }
    let mut graph = CompositionGraph::new();
    let package =
        Package::from_bytes("component", None, component, graph.types_mut()).map_err(told("the component"))?;
    let world = package.ty();
    let imports: Vec<String> = graph.types()[world].imports.keys().cloned().collect();
    let exports: Vec<String> = graph.types()[world].exports.keys().cloned().collect();
    let id = graph.register_package(package)?;
    let instance = graph.instantiate(id);

    let mut packages: BTreeMap<&str, &str> = BTreeMap::new();
    let mut given: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, bytes) in dependencies {
        let wanted = Name::parse(name);
        if let Some(other) = packages.insert(wanted.package, name) {
            bail!(
                "dependencies {other:?} and {name:?}: Spin takes one dependency of a package, and would give each an \
                 instance of its own; name the package: {:?}",
                wanted.of_package()
            );
        }
        let found: Vec<&String> = imports.iter().filter(|import| wanted.matches(import)).collect();
        ensure!(!found.is_empty(), "dependency {name:?} matches no import; there are: {}", imports.join(", "));
        let package =
            Package::from_bytes(wanted.package, None, bytes.clone(), graph.types_mut()).map_err(told(name))?;
        let id = graph.register_package(package)?;
        let dependency = graph.instantiate(id);
        for import in found {
            if let Some(other) = given.insert(import, name) {
                bail!("dependencies {other:?} and {name:?} both match the import {import:?}");
            }
            let export =
                graph.alias_instance_export(dependency, import).with_context(|| format!("dependency {name:?}"))?;
            graph
                .set_instantiation_argument(instance, import, export)
                .map_err(|error| anyhow!("dependency {name:?}: {}", chain(&error)))?;
        }
    }
    for name in &exports {
        let export = graph.alias_instance_export(instance, name)?;
        graph.export(export, name)?;
    }
    graph.encode(EncodeOptions::default()).map_err(|error| anyhow!("the components do not fit: {}", chain(&error)))
}

fn told<E: Display>(what: &str) -> impl FnOnce(E) -> anyhow::Error {
    let what = what.to_owned();
    move |error| anyhow!("{what}: {error:#}")
}

/// An error and what it comes from, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The name of an import or of a dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name<'a> {
    package: &'a str,
    interface: Option<&'a str>,
    version: Option<&'a str>,
}

impl<'a> Name<'a> {
    fn parse(text: &'a str) -> Self {
        let (path, version) = text.split_once('@').map_or((text, None), |(path, version)| (path, Some(version)));
        let (package, interface) = path.split_once('/').map_or((path, None), |(package, name)| (package, Some(name)));
        Self { package, interface, version }
    }

    /// Whether an import is what is named: what is left out matches anything.
    fn matches(&self, import: &str) -> bool {
        let import = Name::parse(import);
        self.package == import.package
            && (self.interface.is_none() || self.interface == import.interface)
            && (self.version.is_none() || self.version == import.version)
    }

    fn of_package(&self) -> String {
        self.version.map_or(self.package.to_owned(), |version| format!("{}@{version}", self.package))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A component that exports two interfaces, one of which counts what the other was told.
    const COUNTER: &str = r#"(component
        (core module $m
            (global $n (mut i32) (i32.const 0))
            (func (export "add") (global.set $n (i32.add (global.get $n) (i32.const 1))))
            (func (export "total") (result i32) (global.get $n)))
        (core instance $i (instantiate $m))
        (func $add (canon lift (core func $i "add")))
        (func $total (result u32) (canon lift (core func $i "total")))
        (instance $one (export "add" (func $add)))
        (instance $other (export "total" (func $total)))
        (export "t:counter/add@0.1.0" (instance $one))
        (export "t:counter/total@0.1.0" (instance $other)))"#;

    /// A component that adds twice with the one and asks the other.
    const USER: &str = r#"(component
        (import "t:counter/add@0.1.0" (instance $one (export "add" (func))))
        (import "t:counter/total@0.1.0" (instance $other (export "total" (func (result u32)))))
        (core func $add (canon lower (func $one "add")))
        (core func $total (canon lower (func $other "total")))
        (core module $m
            (import "h" "add" (func $add))
            (import "h" "total" (func $total (result i32)))
            (func (export "run") (result i32) (call $add) (call $add) (call $total)))
        (core instance $h (export "add" (func $add)) (export "total" (func $total)))
        (core instance $i (instantiate $m (with "h" (instance $h))))
        (func $run (result u32) (canon lift (core func $i "run")))
        (instance $user (export "run" (func $run)))
        (export "t:user/user" (instance $user)))"#;

    fn composed(names: &[&str]) -> Result<Vec<u8>> {
        let dependency = wat::parse_str(COUNTER).unwrap();
        let dependencies = names.iter().map(|name| ((*name).to_owned(), dependency.clone())).collect();
        compose(wat::parse_str(USER).unwrap(), &dependencies)
    }

    #[test]
    fn a_package_is_one_instance_for_all_its_interfaces() {
        let engine = wasmtime::Engine::default();
        for name in ["t:counter", "t:counter@0.1.0"] {
            let component = wasmtime::component::Component::new(&engine, composed(&[name]).unwrap()).unwrap();
            let mut store = wasmtime::Store::new(&engine, ());
            let linker = wasmtime::component::Linker::new(&engine);
            let instance = linker.instantiate(&mut store, &component).unwrap();
            let user = instance.get_export_index(&mut store, None, "t:user/user").unwrap();
            let run = instance.get_export_index(&mut store, Some(&user), "run").unwrap();
            let run = instance.get_typed_func::<(), (u32,)>(&mut store, run).unwrap();
            assert_eq!(run.call(&mut store, ()).unwrap(), (2,));
        }
    }

    #[test]
    fn what_spin_refuses_is_refused() {
        for (names, reason) in [
            (vec!["t:counter/add@0.1.0", "t:counter/total@0.1.0"], "name the package: \"t:counter@0.1.0\""),
            (vec!["t:other"], "matches no import"),
            (vec!["t:counter@0.2.0"], "matches no import"),
        ] {
            let told = format!("{:#}", composed(&names).unwrap_err());
            assert!(told.contains(reason), "{told}");
        }
        let dependencies = BTreeMap::from([("t:counter".to_owned(), wat::parse_str(USER).unwrap())]);
        let told = format!("{:#}", compose(wat::parse_str(USER).unwrap(), &dependencies).unwrap_err());
        assert!(told.contains("t:counter/add@0.1.0"), "{told}");
        assert!(compose(b"no component".to_vec(), &dependencies).is_err());
    }
}
