//! Makes cargo track the built front end, and copies it to where `src/page.rs` embeds it.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    // A path that does not exist would count as changed in every build.
    fs::create_dir_all("web/dist").expect("web/dist can be created");
    println!("cargo:rerun-if-changed=web/dist");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for name in ["app.js", "app.css"] {
        // Without npm, there is no front end, and the page explains how to build it.
        let built = fs::read(format!("web/dist/{name}")).unwrap_or_default();
        fs::write(out.join(name), built).expect("OUT_DIR can be written");
    }
}
