//! Contents that are stored outside the database, in a folder or in a bucket of an S3 service.
//!
//! The key of an object begins with the SHA-256 of its content. An object never changes, and a key is used once: if the same content
//! is written again, it gets another key. Therefore, deleting an unused object cannot remove an object that another process is about
//! to use. The database has a row for each object before the object is written (`store::objects`).

mod address;
mod cache;
mod client;
mod error;
pub mod replica;

use std::fmt;
use std::io::SeekFrom;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream::{BoxStream, Chunks};
use futures_util::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use self::cache::ObjectCache;
pub use self::error::ObjectError;
use crate::settings::Settings;

/// Time limit of an operation, without the time for its bytes.
const WAIT: Duration = Duration::from_secs(15);
/// The slowest accepted rate, in bytes per second.
const SLOWEST: u64 = 256 << 10;
/// Files of more bytes are written in parts of this size, a few at the same time.
const PART_BYTES: usize = 8 << 20;
const PARTS: usize = 4;
/// Maximum number of objects to delete at the same time.
const DELETES: usize = 16;
/// Number of objects in one part of a list.
const LISTED: usize = 500;
/// The object with the name of the notebook that the objects belong to.
const OWNER: &str = "owner";

/// The key of an object: the SHA-256 of its content in hexadecimal, `-`, and a random part.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// A new key of an object whose content has this SHA-256.
    #[must_use]
    pub fn new(hash: [u8; 32]) -> ObjectKey {
        let random = uuid::Uuid::new_v4().simple().to_string();
        ObjectKey(format!("{}-{}", hexadecimal(&hash), &random[..16]))
    }

    /// Parses a stored key. Returns `None` if the text is not a key.
    #[must_use]
    pub fn parse(text: &str) -> Option<ObjectKey> {
        let (hash, random) = text.split_once('-')?;
        let is_hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let valid = hash.len() == 64 && random.len() == 16 && is_hexadecimal(hash) && is_hexadecimal(random);
        valid.then(|| ObjectKey(text.to_owned()))
    }

    /// As it is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The SHA-256 of the content, in hexadecimal.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.0[..64]
    }

    fn path(&self) -> Path {
        Path::from(format!("objects/{}/{}", &self.0[..2], self.0))
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The objects of a notebook. Cheap to clone.
#[derive(Clone)]
pub struct Objects(Arc<ObjectsInner>);

struct ObjectsInner {
    store: Arc<dyn ObjectStore>,
    /// The address, for messages.
    name: String,
    cache: ObjectCache,
}

impl Objects {
    /// Opens the object store of the settings `objects` and `objects_s3`, without connecting. Returns `None` without these settings:
    /// then everything is in the database and in files.
    /// # Errors
    /// If a setting is wrong, or a file or folder cannot be used.
    pub fn open(settings: &Settings) -> Result<Option<Objects>, ObjectError> {
        let Some(address) = &settings.objects else {
            return match settings.objects_s3 {
                Some(_) => {
                    Err(ObjectError::setting("objects_s3", "set `objects = \"s3://BUCKET/PREFIX\"` too"))
                }
                None => Ok(None),
            };
        };
        let (store, name) = address::open(address, settings.objects_s3.as_ref())?;
        Ok(Some(Objects::new(store, name, settings.limits.objects_cache_bytes)))
    }

    /// Objects in memory, which are lost when the process ends.
    #[must_use]
    pub fn in_memory() -> Objects {
        Objects::new(Arc::new(InMemory::new()), "in memory".to_owned(), 0)
    }

    fn new(store: Arc<dyn ObjectStore>, name: String, cache_bytes: usize) -> Objects {
        Objects(Arc::new(ObjectsInner { store, name, cache: ObjectCache::new(cache_bytes) }))
    }

    /// The address, for messages: without secrets.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Writes an object. When this returns, it is durable.
    /// # Errors
    /// [`ObjectError::Unavailable`].
    pub async fn put(&self, key: &ObjectKey, content: Bytes) -> Result<(), ObjectError> {
        let bytes = content.len() as u64;
        self.limited("write to", bytes, self.0.store.put(&key.path(), PutPayload::from(content.clone())))
            .await?;
        self.0.cache.add(key, content);
        Ok(())
    }

    /// The same; fails if the content has another SHA-256 than the key.
    /// # Errors
    /// [`ObjectError`].
    pub async fn put_checked(&self, key: &ObjectKey, content: Bytes) -> Result<(), ObjectError> {
        match hexadecimal(&Sha256::digest(&content)) == key.hash() {
            true => self.put(key, content).await,
            false => Err(self.damaged(key)),
        }
    }

    /// Writes an object with the content of a file of this size. It fails if the content has another SHA-256 than its key.
    /// # Errors
    /// [`ObjectError::Unavailable`].
    pub async fn put_file(
        &self,
        key: &ObjectKey,
        mut file: tokio::fs::File,
        bytes: u64,
    ) -> Result<(), ObjectError> {
        let read =
            |error: std::io::Error| self.unavailable("write to", format!("cannot read the file: {error}"));
        file.seek(SeekFrom::Start(0)).await.map_err(read)?;
        if bytes <= PART_BYTES as u64 {
            let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or_default());
            file.read_to_end(&mut content).await.map_err(read)?;
            self.expect_hash(key, &Sha256::digest(&content))?;
            return self.put(key, content.into()).await;
        }
        let path = key.path();
        let upload = self.limited("write to", 0, self.0.store.put_multipart(&path)).await?;
        let mut upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut hash = Sha256::new();
        loop {
            let mut part = Vec::with_capacity(PART_BYTES);
            (&mut file).take(PART_BYTES as u64).read_to_end(&mut part).await.map_err(read)?;
            if part.is_empty() {
                break;
            }
            hash.update(&part);
            upload.put(part.into());
            let sent = (PARTS * PART_BYTES) as u64;
            self.limited("write to", sent, upload.wait_for_capacity(PARTS)).await?;
        }
        if let Err(changed) = self.expect_hash(key, &hash.finalize()) {
            let _ = self.limited("write to", 0, upload.abort()).await;
            return Err(changed);
        }
        self.limited("write to", (PARTS * PART_BYTES) as u64, upload.finish()).await.map(drop)
    }

    fn expect_hash(&self, key: &ObjectKey, hash: &[u8]) -> Result<(), ObjectError> {
        match hexadecimal(hash) == key.hash() {
            true => Ok(()),
            false => {
                Err(self.unavailable("write to", "the file changed while it was read: try again".to_owned()))
            }
        }
    }

    /// Reads an object and checks its content.
    /// # Errors
    /// [`ObjectError`].
    pub async fn get(&self, key: &ObjectKey) -> Result<Bytes, ObjectError> {
        if let Some(content) = self.0.cache.get(key) {
            return Ok(content);
        }
        let path = key.path();
        let found = self.limited("read from", 0, self.0.store.get(&path)).await?;
        let bytes = found.meta.size;
        let content = self.limited("read from", bytes, found.bytes()).await?;
        if hexadecimal(&Sha256::digest(&content)) != key.hash() {
            return Err(self.damaged(key));
        }
        self.0.cache.add(key, content.clone());
        Ok(content)
    }

    /// Writes the content of an object to a file. If it is damaged, this fails after it was written.
    /// # Errors
    /// [`ObjectError`].
    pub async fn get_to(&self, key: &ObjectKey, file: &mut tokio::fs::File) -> Result<(), ObjectError> {
        let path = key.path();
        let found = self.limited("read from", 0, self.0.store.get(&path)).await?;
        let mut stream = found.into_stream();
        let mut hash = Sha256::new();
        while let Some(part) = self.limited("read from", 0, stream.try_next()).await? {
            hash.update(&part);
            let written = file.write_all(&part).await;
            written
                .map_err(|error| self.unavailable("read from", format!("cannot write the file: {error}")))?;
        }
        let written = file.sync_all().await;
        written.map_err(|error| self.unavailable("read from", format!("cannot write the file: {error}")))?;
        match hexadecimal(&hash.finalize()) == key.hash() {
            true => Ok(()),
            false => Err(self.damaged(key)),
        }
    }

    /// Deletes objects. Objects that do not exist are not an error.
    /// # Errors
    /// [`ObjectError::Unavailable`].
    pub async fn delete(&self, keys: &[ObjectKey]) -> Result<(), ObjectError> {
        let deletes = futures_util::stream::iter(keys.to_vec()).map(|key| {
            let objects = self.clone();
            async move { objects.delete_one(&key).await }
        });
        deletes.buffer_unordered(DELETES).try_collect().await
    }

    async fn delete_one(&self, key: &ObjectKey) -> Result<(), ObjectError> {
        self.0.cache.remove(key);
        match self.limited("delete from", 0, self.0.store.delete(&key.path())).await {
            Err(ObjectError::Missing { .. }) => Ok(()),
            other => other,
        }
    }

    /// Lists the keys of all objects that were written before `end`, in parts. Errors are [`ObjectError::Unavailable`].
    pub fn list(&self, end: SystemTime) -> BoxStream<'static, Result<Vec<ObjectKey>, ObjectError>> {
        let listed = self.0.store.list(Some(&Path::from("objects"))).chunks(LISTED);
        let objects = self.clone();
        let next = move |mut listed: Chunks<BoxStream<'static, object_store::Result<ObjectMeta>>>| {
            let objects = objects.clone();
            async move {
                let some = objects.limited("list", 0, async { Ok(listed.next().await) }).await?;
                let Some(some) = some else { return Ok(None) };
                let mut keys = Vec::new();
                for object in some {
                    let object = object.map_err(|error| objects.failed("list", &error))?;
                    let key = object.location.filename().and_then(ObjectKey::parse);
                    if SystemTime::from(object.last_modified) < end {
                        keys.extend(key);
                    }
                }
                Ok(Some((keys, listed)))
            }
        };
        futures_util::stream::try_unfold(listed, next).boxed()
    }

    /// Claims the store for the database with this unique name, and checks that it can be written and read. Returns false if the
    /// store belongs to another database.
    /// # Errors
    /// [`ObjectError::Unavailable`].
    pub async fn claim(&self, owner: &str) -> Result<bool, ObjectError> {
        let path = Path::from(OWNER);
        let found = match self.limited("read from", 0, self.0.store.get(&path)).await {
            Ok(found) => Some(self.limited("read from", found.meta.size, found.bytes()).await?),
            Err(ObjectError::Missing { .. }) => None,
            Err(error) => return Err(error),
        };
        if found.as_ref().is_some_and(|found| found != owner) {
            return Ok(false);
        }
        // Written every time, to check that the store can be written.
        self.limited("write to", 0, self.0.store.put(&path, owner.to_owned().into())).await?;
        Ok(true)
    }

    /// Awaits an operation, with a time limit.
    async fn limited<T>(
        &self,
        what: &'static str,
        bytes: u64,
        operation: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, ObjectError> {
        let wait = WAIT + Duration::from_secs(bytes / SLOWEST);
        match tokio::time::timeout(wait, operation).await {
            Ok(done) => done.map_err(|error| self.failed(what, &error)),
            Err(_) => Err(self.unavailable(what, format!("no response within {} s", wait.as_secs()))),
        }
    }

    fn failed(&self, what: &'static str, error: &object_store::Error) -> ObjectError {
        let why = error::explain(error);
        match error {
            object_store::Error::NotFound { path, .. } if !why.contains("NoSuchBucket") => {
                let key = path.rsplit('/').next().unwrap_or_default().to_owned();
                ObjectError::Missing { key, store: self.0.name.clone() }
            }
            _ => self.unavailable(what, why),
        }
    }

    fn unavailable(&self, what: &'static str, why: String) -> ObjectError {
        ObjectError::Unavailable { what, store: self.0.name.clone(), why }
    }

    fn damaged(&self, key: &ObjectKey) -> ObjectError {
        ObjectError::Damaged { key: key.to_string(), store: self.0.name.clone() }
    }
}
