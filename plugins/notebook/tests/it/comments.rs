//! Comments with mentions and an inbox, another owner, and asking for access.

use notebook::identity::Role;
use serde_json::{Value, json};

use crate::accounts::{Browser, start};

const PATH: &str = "/api/comments/ann/n.ipynb";

async fn notices(who: &Browser<'_>) -> (Vec<(String, String)>, u64) {
    let (status, inbox) = who.call("GET", "/api/inbox", None).await;
    assert_eq!(status, 200, "{inbox}");
    let text = |notice: &Value, field: &str| notice[field].as_str().unwrap().to_owned();
    let notices = inbox["notices"].as_array().unwrap().iter();
    (notices.map(|one| (text(one, "kind"), text(one, "author"))).collect(), inbox["unread"].as_u64().unwrap())
}

#[tokio::test]
async fn people_comment_are_told_hand_over_and_ask() {
    let server = start(json!({})).await;
    let ann = Browser::new(&server, "ann", Role::User).await;
    let admin = Browser::new(&server, "admin", Role::Admin).await;
    let bob = Browser::new(&server, "bob", Role::User).await;
    let carl = Browser::new(&server, "carl", Role::User).await;
    server.write_notebook("ann/n.ipynb", "paster-python", &["1"]);
    ann.share("ann/n.ipynb", "bob", "comment").await;
    let mut page = ann.page("ann/n.ipynb").await;

    // A mention reaches who may see the notebook, and nobody else.
    let begin = json!({"text": "why 1, @Ann and @carl?", "cell": "c0", "quote": "1"});
    let (status, made) = bob.call("POST", PATH, Some(begin)).await;
    assert_eq!(status, 201, "{made}");
    let thread = made["threads"][0]["id"].clone();
    let mut frame = Value::Null;
    while frame["type"] != "commented" {
        frame = page.step().await.unwrap();
    }
    assert_eq!(notices(&ann).await, (vec![("mention".into(), "bob".into())], 1));
    assert_eq!(notices(&carl).await, (vec![], 0));
    let (_, people) = bob.call("GET", "/api/people/ann/n.ipynb", None).await;
    assert_eq!(people["people"], json!(["admin", "ann", "bob"]));
    let reply = json!({"thread": thread, "text": "because"});
    assert_eq!(ann.call("POST", PATH, Some(reply)).await.0, 201);
    assert_eq!(notices(&bob).await.0, [("reply".to_owned(), "ann".to_owned())]);
    assert_eq!(bob.call("POST", "/api/inbox", Some(json!({}))).await.0, 204);
    assert_eq!(notices(&bob).await.1, 0);

    // Resolved, opened again by a reply; edited and deleted by its author only.
    let resolve = json!({"thread": thread, "resolved": true});
    let (_, threads) = bob.call("POST", PATH, Some(resolve)).await;
    assert_eq!(threads["threads"][0]["resolved"]["by"], "bob");
    assert_eq!(
        ann.call("POST", PATH, Some(json!({"thread": thread, "text": "really"}))).await.1["threads"][0]["resolved"],
        Value::Null
    );
    let (_, threads) = bob.call("GET", PATH, None).await;
    let of_ann = threads["threads"][0]["comments"][1]["id"].clone();
    let of_bob = threads["threads"][0]["comments"][0]["id"].clone();
    assert_eq!(bob.call("POST", PATH, Some(json!({"comment": of_ann, "text": "x"}))).await.0, 404);
    assert_eq!(bob.call("DELETE", &format!("{PATH}?comment={of_ann}"), None).await.0, 404);
    let (_, edited) = bob.call("POST", PATH, Some(json!({"comment": of_bob, "text": "why 2?"}))).await;
    assert!(edited["threads"][0]["comments"][0]["edited"].is_string());
    assert_eq!(
        ann.call("DELETE", &format!("{PATH}?comment={of_bob}"), None).await.0,
        204,
        "the owner deletes any"
    );
    for bad in [
        json!({"text": " "}),
        json!({"thread": 999, "text": "x"}),
        json!({"thread": thread}),
        json!({"text": "x".repeat(30_000)}),
    ] {
        assert!(matches!(bob.call("POST", PATH, Some(bad.clone())).await.0, 400 | 404), "{bad}");
    }

    // Another owner: it takes an acceptance, and everything stays with the notebook.
    let (_, refused) = ann.post("/handover/ann/n.ipynb", "to=nobody").await;
    assert!(refused.contains("has no folder"), "{refused}");
    assert_eq!(bob.post("/handover/ann/n.ipynb", "accept=true").await.0, 404, "nothing was offered");
    assert_eq!(ann.post("/handover/ann/n.ipynb", "to=bob").await.0, 303);
    assert_eq!(notices(&bob).await.0[0], ("offer".to_owned(), "ann".to_owned()));
    assert_eq!(carl.post("/handover/ann/n.ipynb", "accept=true").await.0, 404);
    assert_eq!(bob.post("/handover/ann/n.ipynb", "accept=true").await.0, 303);
    assert_eq!(ann.call("GET", PATH, None).await.0, 404);
    let (status, threads) = ann.call("GET", "/api/comments/bob/n.ipynb", None).await;
    assert_eq!((status, threads["threads"].as_array().unwrap().len()), (200, 1));
    assert_eq!(
        ann.call("PATCH", "/api/contents/bob/n.ipynb", Some(json!({"path": "ann/back.ipynb"}))).await.0,
        403
    );
    assert_eq!(bob.call("GET", "/api/notebooks/bob/n.ipynb", None).await.1["level"], "manage");

    // Asking: the same answer for what does not exist.
    let (status, missing) = carl.get("/notebooks/bob/n.ipynb").await;
    assert!(status == 404 && missing.contains("/ask/bob/n.ipynb"), "{missing}");
    assert!(carl.get("/notebooks/bob/none.ipynb").await.1.contains("/ask/bob/none.ipynb"));
    assert!(carl.get("/ask/bob/n.ipynb").await.1.contains("I want to"));
    let (status, asked) = carl.post("/ask/bob/n.ipynb", "level=run&message=please").await;
    assert_eq!(status, 200);
    let (_, nothing) = carl.post("/ask/bob/none.ipynb", "level=run&message=please").await;
    assert_eq!(asked.replace("n.ipynb", ""), nothing.replace("none.ipynb", ""));
    carl.post("/ask/bob/n.ipynb", "level=view&message=again").await;
    let (told, _) = notices(&bob).await;
    assert_eq!(
        told.iter().filter(|(kind, _)| kind == "request").count(),
        1,
        "one request for each notebook: {told:?}"
    );
    assert!(bob.get("/share/bob/n.ipynb").await.1.contains("please"));
    assert_eq!(carl.post("/requests/bob/n.ipynb", "name=carl&level=manage").await.0, 404);
    assert_eq!(bob.post("/requests/bob/n.ipynb", "name=carl&level=run").await.0, 303);
    assert_eq!(carl.call("GET", "/api/notebooks/bob/n.ipynb", None).await.1["level"], "run");
    assert_eq!(notices(&carl).await.0, [("granted".to_owned(), "bob".to_owned())]);
    let (_, log) = admin.get("/admin").await;
    for done in ["offer ann/n.ipynb to bob", "take over ann/n.ipynb", "ask for access bob/n.ipynb"] {
        assert!(log.contains(done), "{done}");
    }
}

#[tokio::test]
async fn readers_rate_what_is_published_which_follows_the_notebook_if_its_owner_wants() {
    let server = start(json!({})).await;
    let ann = Browser::new(&server, "ann", Role::Admin).await;
    let bob = Browser::new(&server, "bob", Role::User).await;
    server.write_notebook("ann/n.ipynb", "paster-python", &["first"]);
    assert_eq!(ann.post("/publish/ann/n.ipynb", "").await.0, 303);
    assert_eq!(ann.post("/publish/ann/n.ipynb", "settings=true&licence=nonsense").await.0, 400);
    assert_eq!(
        ann.post("/publish/ann/n.ipynb", "settings=true&licence=CC+BY+4.0&republish=true").await.0,
        303
    );
    assert!(ann.get("/share/ann/n.ipynb").await.1.contains("checked"));
    let slug = server.notebook().store.published_paths().unwrap().remove("ann/n.ipynb").unwrap();
    let read = async || server.send("GET", &format!("/api/published/{slug}"), None, &[]).await.1;
    assert_eq!(read().await["licence"]["name"], "CC BY 4.0");
    let mut page = ann.page("ann/n.ipynb").await;
    let revision = page.cell(0)["revision"].clone();
    let edit = json!({"type": "set_source", "cell_id": "c0", "source": "second", "base_revision": revision});
    page.ask(edit).await.unwrap();
    page.ask(json!({"type": "save"})).await.unwrap();
    assert_eq!(read().await["content"]["cells"][0]["source"], "second");

    let path = format!("/api/ratings/{slug}");
    let rating = |stars: u8, text: &str| Some(json!({"stars": stars, "text": text}));
    assert_eq!(bob.call("PUT", &path, rating(5, "")).await.0, 400);
    assert_eq!(bob.call("PUT", &path, rating(2, "fair")).await.0, 200);
    assert_eq!(bob.call("PUT", &path, rating(4, "<b>good</b>")).await.0, 200);
    assert_eq!(ann.call("PUT", &path, rating(4, "mine")).await.0, 403, "nobody rates their own");
    assert_eq!(
        server.send("PUT", &path, Some("{\"stars\": 0}".into()), &[]).await.0,
        403,
        "readers without an account do not rate"
    );
    let shown = read().await["ratings"].clone();
    assert_eq!(
        (shown.as_array().unwrap().len(), &shown[0]["stars"], &shown[0]["text"]),
        (1, &json!(4), &json!("<b>good</b>"))
    );
    assert_eq!(bob.call("DELETE", &path, None).await.1["ratings"], json!([]));
}
