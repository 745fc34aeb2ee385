//! Makes cargo track the built front end, which is embedded if it exists. Does not need Node.

fn main() {
    // A path that does not exist would be taken for changed with every build.
    if let Err(error) = std::fs::create_dir_all("web/dist") {
        println!("cargo:warning=cannot make web/dist: {error}");
    }
    println!("cargo:rerun-if-changed=web/dist");
}
