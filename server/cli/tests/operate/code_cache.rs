//! Compiled connectors are kept between two starts, and what was kept is not believed blindly.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::server::{Start, folder};

const PROJECT: &str = "
apiVersion: tape.dev/v1
kind: TapeProject
project: {name: kept}
tape:
  connectors:
    log:
      source: log.wasm
";

/// The files with compiled code.
fn compiled(cache: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(cache).expect("a cache").map(|entry| entry.unwrap().path());
    files
        .filter(|file| file.extension().is_some_and(|kind| kind == "cwasm"))
        .collect()
}

#[tokio::test]
async fn a_second_start_compiles_nothing_and_a_damaged_file_is_compiled_anew() {
    let folder = folder();
    fs::write(folder.path().join("tape.yaml"), PROJECT).unwrap();
    fs::write(
        folder.path().join("log.wasm"),
        tape_connector_tests::component("tape-connector-log"),
    )
    .unwrap();
    let cache = folder.path().join("cache");
    let start = || Start::new(folder.path()).args(&["--config", "tape.yaml", "--connector-cache", "cache"]);

    drop(start().run().await);
    let [file] = compiled(&cache).try_into().expect("one connector");
    // A file that is written again is another file.
    let (first, number) = (fs::read(&file).unwrap(), fs::metadata(&file).unwrap().ino());

    drop(start().run().await);
    assert_eq!(fs::metadata(&file).unwrap().ino(), number, "it was compiled again");

    let mut damaged = first.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&file, &damaged).unwrap();
    drop(start().run().await);
    assert_ne!(fs::read(&file).unwrap(), damaged, "what was damaged is still there");

    fs::remove_dir_all(&cache).unwrap();
    Start::new(folder.path())
        .args(&["--config", "tape.yaml", "--connector-cache", "none"])
        .run()
        .await;
    assert!(
        !cache.exists() && !folder.path().join("none").exists(),
        "nothing is kept where nothing is to be"
    );
}
