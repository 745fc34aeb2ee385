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

pub(crate) fn path(text: &str) -> RelativePath {
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

pub(crate) fn delete_cell(cell: &str) -> LoggedOperation {
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
    let (found, _) = store.snapshot_before(&document, 2).await.unwrap().unwrap();
    assert_eq!((found.id, found.cause), (first, Cause::Periodic));
    assert_eq!(store.snapshot(&document, second).await.unwrap().unwrap().0.name, "mine");
    store.run_queued("run", &document, "cell", "ann", "print('a secret')\0").unwrap();
    store.run_queued("run", &document, "cell", "ann", "again").unwrap();
    store.run_ended("run", "ok").unwrap();
    store.run_ended("run", "error").unwrap();
    store.run_ended("unknown", "ok").unwrap();
    assert!(store.erase(&path("n.ipynb"), "secret").await.unwrap() >= 6);
    let runs = store.runs(&document, 10).unwrap();
    assert_eq!((runs.len(), runs[0].status.as_deref()), (1, Some("ok")));
    assert!(runs[0].source.starts_with("print('a [erased]')"), "{}", runs[0].source);
    let (_, content) = store.snapshot(&document, first).await.unwrap().unwrap();
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
    store.set_publication(&n, "CC-BY-4.0", true, true).await.unwrap();
    let (publication, content) = store.publication(&slug).unwrap().unwrap();
    assert_eq!(store.publication_facts(&slug).unwrap().as_ref(), Some(&publication));
    assert!(
        publication.republish
            && publication.interactive
            && publication.title == "New title"
            && content.contains("new")
    );
    assert_eq!(store.published_paths().unwrap().len(), 1);
    store.rate(&slug, ann, Some((3, "good".into()))).await.unwrap();
    store.rate(&slug, ann, Some((4, "better".into()))).await.unwrap();
    assert_eq!(store.ratings(&slug).unwrap()[0].stars, 4);
    assert!(store.rate(&slug, ann, Some((5, "too good".into()))).await.is_err());
    store.rate(&slug, ann, None).await.unwrap();
    for allowed in [true, true, false] {
        store.set_app_controls(&n, allowed).await.unwrap();
        assert_eq!(store.app_controls(&n).unwrap(), allowed);
    }
    assert_eq!(store.widget_states(&n).unwrap(), None);
    for states in ["{}", "{\"state\": \"secret\"}"] {
        store.set_widget_states(&n, states.to_owned()).await.unwrap();
        assert_eq!(store.widget_states(&n).unwrap().as_deref(), Some(states));
    }
    store.erase(&n, "secret").await.unwrap();
    assert!(!store.widget_states(&n).unwrap().unwrap().contains("secret"));
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
