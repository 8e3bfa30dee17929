//! `precompile`.

use std::fs;
use std::path::Path;

use dayfly_engine::artefact::{Artefact, CODE_FILE};
use dayfly_engine::{Limits, Runtime, SystemWorld, usual_config};

use crate::program::run;

/// It makes the folder, runs elsewhere as it is, and comes out alike each time.
#[test]
fn what_is_precompiled_runs_without_being_compiled() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("precompiled");
    let _ = fs::remove_dir_all(&folder);
    let (first, second) = (folder.join("first"), folder.join("second"));
    let told = run("", &["precompile", first.to_str().expect("UTF-8")]).ok();
    run("", &["precompile", "--target", "x86_64", second.to_str().expect("UTF-8")]).ok();
    let code = fs::read(first.join(CODE_FILE)).expect("it was written");
    assert!(code == fs::read(second.join(CODE_FILE)).expect("it was written"), "two runs differ");
    assert!(told.contains(&code.len().to_string()), "{told}");
    assert!(told.contains(&Artefact::hash_in(&first).expect("it was written")), "{told}");

    // SAFETY: the program made it, and nobody else writes there.
    let runtime = unsafe { Runtime::map(&first, Limits { instances: 1, ..Limits::default() }) }.expect("it loads");
    let mut instance = runtime.instantiate(SystemWorld).expect("there is room");
    let mut config = usual_config("c");
    config.component_hash = runtime.component_hash().to_owned();
    instance.start(&config).expect("it starts");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("precompiled-file");
    fs::write(&file, "no folder").expect("it is written");
    run("", &["precompile", file.to_str().expect("UTF-8")]).failed(1, &["cannot write", "precompiled-file"]);
    run("", &["precompile", "--target", "z80", "x"]).failed(2, &["x86_64, arm64"]);
    run("", &["precompile"]).failed(2, &["<DIR>"]);
}
