//! The example's worksheet.

use std::sync::Arc;

use serde_json::json;

use crate::server::{Page, Server};
use crate::support::{Host, test_python, until};

#[tokio::test]
async fn the_example_runs_without_matplotlib() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/notebook/worksheets/Welcome.ipynb");
    let with_ipykernel = Server::start_with(Arc::new(Host::start()), json!({"python": test_python()})).await;
    for (server, kernel) in [(with_ipykernel, "python3"), (Server::start().await, "paster-python")] {
        std::fs::copy(example, server.data("Welcome.ipynb")).unwrap();
        std::fs::write(server.data("matplotlib.py"), "raise ImportError('not here')").unwrap();
        let mut page = Page::open(&server, "Welcome.ipynb", None).await;
        page.ask(json!({"type": "start_kernel", "name": kernel})).await.unwrap();
        page.ask(json!({"type": "run_all"})).await.unwrap();
        page.until_idle().await;
        assert_eq!(page.document["kernel"]["name"], kernel);
        let cells = page.document["cells"].as_array().unwrap();
        for cell in cells.iter().filter(|cell| cell["cell_type"] == "code") {
            assert_ne!(cell["outputs"], json!([]), "{kernel}: {cell}");
            assert!(!cell["outputs"].to_string().contains("\"error\""), "{kernel}: {cell}");
        }
        assert!(page.document["cells"].to_string().contains("image/svg+xml"), "{kernel}");
        page.ask(json!({"type": "save"})).await.unwrap();
        until("the outputs to be in the file", || {
            std::fs::read_to_string(server.data("Welcome.ipynb")).unwrap().contains("image/svg+xml")
        })
        .await;
    }
}
