//! What commands print, word for word: `tests/cmd/*.trycmd`.

use crate::support::root;

#[test]
fn transcripts_are_true() {
    trycmd::TestCases::new()
        .register_bin("paster", std::path::Path::new(env!("CARGO_BIN_EXE_paster")))
        .case(root().join("tests/cmd/*.trycmd"));
}
