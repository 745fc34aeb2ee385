//! `paster run APP -- WORD …` with a plugin: its commands run in a worker of the running server.

use crate::control::Site;

#[test]
fn a_command_of_a_plugin_gets_its_words_and_prints_its_result() {
    let site = Site::faulty("[app.other]\nuse = \"respond\"\n");
    fn run<'a>(words: &[&'a str]) -> Vec<&'a str> {
        [&["run", "main", "server.toml", "--"], words].concat()
    }
    let (code, error) = site.failure(&run(&["a"]));
    assert!(code == 1 && error.contains("no server"), "{code}: {error}");
    let _serving = site.serve(&[]);
    assert_eq!(site.text(&run(&["a", "--b", "c d"])), "[\"a\", \"--b\", \"c d\"]\n");
    assert_eq!(site.text(&run(&["long"])).len(), 100_001, "the whole text");
    let (code, error) = site.failure(&run(&["fail"]));
    assert!(code == 1 && error.contains("the store is gone"), "{code}: {error}");
    let (code, error) = site.failure(&["run", "other", "server.toml", "--", "a"]);
    assert!(code == 78 && error.contains("has no separate environment"), "{code}: {error}");
    let (code, error) = site.failure(&["run", "nothing", "server.toml", "--", "a"]);
    assert!(code == 78 && error.contains("unknown app `nothing`"), "{code}: {error}");
}
