//! Where the objects are: the settings `objects` and `objects_s3`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore, RetryConfig};

use super::ObjectError;
use super::client::S3Connector;
use crate::settings::S3;

/// Maximum number of retries of a failed request, and the time limit for all of them.
const RETRIES: usize = 3;
const RETRY: Duration = Duration::from_secs(8);

/// A store, and its address for messages, without secrets.
pub(super) type NamedStore = (Arc<dyn ObjectStore>, String);

/// Opens the store without connecting. Creates the folder of `file://…`.
pub(super) fn open(address: &str, s3: Option<&S3>) -> Result<NamedStore, ObjectError> {
    if let Some(folder) = address.strip_prefix("file://") {
        if s3.is_some() {
            return Err(ObjectError::setting(
                "objects_s3",
                "it applies only to `objects = \"s3://…\"`: remove it",
            ));
        }
        return local(Path::new(folder));
    }
    match address.strip_prefix("s3://") {
        Some(rest) => remote(rest, s3.unwrap_or(&S3::default())),
        None => Err(ObjectError::setting(
            "objects",
            format!("`{address}` is not an address: write `s3://BUCKET/PREFIX` or `file:///FOLDER`"),
        )),
    }
}

fn local(folder: &Path) -> Result<NamedStore, ObjectError> {
    if !folder.is_absolute() {
        return Err(ObjectError::setting(
            "objects",
            format!("`file://{}` must name an absolute folder: `file:///srv/objects`", folder.display()),
        ));
    }
    let failed = |error: &dyn std::error::Error| {
        ObjectError::setting("objects", format!("cannot use the folder `{}`: {error}", folder.display()))
    };
    std::fs::create_dir_all(folder).map_err(|error| failed(&error))?;
    let store = LocalFileSystem::new_with_prefix(folder).map_err(|error| failed(&error))?;
    Ok((Arc::new(store.with_fsync(true)), format!("`file://{}`", folder.display())))
}

fn remote(rest: &str, s3: &S3) -> Result<NamedStore, ObjectError> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() || bucket.contains(['@', ':', '?']) {
        return Err(ObjectError::setting(
            "objects",
            "the address has no bucket: write `s3://BUCKET/PREFIX`; the address of the service is `objects_s3.endpoint`",
        ));
    }
    let prefix = prefix.trim_matches('/');
    let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY, ..RetryConfig::default() };
    let connector = S3Connector::new(s3.ca_file.as_deref()).map_err(|error| {
        let file = s3.ca_file.as_deref().unwrap_or(Path::new("")).display();
        ObjectError::setting("objects_s3.ca_file", format!("cannot read the certificates `{file}`: {error}"))
    })?;
    // The environment provides the options that are not set.
    let mut builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_http_connector(connector)
        // The whole of a request is limited by its size, in `Objects`.
        .with_client_options(ClientOptions::new().with_allow_http(s3.allow_http))
        .with_retry(retry)
        .with_virtual_hosted_style_request(!s3.path_style.unwrap_or(s3.endpoint.is_some()));
    if let Some(endpoint) = &s3.endpoint {
        if endpoint.starts_with("http://") && !s3.allow_http {
            return Err(ObjectError::setting(
                "objects_s3.endpoint",
                "`http://` is not encrypted: use `https://`, or set `objects_s3.allow_http = true` in a network that you trust",
            ));
        }
        builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
    }
    if let Some(region) = &s3.region {
        builder = builder.with_region(region);
    }
    match (&s3.access_key_id, &s3.secret_access_key_file) {
        (Some(id), Some(file)) => {
            let secret = std::fs::read_to_string(file).map_err(|error| {
                let why = format!("cannot read `{}`: {error}", file.display());
                ObjectError::setting("objects_s3.secret_access_key_file", why)
            })?;
            builder = builder.with_access_key_id(id).with_secret_access_key(secret.trim());
        }
        (None, None) => {}
        (Some(_), None) => {
            return Err(ObjectError::setting("objects_s3.access_key_id", "set `secret_access_key_file` too"));
        }
        (None, Some(_)) => {
            return Err(ObjectError::setting("objects_s3.secret_access_key_file", "set `access_key_id` too"));
        }
    }
    let store = builder.build().map_err(|error| ObjectError::setting("objects", error.to_string()))?;
    let at = s3.endpoint.as_ref().map(|endpoint| format!(" at {endpoint}")).unwrap_or_default();
    let name = format!("`s3://{rest}`{at}");
    if prefix.is_empty() {
        return Ok((Arc::new(store), name));
    }
    Ok((Arc::new(PrefixStore::new(store, prefix)), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_address_is_explained() {
        let s3 = |json: serde_json::Value| serde_json::from_value::<S3>(json).unwrap();
        let error = |address: &str, options: Option<S3>| {
            open(address, options.as_ref()).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(error("bucket/prefix", None).contains("write `s3://BUCKET/PREFIX` or `file:///FOLDER`"));
        assert!(error("s3:///prefix", None).contains("has no bucket"));
        assert!(error("s3://id:secret@host/b", None).contains("has no bucket"));
        assert!(!error("s3://id:secret@host/b", None).contains("secret"));
        assert!(error("file://relative", None).contains("must name an absolute folder"));
        assert!(error("file:///tmp", Some(S3::default())).contains("remove it"));
        let plain = s3(serde_json::json!({"endpoint": "http://127.0.0.1:9"}));
        assert!(error("s3://b", Some(plain)).contains("`objects_s3.allow_http = true`"));
        let half = s3(serde_json::json!({"access_key_id": "id"}));
        assert!(error("s3://b", Some(half)).contains("set `secret_access_key_file` too"));
        let missing = s3(serde_json::json!({"access_key_id": "id", "secret_access_key_file": "/no/such"}));
        assert!(error("s3://b", Some(missing)).contains("cannot read `/no/such`"));
    }
}
