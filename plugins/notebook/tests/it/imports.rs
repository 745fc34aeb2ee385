//! Files of other programs become notebooks, archives are unpacked, and both ways back.

use std::io::Write;

use notebook::import::{ImportedFile, pack};
use serde_json::{Value, json};

use crate::server::Server;

async fn import(server: &Server, path: &str) -> (u16, Value) {
    server.call("POST", "/api/import", Some(json!({"path": path}))).await
}

async fn sources(server: &Server, path: &str) -> Vec<String> {
    let (status, notebook) =
        server.call("GET", &format!("/api/contents/{}", path.replace(' ', "%20")), None).await;
    assert_eq!(status, 200, "{path}: {notebook}");
    let cells = notebook["content"]["cells"].as_array().unwrap();
    cells.iter().map(|cell| cell["source"].as_str().unwrap().to_owned()).collect()
}

/// A worksheet of the Sage Notebook.
fn sws() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in [
        (
            "sage_worksheet/worksheet.html",
            "Waves/2\nsystem:sage\n<p>words</p>\n{{{id=1|\nsin(1)\n///\n0.84\n}}}",
        ),
        ("sage_worksheet/data/table.csv", "1,2"),
    ] {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    let mut packed = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
    packed.write_all(&archive.into_inner().unwrap()).unwrap();
    packed.finish().unwrap()
}

#[tokio::test]
async fn files_become_notebooks_and_notebooks_files() {
    let server = Server::start().await;
    std::fs::write(server.data("old.sws"), sws()).unwrap();
    let (status, made) = import(&server, "old.sws").await;
    assert_eq!((status, &made["created"]), (201, &json!(["Waves-2.ipynb"])), "{made}");
    assert_eq!(sources(&server, "Waves-2.ipynb").await, ["<p>words</p>", "sin(1)"]);
    assert_eq!(std::fs::read(server.data("Waves-2 data/table.csv")).unwrap(), b"1,2");
    assert_eq!(
        import(&server, "old.sws").await.1["created"],
        json!(["Waves-2 (1).ipynb"]),
        "nothing is overwritten"
    );

    std::fs::write(server.data("s.py"), "# %%\nx = 1\n# %%\ny = 2\n").unwrap();
    import(&server, "s.py").await;
    assert_eq!(sources(&server, "s.ipynb").await, ["x = 1", "y = 2"]);
    for (name, content) in [("bad.sws", "no archive"), ("bad.zip", "no archive"), ("x.exe", "MZ")] {
        std::fs::write(server.data(name), content).unwrap();
        let (status, refused) = import(&server, name).await;
        assert!(status == 400 && refused["message"].is_string(), "{name}: {refused}");
    }
    assert_eq!(import(&server, "none.py").await.0, 404);

    let file = |path: &str, content: &[u8]| ImportedFile { path: path.into(), content: content.to_vec() };
    let archive = pack(&[
        file("a/w.sws", &sws()),
        file("a/data.csv", b"3"),
        file("../up.txt", b"x"),
        file("b.sws", b"broken"),
    ])
    .unwrap();
    std::fs::write(server.data("many.zip"), archive).unwrap();
    let (_, made) = import(&server, "many.zip").await;
    assert_eq!(
        made["created"],
        json!(["many", "many/a/Waves-2.ipynb", "many/a/data.csv", "many/b.sws"]),
        "{made}"
    );
    assert!(!server.data("up.txt").exists());

    let token = format!("token {}", crate::server::TOKEN);
    let export = async |path: &str| {
        server.raw("GET", &format!("/api/export/{path}"), None, &[("authorization", &token)]).await
    };
    let script = export("s.ipynb?format=py").await;
    assert!(script.headers()["content-disposition"].to_str().unwrap().ends_with("s.py"));
    assert_eq!(script.text().await.unwrap(), "# %%\nx = 1\n\n# %%\ny = 2\n");
    let zip = export("many?format=zip").await.bytes().await.unwrap();
    let packed: Vec<String> =
        notebook::import::unpack(&zip).unwrap().into_iter().map(|file| file.path).collect();
    assert_eq!(packed, ["a/Waves-2 data/table.csv", "a/Waves-2.ipynb", "a/data.csv", "b.sws"]);
    assert_eq!(export("s.ipynb?format=doc").await.status(), 400);
    // A worksheet goes out and comes back, with its data.
    let response = export("Waves-2.ipynb?format=sws").await;
    assert!(response.headers()["content-disposition"].to_str().unwrap().ends_with("Waves-2.sws"));
    std::fs::create_dir(server.data("back")).unwrap();
    std::fs::write(server.data("back/w.sws"), response.bytes().await.unwrap()).unwrap();
    assert_eq!(import(&server, "back/w.sws").await.1["created"], json!(["back/Waves-2.ipynb"]));
    assert_eq!(sources(&server, "back/Waves-2.ipynb").await, ["<p>words</p>", "sin(1)"]);
    assert_eq!(std::fs::read(server.data("back/Waves-2 data/table.csv")).unwrap(), b"1,2");
}
