//! Compiled code on disk, so that a restart does not compile again: 0.2 ms to load what takes 130 ms (Rust) or seconds (Python) to compile.
//!
//! Compiled code is native code, so only what this host wrote is loaded: the directory is ours alone, and each file carries a
//! MAC under a key that never leaves it. A file is named after the component's digest and the engine (its version, target and
//! configuration); whatever does not verify, or could have been written by somebody else, is compiled anew. What was used least recently
//! goes when there is too much. The cache can be deleted at any time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ring::hmac;
use rustls::crypto::SecureRandom;
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::host::Clock;

const KEY_FILE: &str = "key";
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 32;
const OURS_ALONE: u32 = 0o600;
/// Those who may do nothing with our files.
const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;

/// One directory of compiled components.
pub struct CodeCache {
    dir: PathBuf,
    key: hmac::Key,
    /// Tells compiled code of this engine from that of another.
    engine: String,
    bytes_max: u64,
    clock: Arc<dyn Clock>,
}

impl CodeCache {
    /// Opens or makes the cache in `dir`, and takes away what another engine left there.
    ///
    /// # Errors
    /// The directory cannot be used, others may write into it, or its key may be known to them.
    pub fn open(
        dir: &Path,
        engine: &Engine,
        random: &dyn SecureRandom,
        bytes_max: u64,
        clock: &Arc<dyn Clock>,
    ) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        if fs::metadata(dir)?.permissions().mode() & OTHERS_WRITE != 0 {
            return Err(io::Error::other(format!(
                "others may write into {}: take that from them (chmod 700), and delete what is in it",
                dir.display()
            )));
        }
        let key = read_key(&dir.join(KEY_FILE), random)?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let cache = Self {
            dir: dir.to_owned(),
            key,
            engine: format!("{:016x}.cwasm", hasher.finish()),
            bytes_max,
            clock: Arc::clone(clock),
        };
        cache.sweep()?;
        Ok(cache)
    }

    /// The compiled component of this digest, if it is there and is what this host wrote.
    pub fn get(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let name = self.name(digest);
        let file = match self.read(&name) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(name, %error, "compiled code is not read: compiling anew");
                return None;
            }
        };
        let verified = file
            .split_at_checked(TAG_BYTES)
            .filter(|(tag, code)| hmac::verify(&self.key, &signed(&name, code), tag).is_ok());
        let Some((_, code)) = verified else {
            tracing::warn!(name, "compiled code does not verify: compiling anew");
            return None;
        };
        let loaded = deserialize(engine, code);
        loaded
            .inspect_err(|error| tracing::warn!(name, %error, "compiled code does not load: compiling anew"))
            .ok()
    }

    /// The file's bytes, and a note that it was used.
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut file = OpenOptions::new().read(true).write(true).open(self.dir.join(name))?;
        if file.metadata()?.permissions().mode() & OTHERS != 0 {
            return Err(io::Error::other("others may read or write it"));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        self.used(&file)?;
        Ok(bytes)
    }

    fn used(&self, file: &File) -> io::Result<()> {
        let since = Duration::from_millis(u64::try_from(self.clock.now_ms()).unwrap_or_default());
        file.set_modified(UNIX_EPOCH + since)
    }

    /// Keeps what was compiled. A failure costs the next start some time and nothing else.
    pub fn put(&self, component: &Component, digest: &str) {
        if let Err(error) = self.try_put(component, digest) {
            tracing::warn!(%error, dir = %self.dir.display(), "compiled code cannot be kept");
        }
    }

    fn try_put(&self, component: &Component, digest: &str) -> io::Result<()> {
        let code = component.serialize().map_err(io::Error::other)?;
        let name = self.name(digest);
        self.make_room((TAG_BYTES + code.len()) as u64)?;
        let tag = hmac::sign(&self.key, &signed(&name, &code));
        let unfinished = self.dir.join(format!("{name}.{}", unique()));
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(OURS_ALONE)
            .open(&unfinished)?;
        file.write_all(tag.as_ref())?;
        file.write_all(&code)?;
        self.used(&file)?;
        fs::rename(unfinished, self.dir.join(name))
    }

    /// Takes away what was used least recently, until `bytes` more fit.
    fn make_room(&self, bytes: u64) -> io::Result<()> {
        let mut kept = self.kept()?;
        let mut total: u64 = kept.iter().map(|(_, bytes, _)| bytes).sum();
        while total + bytes > self.bytes_max {
            let Some((_, freed, path)) = kept.pop() else {
                let bytes_max = self.bytes_max;
                return Err(io::Error::other(format!(
                    "{bytes} bytes are more than the {bytes_max} that are kept in all"
                )));
            };
            fs::remove_file(path)?;
            total -= freed;
        }
        Ok(())
    }

    /// Everything that is kept, the most recently used first.
    fn kept(&self) -> io::Result<Vec<(SystemTime, u64, PathBuf)>> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().ends_with(".cwasm") {
                let metadata = entry.metadata()?;
                kept.push((metadata.modified()?, metadata.len(), entry.path()));
            }
        }
        kept.sort_by(|one, other| other.cmp(one));
        Ok(kept)
    }

    fn name(&self, digest: &str) -> String {
        format!("{}-{}", digest.trim_start_matches("sha256:"), self.engine)
    }

    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.contains(".cwasm") && !name.ends_with(&self.engine) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// What no other writer calls its unfinished file.
fn unique() -> String {
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), WRITTEN.fetch_add(1, Ordering::Relaxed))
}

/// The name is signed, too: a file under another component's name does not verify.
fn signed(name: &str, code: &[u8]) -> Vec<u8> {
    [name.as_bytes(), &[0], code].concat()
}

#[allow(
    unsafe_code,
    reason = "the caller has verified that this host compiled and wrote these bytes"
)]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `code` verified under a key that only this host's user can read, so `Component::serialize` of an engine
    // of the same configuration made it.
    unsafe { Component::deserialize(engine, code) }
}

fn read_key(path: &Path, random: &dyn SecureRandom) -> io::Result<hmac::Key> {
    if !path.exists() {
        make_key(path, random)?;
    }
    if fs::metadata(path)?.permissions().mode() & OTHERS != 0 {
        return Err(io::Error::other(format!(
            "{} can be read by others; delete it and this directory's content",
            path.display()
        )));
    }
    let bytes = fs::read(path)?;
    if bytes.len() != KEY_BYTES {
        return Err(io::Error::other(format!("{} is not a key; delete it", path.display())));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

/// Writes a key where none is. Another process may do the same at the same time: whoever is first has made it, and never is
/// half of one there to be read.
fn make_key(path: &Path, random: &dyn SecureRandom) -> io::Result<()> {
    let mut bytes = [0; KEY_BYTES];
    random
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the system gives no random bytes"))?;
    let unfinished = path.with_extension(unique());
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(OURS_ALONE)
        .open(&unfinished)?;
    file.write_all(&bytes)?;
    let linked = fs::hard_link(&unfinished, path);
    fs::remove_file(&unfinished)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI64;

    use super::*;

    /// A clock that goes on by a second whenever somebody looks.
    #[derive(Default)]
    struct Steps(AtomicI64);

    impl Clock for Steps {
        fn now_ms(&self) -> i64 {
            self.0.fetch_add(1_000, Ordering::Relaxed)
        }
    }

    const DIGEST: &str = "sha256:00ff";
    const EMPTY_COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    fn try_open(dir: &Path, engine: &Engine, bytes_max: u64) -> io::Result<CodeCache> {
        let random = rustls::crypto::ring::default_provider().secure_random;
        let clock: Arc<dyn Clock> = Arc::new(Steps::default());
        CodeCache::open(dir, engine, random, bytes_max, &clock)
    }

    fn open(dir: &Path) -> (Engine, CodeCache) {
        let engine = Engine::default();
        let cache = try_open(dir, &engine, u64::MAX).unwrap();
        (engine, cache)
    }

    #[test]
    fn what_was_kept_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let (engine, cache) = open(dir.path());
        assert!(cache.get(&engine, DIGEST).is_none());
        cache.put(&Component::new(&engine, EMPTY_COMPONENT).unwrap(), DIGEST);
        let (engine, cache) = open(dir.path());
        assert!(cache.get(&engine, DIGEST).is_some());
        assert!(cache.get(&engine, "sha256:ee").is_none());
    }

    #[test]
    fn what_this_host_did_not_write_is_not_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let (engine, cache) = open(dir.path());
        cache.put(&Component::new(&engine, EMPTY_COMPONENT).unwrap(), DIGEST);
        let file = dir.path().join(cache.name(DIGEST));
        let genuine = fs::read(&file).unwrap();

        fs::copy(&file, dir.path().join(cache.name("sha256:ee"))).unwrap();
        assert!(cache.get(&engine, "sha256:ee").is_none(), "under another name");

        let mut changed = genuine.clone();
        *changed.last_mut().unwrap() ^= 1;
        for forged in [
            changed.as_slice(),
            &genuine[..genuine.len() - 1],
            &genuine[..TAG_BYTES],
            &genuine[..1],
            &[],
        ] {
            fs::write(&file, forged).unwrap();
            assert!(cache.get(&engine, DIGEST).is_none());
        }
    }

    #[test]
    fn a_key_that_others_can_read_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()));
        let key = dir.path().join(KEY_FILE);
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, OURS_ALONE);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(try_open(dir.path(), &Engine::default(), u64::MAX).is_err());
    }

    #[test]
    fn what_others_could_have_written_is_rebuilt() {
        let dir = tempfile::tempdir().unwrap();
        let (engine, cache) = open(dir.path());
        let component = Component::new(&engine, EMPTY_COMPONENT).unwrap();
        cache.put(&component, DIGEST);
        let file = dir.path().join(cache.name(DIGEST));
        for mode in [0o620, 0o602, 0o644] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            assert!(cache.get(&engine, DIGEST).is_none(), "{mode:o}");
        }
        cache.put(&component, DIGEST);
        assert!(cache.get(&engine, DIGEST).is_some());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, OURS_ALONE);

        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let refused = try_open(dir.path(), &engine, u64::MAX).err().unwrap();
        assert!(refused.to_string().contains("chmod 700"), "{refused}");
    }

    #[test]
    fn another_caches_files_are_not_loaded() {
        let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (engine, foreign) = open(theirs.path());
        foreign.put(&Component::new(&engine, EMPTY_COMPONENT).unwrap(), DIGEST);
        let (engine, cache) = open(ours.path());
        let name = cache.name(DIGEST);
        fs::copy(theirs.path().join(&name), ours.path().join(&name)).unwrap();
        assert!(cache.get(&engine, DIGEST).is_none(), "made under another key");
    }

    #[test]
    fn another_engine_has_files_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let (engine, cache) = open(dir.path());
        cache.put(&Component::new(&engine, EMPTY_COMPONENT).unwrap(), DIGEST);
        let other = Engine::new(wasmtime::Config::new().epoch_interruption(true)).unwrap();
        let theirs = try_open(dir.path(), &other, u64::MAX).unwrap();
        assert_ne!(cache.name(DIGEST), theirs.name(DIGEST));
        assert!(theirs.get(&other, DIGEST).is_none());
    }

    #[test]
    fn what_was_used_least_recently_makes_room() {
        let dir = tempfile::tempdir().unwrap();
        let (engine, cache) = open(dir.path());
        let component = Component::new(&engine, EMPTY_COMPONENT).unwrap();
        cache.put(&component, DIGEST);
        let each = fs::metadata(dir.path().join(cache.name(DIGEST))).unwrap().len();

        let small = try_open(dir.path(), &engine, 2 * each).unwrap();
        let there = |digest: &str| dir.path().join(small.name(digest)).exists();
        small.put(&component, "sha256:aa");
        assert!(small.get(&engine, DIGEST).is_some());
        small.put(&component, "sha256:bb");
        assert_eq!(
            (there(DIGEST), there("sha256:aa"), there("sha256:bb")),
            (true, false, true)
        );

        let none = try_open(dir.path(), &engine, each - 1).unwrap();
        none.put(&component, "sha256:cc");
        assert!(none.get(&engine, "sha256:cc").is_none(), "it is compiled each time");
    }

    #[test]
    fn a_key_is_made_once_by_however_many() {
        let dir = tempfile::tempdir().unwrap();
        let keys: Vec<_> = std::thread::scope(|scope| {
            let opened: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| drop(try_open(dir.path(), &Engine::default(), u64::MAX).unwrap())))
                .collect();
            opened.into_iter().map(|thread| thread.join()).collect()
        });
        assert!(keys.iter().all(Result::is_ok));
        assert_eq!(fs::read(dir.path().join(KEY_FILE)).unwrap().len(), KEY_BYTES);
    }

    #[test]
    fn what_another_engine_left_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let stale = dir.path().join("00ff-0000000000000000.cwasm");
        fs::write(&stale, "old").unwrap();
        drop(open(dir.path()));
        assert!(!stale.exists());
    }
}
