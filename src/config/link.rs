//! References from a table to apps, read without building anything.

use super::KeyPath;

/// One link to an app, from another app or from a middleware.
#[derive(Debug, Clone)]
pub struct AppLink {
    /// Which requests follow it: `/files`, `admin.example.org/`, `on 404`.
    pub at: String,
    /// Name of the app.
    pub app: String,
    /// Key of the app's name in the table, for errors.
    pub key: KeyPath,
}
