//! The computational notebook: Jupyter's protocols and documents that live on the server, as a paster plugin.

pub mod protocol;
