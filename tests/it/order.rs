//! `paster routes --order` and the page about the order: what happens to a request.

use crate::control::Site;

#[test]
fn the_order_of_things_is_documented_and_printed() {
    let site = Site::new(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n\
         [app.main]\nuse = \"mount\"\nmiddleware = [\"access_log\", \"spans\", \"error_page\"]\nroutes = { \"/a\" = \"inner\" }\n\
         [app.inner]\nuse = \"respond\"\nmiddleware = [\"cache\"]\n\
         [middleware.spans]\nuse = \"trace\"\nonly = { path = \"/a/*\" }\n",
    );
    let text = site.text(&["routes", "--order"]);
    let place = |part: &str| text.find(part).unwrap_or_else(|| panic!("no {part} in {text}"));
    let order = [
        "accept",
        "gate",
        "access_log: ",
        "spans (trace) [only /a/*]: ",
        "error_page: ",
        "app main (mount): ",
        "cache: Stores",
        "app inner (respond): ",
        "settle",
    ];
    let places: Vec<usize> = order.iter().map(|part| place(part)).collect();
    assert!(places.is_sorted(), "{text}");
}

#[test]
#[cfg_attr(not(feature = "full"), ignore = "the page has the kinds of the feature `full`")]
fn the_page_about_the_order_is_fresh() {
    let kept = std::fs::read_to_string(crate::support::root().join("docs/order.md")).unwrap();
    let written = paster::ops::order::markdown();
    assert!(kept == written, "run `cargo run --features full -- list --order > docs/order.md`");
}
