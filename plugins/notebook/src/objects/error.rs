//! Errors of the object store.

/// An error of the object store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// There is no such object.
    #[error("the object `{key}` is missing in the object store {store}")]
    Missing {
        /// Its key.
        key: String,
        /// The address of the store.
        store: String,
    },
    /// The content that was read differs from the content that was written.
    #[error(
        "the object `{key}` in the object store {store} is damaged: its content does not match its SHA-256; restore it from a backup"
    )]
    Damaged {
        /// Its key.
        key: String,
        /// The address of the store.
        store: String,
    },
    /// The store cannot be used, now or at all.
    #[error("cannot {what} the object store {store}: {why}")]
    Unavailable {
        /// The operation, such as `read from`.
        what: &'static str,
        /// The address of the store.
        store: String,
        /// The cause, and what to do about it.
        why: String,
    },
    /// A setting is wrong.
    #[error("the setting `{setting}`: {why}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What is wrong, and how to fix it.
        why: String,
    },
}

impl ObjectError {
    /// Of a setting.
    pub(super) fn setting(setting: &'static str, why: impl Into<String>) -> ObjectError {
        ObjectError::Setting { setting, why: why.into() }
    }
}

/// The cause of an error, and what to do about it.
pub(super) fn explain(error: &object_store::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    let help = match error {
        object_store::Error::Unauthenticated { .. } | object_store::Error::PermissionDenied { .. } => {
            "check the access key: it needs the permissions GetObject, PutObject, DeleteObject and ListBucket"
        }
        _ if text.contains("InvalidAccessKeyId") || text.contains("SignatureDoesNotMatch") => {
            "check the access key (`objects_s3.access_key_id`, `objects_s3.secret_access_key_file`)"
        }
        object_store::Error::NotFound { .. } if text.contains("NoSuchBucket") => {
            "create the bucket, or correct its name in `objects`"
        }
        _ if text.contains("metadata") && text.contains("169.254.169.254") => {
            "there is no access key: set `objects_s3.access_key_id` and `objects_s3.secret_access_key_file`, or the variables AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY"
        }
        object_store::Error::Generic { store: "S3", .. } => {
            "check that the service is running, and check its address (`objects_s3.endpoint`, `objects_s3.region`)"
        }
        _ => return text,
    };
    format!("{text}; {help}")
}
