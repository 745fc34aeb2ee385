//! What the notebook expects of its database, on each that it can use.

use notebook::access::Level;
use notebook::files::RelativePath;
use notebook::identity::Role;
use notebook::protocol::Operation;
use notebook::store::{
    Backend, Cause, FileVersion, IndexedNotebook, LoggedOperation, MarksChange, NewNotice, Snapshot, Store,
    Subject,
};

use crate::postgres::Postgres;

fn path(text: &str) -> RelativePath {
    RelativePath::parse(text).unwrap()
}

/// Calls `check` with an empty store of each kind.
async fn on_each(check: impl AsyncFn(&Store)) {
    let folder = tempfile::tempdir().unwrap();
    check(&Store::open(&folder.path().join("db")).unwrap()).await;
    if let Some(server) = Postgres::start() {
        let url = server.database("notebook");
        let store = Store::connect(Backend::parse(&url, None).unwrap()).unwrap();
        check(&store).await;
    }
}

fn delete_cell(cell: &str) -> LoggedOperation {
    LoggedOperation { operation: Operation::DeleteCell { cell_id: cell.into() }, base: Some("00".into()) }
}

async fn documents(store: &Store) {
    let document = store.document(&path("a/n.ipynb"), [0; 32]).await.unwrap();
    assert_eq!((document.last, document.saved), (0, 0));
    for number in 1..=3 {
        let append = store.append(&document.id, "ann", &delete_cell("c")).await;
        assert_eq!(append, Ok(number));
    }
    // Many at once are numbered without gaps.
    let appends =
        (0..100).map(|_| async { store.append(&document.id, "ben", &delete_cell("c")).await.unwrap() });
    let mut numbers = futures_util::future::join_all(appends).await;
    numbers.sort_unstable();
    assert_eq!(numbers, (4..=103).collect::<Vec<i64>>());
    store.renamed(&path("a"), &path("b")).await.unwrap();
    assert_eq!(store.path_of(&document.id).unwrap(), Some(path("b/n.ipynb")));
    store.writing(&document.id, 2, [2; 32]).await.unwrap();
    assert_eq!(store.document(&path("b/n.ipynb"), [1; 32]).await.unwrap().saved, 0);
    assert_eq!(store.document(&path("b/n.ipynb"), [2; 32]).await.unwrap().saved, 2);
    store.written(&document.id, 100, [3; 32]).await.unwrap();
    store.written(&document.id, 50, [3; 32]).await.unwrap();
    assert_eq!(store.document(&path("b/n.ipynb"), [4; 32]).await.unwrap().saved, 100);
    let left = store.operations(&document.id, 102).unwrap();
    assert_eq!((left.len(), left[0].0.name.as_str()), (1, "ben"));
    assert_eq!(store.operations_between(&document.id, 1, 3).unwrap().len(), 2);
    assert_eq!(store.document_at(&path("b/n.ipynb")).unwrap(), Some((document.id.clone(), 103)));
    // An unknown document gets nothing, and others are not disturbed.
    assert!(store.append("no such document", "ann", &delete_cell("c")).await.is_err());
    assert_eq!(store.append(&document.id, "ann", &delete_cell("c")).await, Ok(104));
    store.removed(&path("b")).await.unwrap();
    assert_eq!(store.path_of(&document.id).unwrap(), None);
    assert_eq!(store.operations(&document.id, 0).unwrap().len(), 0);
}

#[tokio::test]
async fn documents_and_operations() {
    on_each(documents).await;
}

async fn history(store: &Store) {
    let document = store.document(&path("n.ipynb"), [0; 32]).await.unwrap().id;
    for _ in 0..4 {
        store.append(&document, "ann", &delete_cell("secret text")).await.unwrap();
    }
    let snapshot = |number, cause, name: &str| {
        let (author, name) = ("ann".to_owned(), name.to_owned());
        Snapshot { id: 0, number, at: 0, author, cause, name }
    };
    let add = async |snapshot, content: &str| {
        store.add_snapshot(&document, snapshot, content.to_owned()).await.unwrap()
    };
    let first = add(snapshot(1, Cause::Periodic, ""), "{\"cells\": [\"a secret\"]}").await;
    let second = add(snapshot(2, Cause::Revision, "mine"), "{}").await;
    assert!(second > first);
    assert_eq!(store.snapshots(&document).unwrap().len(), 2);
    let (found, _) = store.snapshot_before(&document, 2).unwrap().unwrap();
    assert_eq!((found.id, found.cause), (first, Cause::Periodic));
    assert_eq!(store.snapshot(&document, second).unwrap().unwrap().0.name, "mine");
    store.run_queued("run", &document, "cell", "ann", "print('a secret')\0").unwrap();
    store.run_queued("run", &document, "cell", "ann", "again").unwrap();
    store.run_ended("run", "ok").unwrap();
    store.run_ended("run", "error").unwrap();
    store.run_ended("unknown", "ok").unwrap();
    assert!(store.erase(&path("n.ipynb"), "secret").await.unwrap() >= 6);
    let runs = store.runs(&document, 10).unwrap();
    assert_eq!((runs.len(), runs[0].status.as_deref()), (1, Some("ok")));
    assert!(runs[0].source.starts_with("print('a [erased]')"), "{}", runs[0].source);
    let (_, content) = store.snapshot(&document, first).unwrap().unwrap();
    assert!(content.contains("a [erased]"), "{content}");
    let operations = format!("{:?}", store.operations(&document, 0).unwrap());
    assert!(operations.contains("[erased] text") && !operations.contains("secret"), "{operations}");
    assert!(!operations.contains("\"00\""), "{operations}");
    store.remove_revision(&document, second).await.unwrap();
    assert!(!store.remove_revision(&document, first).await.unwrap());
    store.written(&document, 4, [1; 32]).await.unwrap();
    assert_eq!(store.snapshots(&document).unwrap().len(), 1);
}

#[tokio::test]
async fn snapshots_runs_and_erasing() {
    on_each(history).await;
}

async fn accounts(store: &Store) {
    let far = i64::MAX / 2;
    let ann = store.add_account("Ann", Role::Admin, "hash".into()).await.unwrap().unwrap();
    assert_eq!(store.add_account("aNN", Role::User, "hash".into()).await.unwrap(), None);
    let ben = store.add_account("ben", Role::User, "hash".into()).await.unwrap().unwrap();
    assert_eq!(store.account("ANN").unwrap().unwrap().id, ann);
    assert_eq!(store.account("än").unwrap(), None);
    let names: Vec<String> = store.accounts().unwrap().into_iter().map(|account| account.name).collect();
    assert_eq!(names, ["Ann", "ben"]);
    assert!(store.is_last_administrator(ann).unwrap() && !store.is_last_administrator(ben).unwrap());
    assert!(!store.set_account(ann, Role::User, true).await.unwrap());
    store.add_session(ben, [1; 32], far, "127.0.0.1", "browser").await.unwrap();
    store.add_session(ben, [2; 32], 1, "127.0.0.1", "old").await.unwrap();
    assert_eq!(store.account_of_session([1; 32]).unwrap().unwrap().name, "ben");
    assert_eq!(store.account_of_session([2; 32]).unwrap(), None);
    let sessions = store.sessions_of(ben).unwrap();
    assert_eq!((sessions.len(), sessions[0].agent.as_str()), (1, "browser"));
    store.end_session(ben, sessions[0].id).await.unwrap();
    assert_eq!(store.account_of_session([1; 32]).unwrap(), None);
    store.add_token(ben, [3; 32], "script", Level::Run, far).await.unwrap();
    assert_eq!(store.account_of_token([3; 32]).unwrap().unwrap().1, Level::Run);
    assert_eq!(store.tokens_of(ben).unwrap()[0].name, "script");
    store.set_password(ben, "new".into()).await.unwrap();
    assert_eq!(store.account_of_token([3; 32]).unwrap(), None);
    store.add_invitation([4; 32], Role::User, Some(ben), far).await.unwrap();
    assert_eq!(store.invitation([4; 32]).unwrap().unwrap().1.unwrap().id, ben);
    let invitations = store.invitations().unwrap();
    assert_eq!(invitations[0].user.as_deref(), Some("ben"));
    assert!(store.take_invitation([4; 32]).await.unwrap() && !store.take_invitation([4; 32]).await.unwrap());
    store.add_invitation([5; 32], Role::Guest, None, far).await.unwrap();
    assert!(store.remove_invitation(store.invitations().unwrap()[0].id).await.unwrap());
    assert!(store.take_mail(ben).await.unwrap() && !store.take_mail(ben).await.unwrap());
    store.add_email_code(ben, "Ben@example.org", [6; 32], far).await.unwrap();
    assert_eq!(store.confirm_email(ben, [6; 32]).await.unwrap().as_deref(), Some("Ben@example.org"));
    assert_eq!(store.account_of_email("ben@EXAMPLE.org").unwrap().unwrap().0, ben);
    assert_eq!(store.email_of(ben).unwrap().as_deref(), Some("Ben@example.org"));
    store.begin_second_factor(ben, vec![1, 2]).await.unwrap();
    store.confirm_second_factor(ben, vec![[7; 32]]).await.unwrap();
    store.begin_second_factor(ben, vec![3]).await.unwrap();
    let factor = store.second_factor(ben).unwrap().unwrap();
    assert!(factor.confirmed && factor.secret == [1, 2]);
    assert!(store.use_step(ben, 5).await.unwrap() && !store.use_step(ben, 5).await.unwrap());
    assert!(
        store.use_recovery_code(ben, [7; 32]).await.unwrap()
            && !store.use_recovery_code(ben, [7; 32]).await.unwrap()
    );
    store.remove_second_factor(ben).await.unwrap();
    store.audit("Ann", "127.0.0.1", "tested", "this").await.unwrap();
    assert_eq!(store.audit_log(5).unwrap()[0].action, "tested");
    store.set_member("Readers", ben, true).await.unwrap();
    store.set_member("readers", ben, true).await.unwrap();
    assert_eq!(store.groups().unwrap(), [("Readers".to_owned(), vec!["ben".to_owned()])]);
    store.remove_account(ben, "ben", "ann/ben").await.unwrap();
    assert_eq!(store.active_account(ben).unwrap(), None);
    assert_eq!(store.groups().unwrap(), []);
}

#[tokio::test]
async fn accounts_and_their_secrets() {
    on_each(accounts).await;
}

async fn sharing(store: &Store) {
    let far = i64::MAX / 2;
    let ann = store.add_account("ann", Role::Admin, "hash".into()).await.unwrap().unwrap();
    let ben = store.add_account("ben", Role::User, "hash".into()).await.unwrap().unwrap();
    let n = path("ann/n.ipynb");
    let grant = async |subject, level| store.set_right(&n, &subject, level).await.unwrap();
    grant(Subject::User("BEN".into()), Some(Level::View)).await;
    assert_eq!(store.granted(ben, &n).unwrap(), Some(Level::View));
    assert_eq!(store.granted(ben, &path("ann")).unwrap(), Some(Level::View));
    assert_eq!(store.granted(ben, &path("ann/other.ipynb")).unwrap(), None);
    grant(Subject::User("ben".into()), Some(Level::Edit)).await;
    grant(Subject::Everyone, Some(Level::View)).await;
    assert_eq!(store.granted(ben, &n).unwrap(), Some(Level::Edit));
    assert_eq!(store.rights_on(&n).unwrap().len(), 2);
    grant(Subject::User("ben".into()), None).await;
    store.set_member("team", ben, true).await.unwrap();
    grant(Subject::Group("TEAM".into()), Some(Level::Run)).await;
    assert_eq!(store.granted(ben, &n).unwrap(), Some(Level::Run));
    assert_eq!(store.shared_with(ben).unwrap().len(), 2);
    store.add_link(&n, [1; 32], Level::Comment, far).await.unwrap();
    assert_eq!(store.link([1; 32]).unwrap(), Some(("ann/n.ipynb".to_owned(), Level::Comment)));
    let links = store.links_to(&n).unwrap();
    store.remove_link(&n, links[0].0).await.unwrap();
    assert_eq!(store.link([1; 32]).unwrap(), None);
    store.offer(&n, Some(ben), "ann").await.unwrap();
    assert_eq!(store.offered_to(&n).unwrap().as_deref(), Some("ben"));
    assert_eq!(store.offers(ben).unwrap()[0].author, "ann");
    store.offer(&n, None, "ann").await.unwrap();
    assert_eq!(store.offered_to(&n).unwrap(), None);
    assert!(store.request_access(&n, ben, Level::Edit, "please").await.unwrap());
    assert!(!store.request_access(&n, ben, Level::Edit, "please").await.unwrap());
    assert_eq!(store.access_requests(&n).unwrap()[0].name, "ben");
    assert!(store.end_request(&n, "Ben").await.unwrap());
    let thread = store.add_thread(&n, "cell", "quote", "ben", "first").await.unwrap();
    assert!(store.add_comment(&n, thread, "ann", "second").await.unwrap());
    assert!(!store.add_comment(&path("other"), thread, "ann", "no").await.unwrap());
    assert!(store.resolve_thread(&n, thread, Some("ann")).await.unwrap());
    let threads = store.threads(&n).unwrap();
    assert_eq!(threads[0].resolved.as_ref().unwrap().1, "ann");
    let ids: Vec<i64> = threads[0].comments.iter().map(|comment| comment.id).collect();
    assert!(!store.change_comment(&n, ids[0], Some("ann"), Some("x")).await.unwrap());
    assert!(store.change_comment(&n, ids[0], None, Some("changed")).await.unwrap());
    assert_eq!(store.threads(&n).unwrap()[0].comments[0].text, "changed");
    let notice =
        NewNotice { kind: "mention", author: "ann".into(), thread: Some(thread), text: "@ben".into() };
    store.notify(&n, vec![ann, ben], notice).await.unwrap();
    let notices = store.notices(ben).unwrap();
    assert!(notices.len() == 1 && !notices[0].seen);
    store.notices_seen(ben, None).await.unwrap();
    assert!(store.notices(ben).unwrap()[0].seen);
    store.notices_seen(ann, Some(notices[0].id)).await.unwrap();
    assert!(!store.notices(ann).unwrap()[0].seen);
    for id in ids {
        assert!(store.change_comment(&n, id, None, None).await.unwrap());
    }
    assert_eq!(store.threads(&n).unwrap(), []);
}

#[tokio::test]
async fn rights_comments_and_requests() {
    on_each(sharing).await;
}

async fn lists(store: &Store) {
    let ann = store.add_account("ann", Role::Admin, "hash".into()).await.unwrap().unwrap();
    let n = path("ann/n.ipynb");
    let tags = Some(vec!["b".to_owned(), "B".to_owned(), "a".to_owned()]);
    let change = MarksChange { starred: Some(true), archived: None, tags };
    store.set_marks(ann, &n, change).await.unwrap();
    store.set_marks(ann, &n, MarksChange { archived: Some(true), ..MarksChange::default() }).await.unwrap();
    let marks = store.marks(ann).unwrap().remove("ann/n.ipynb").unwrap();
    assert!(marks.starred && marks.archived && marks.tags == ["B", "a", "b"], "{marks:?}");
    store.add_trash("id", &path("ann/old"), "ann").await.unwrap();
    assert_eq!(store.trash().unwrap()[0].path, "ann/old");
    assert_eq!(store.remove_trash("id").await.unwrap().unwrap().author, "ann");
    assert_eq!(store.remove_trash("id").await.unwrap(), None);
    store.publish(&n, "ann", "Title", "{}".into()).await.unwrap();
    let slug = store.publication_of(&n).unwrap().unwrap().slug;
    store.publish(&n, "ann", "New title", "{\"new\": 1}".into()).await.unwrap();
    store.set_publication(&n, "CC-BY-4.0", true).await.unwrap();
    let (publication, content) = store.publication(&slug).unwrap().unwrap();
    assert!(publication.republish && publication.title == "New title" && content.contains("new"));
    assert_eq!(store.published_paths().unwrap().len(), 1);
    store.rate(&slug, ann, Some((3, "good".into()))).await.unwrap();
    store.rate(&slug, ann, Some((4, "better".into()))).await.unwrap();
    assert_eq!(store.ratings(&slug).unwrap()[0].stars, 4);
    assert!(store.rate(&slug, ann, Some((5, "too good".into()))).await.is_err());
    store.rate(&slug, ann, None).await.unwrap();
    store.unpublish(&n).await.unwrap();
    assert_eq!(store.publication(&slug).unwrap(), None);
}

#[tokio::test]
async fn marks_trash_and_publications() {
    on_each(lists).await;
}

async fn search(store: &Store) {
    let notebook = |path: &str, text: &str, code: &str| IndexedNotebook {
        path: path.into(),
        version: FileVersion { modified: 1, size: 1 },
        name: path.into(),
        text: text.into(),
        code: code.into(),
    };
    let first = notebook("waves", "The heat equation", "def solve_heat(u): pass");
    store.index(vec![first, notebook("other", "equation of heat", "x")], Vec::new()).await.unwrap();
    let check = |words: &str, expected: &[&str]| {
        let found = store.search(words, 10).unwrap();
        let mut paths: Vec<&str> = found.iter().map(|found| found.path.as_str()).collect();
        paths.sort_unstable();
        assert_eq!(paths, expected, "{words}");
    };
    check("equation heat", &["other", "waves"]);
    check("\"heat equation\"", &["waves"]);
    check("solve_h", &["waves"]);
    check("wav HEAT", &["waves"]);
    check("nothing heat", &[]);
    check("*\" OR 1", &[]);
    check("' & ! ( \\ :* <->", &[]);
    let snippet = store.search("\"heat equation\"", 1).unwrap().remove(0).snippet;
    assert_eq!(snippet, [("The ".to_owned(), false), ("heat equation".to_owned(), true)]);
    // The name counts more than the text, and the text more than code.
    let third = notebook("heat", "", "");
    store.index(vec![third], Vec::new()).await.unwrap();
    assert_eq!(store.search("heat", 1).unwrap()[0].path, "heat");
    store.index(vec![notebook("waves", "", "")], vec!["other".into(), "heat".into()]).await.unwrap();
    check("equation", &[]);
    assert_eq!(store.indexed().unwrap().len(), 1);
    // More text than an index of PostgreSQL takes.
    let long: String = (0..200_000).map(|n| format!("word{n} again ")).collect();
    store.index(vec![notebook("long", &long, "")], Vec::new()).await.unwrap();
    check("word17", &["long"]);
}

#[tokio::test]
async fn the_index_finds_words_and_phrases() {
    on_each(search).await;
}

/// Two servers that start at the same time make the tables once.
#[tokio::test(flavor = "multi_thread")]
async fn several_servers_share_a_database() {
    let Some(server) = Postgres::start() else { return };
    let url = server.database("notebook");
    let connect = || {
        let url = url.clone();
        tokio::task::spawn_blocking(move || Store::connect(Backend::parse(&url, None).unwrap()).unwrap())
    };
    let (a, b, c) = tokio::join!(connect(), connect(), connect());
    let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
    let document = a.document(&path("n.ipynb"), [0; 32]).await.unwrap().id;
    let stores = [&a, &b, &c];
    let appends = (0..150).map(|n| {
        let (store, document) = (stores[n % 3], document.clone());
        async move { store.append(&document, "ann", &delete_cell("c")).await.unwrap() }
    });
    let mut numbers = futures_util::future::join_all(appends).await;
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=150).collect::<Vec<i64>>());
    // What one has acknowledged, the others see.
    assert_eq!(b.document_at(&path("n.ipynb")).unwrap(), Some((document, 150)));
    assert_eq!(c.audit("ann", "", "tested", "").await, Ok(()));
}

/// PostgreSQL is killed while changes arrive: each is made, or fails; those that were acknowledged stay.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_database_keeps_what_was_acknowledged() {
    let Some(mut server) = Postgres::start() else { return };
    let url = server.database("notebook");
    let store = Store::connect(Backend::parse(&url, None).unwrap()).unwrap();
    let document = store.document(&path("n.ipynb"), [0; 32]).await.unwrap().id;
    let mut acknowledged: Vec<i64> = Vec::new();
    let mut failures = 0;
    for round in 0..5 {
        let (store, document) = (store.clone(), document.clone());
        let appending = tokio::spawn(async move {
            let mut numbers = Vec::new();
            let mut failures = 0;
            // At least one append is under way when the server is killed, and some follow.
            for _ in 0..400 {
                match store.append(&document, "ann", &delete_cell("c")).await {
                    Ok(number) => numbers.push(number),
                    Err(_) => failures += 1,
                }
            }
            (numbers, failures)
        });
        tokio::time::sleep(std::time::Duration::from_millis(20 + 13 * round)).await;
        server.kill();
        server.run();
        let (numbers, failed) = appending.await.unwrap();
        acknowledged.extend(numbers);
        failures += failed;
    }
    assert!(acknowledged.len() + failures == 2000 && failures < 20, "{failures} failures");
    let kept = store.operations_between(&document, 0, i64::MAX).unwrap();
    let kept: Vec<i64> = kept.into_iter().map(|(number, ..)| number).collect();
    assert_eq!(kept, acknowledged, "nothing is lost, and nothing that failed was done");
}

/// A server that still believes to have a document, though another has it, changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn leases_are_renewed_given_back_and_end_with_their_server() {
    let Some(server) = Postgres::start() else { return };
    let url = server.database("notebook");
    let connect = |name: &str| Store::connect_as(Backend::parse(&url, None).unwrap(), name).unwrap();
    let (a, b) = (connect("a"), connect("b"));
    let n = path("n.ipynb");
    a.take_lease(&n, "address of a").await.unwrap();
    // Longer than a lease that is not renewed.
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let held = b.take_lease(&n, "address of b").await.unwrap_err();
    assert!(held.to_string().contains("address of a"), "{held}");
    let document = a.document(&n, [0; 32]).await.unwrap().id;
    assert!(a.append(&document, "ann", &delete_cell("c")).await.is_ok());
    let refused = b.append(&document, "ann", &delete_cell("c")).await.unwrap_err();
    assert!(refused.to_string().contains("taken the notebook over"), "{refused}");
    assert!(b.writing(&document, 1, [1; 32]).await.is_err());
    assert!(b.is_taken(&document).unwrap() && !a.is_taken(&document).unwrap());
    a.end_lease(&n).await.unwrap();
    b.take_lease(&n, "address of b").await.unwrap();
    assert!(a.append(&document, "ann", &delete_cell("c")).await.is_err());
    // The same server has it at once when it starts again.
    drop(b);
    connect("b").take_lease(&n, "address of b").await.unwrap();
    assert_eq!(a.shared_key(), connect("c").shared_key());
    assert!(a.shared_key().unwrap().is_some_and(|key| key.len() == 32));
}

/// Errors tell what is wrong, without the password.
#[test]
fn a_database_that_cannot_be_used_is_named() {
    let error = |url: &str| match Backend::parse(url, None).and_then(Store::connect) {
        Ok(_) => panic!("{url}"),
        Err(error) => error.to_string(),
    };
    assert!(error("postgres//x:secret@y").contains("write `postgres://"));
    assert!(error("postgres:///x").contains("names no host"));
    let settings = serde_json::json!({
        "data_dir": "/tmp", "database": "postgres://h/d", "database_ca_file": "/no/such/file",
    });
    let settings: notebook::settings::Settings = serde_json::from_value(settings).unwrap();
    let ca_file = settings.database_ca_file.as_deref();
    let error_of = Backend::parse(settings.database.as_deref().unwrap(), ca_file).err().unwrap().to_string();
    assert!(error_of.contains("cannot read the certificates `/no/such/file`"), "{error_of}");
    let unreachable = error("postgres://ann:secret@127.0.0.1:1/notes");
    assert!(
        unreachable.contains("cannot connect to PostgreSQL on 127.0.0.1, database `notes`"),
        "{unreachable}"
    );
    assert!(!unreachable.contains("secret"), "{unreachable}");
}
