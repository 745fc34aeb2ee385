//! Scheduled runs: parameters, results, alerts, rights, missed runs, and a server that ends in between.

use notebook::identity::Role;
use serde_json::{Value, json};

use crate::accounts::{Browser, start};
use crate::server::Server;
use crate::support::{patience, until};

/// Writes `path` with a cell of defaults and further cells.
fn write(server: &Server, path: &str, sources: &[&str]) {
    server.write_notebook(path, "paster-python", sources);
    let file = server.data(path);
    let mut notebook: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    notebook["cells"][0]["metadata"]["tags"] = json!(["parameters"]);
    std::fs::write(file, notebook.to_string()).unwrap();
}

/// Waits until the newest run of a schedule has one of these states.
async fn newest(server: &Server, schedule: &str, states: &[&str]) -> notebook::store::ScheduledRun {
    let deadline = tokio::time::Instant::now() + patience();
    loop {
        let runs = server.notebook().store.scheduled_runs(schedule).unwrap();
        if let Some(run) = runs.first().filter(|run| states.contains(&run.status.as_str())) {
            return run.clone();
        }
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {states:?}: {runs:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_notebook_runs_with_parameters_and_its_result_is_kept() {
    let server = Server::start().await;
    write(&server, "n.ipynb", &["days = 1", "print('days', days)\nopen('seen.txt', 'w').write(str(days))"]);
    let before = std::fs::read(server.data("n.ipynb")).unwrap();
    for (body, wrong) in [
        (json!({"path": "n.ipynb", "cron": "soon"}), "cron expression"),
        (json!({"path": "n.ipynb", "cron": "0 3 * * *", "parameters": {"a b": 1}}), "name of a parameter"),
        (json!({"path": "n.ipynb"}), "needs `cron`"),
        (json!({"path": "missing.ipynb", "cron": "0 3 * * *"}), "no notebook"),
    ] {
        let (status, refused) = server.call("POST", "/api/schedules", Some(body)).await;
        assert!(status == 400 && refused["message"].as_str().unwrap().contains(wrong), "{status} {refused}");
    }
    let plan = json!({"path": "n.ipynb", "cron": "0 3 * * *", "zone": "utc", "parameters": {"days": 7}});
    let (status, made) = server.call("POST", "/api/schedules", Some(plan)).await;
    assert!(status == 201 && made["next"].as_str().unwrap().contains("T03:00:00"), "{status} {made}");
    let id = made["id"].as_str().unwrap().to_owned();

    assert_eq!(server.call("POST", &format!("/api/schedules/{id}/run"), None).await.0, 202);
    let run = newest(&server, &id, &["ok", "error", "lost"]).await;
    assert_eq!((run.status.as_str(), run.message.as_str(), run.cause.as_str()), ("ok", "", "by_hand"));
    let (_, result) = server.call("GET", &format!("/api/scheduled-runs/{}", run.id), None).await;
    let cells = result["content"]["cells"].as_array().unwrap();
    assert_eq!(cells[1]["source"], "# Parameters\ndays = 7");
    assert_eq!(cells[2]["outputs"][0]["text"], "days 7\n");
    // It ran in the notebook's folder, left the notebook as it was, and nothing of it remains.
    assert_eq!(std::fs::read_to_string(server.data("seen.txt")).unwrap(), "7");
    assert_eq!(std::fs::read(server.data("n.ipynb")).unwrap(), before);
    let rest: Vec<String> = std::fs::read_dir(server.data(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(".scheduled"))
        .collect();
    assert!(rest.is_empty(), "{rest:?}");
    assert_eq!(server.call("GET", "/api/kernels", None).await.1, json!([]));

    // A schedule of each second runs by itself; paused, it does not.
    let change = json!({"cron": "* * * * * *", "parameters": {"days": 8}});
    assert_eq!(server.call("PATCH", &format!("/api/schedules/{id}"), Some(change)).await.0, 200);
    until("it runs by itself", || {
        let runs = server.notebook().store.scheduled_runs(&id).unwrap();
        runs.iter().any(|run| run.cause == "schedule" && run.status == "ok")
    })
    .await;
    let (_, paused) =
        server.call("PATCH", &format!("/api/schedules/{id}"), Some(json!({"paused": true}))).await;
    assert_eq!(
        (&paused["paused"], &paused["next"], &paused["plan"]["zone"]),
        (&json!(true), &Value::Null, &json!("utc"))
    );
    assert!(server.notebook().store.due_schedules(i64::MAX).unwrap().is_empty());
    let (_, listed) = server.call("GET", "/api/schedules?path=n.ipynb", None).await;
    assert_eq!(listed["schedules"][0]["id"], json!(id));
    assert_eq!(server.call("DELETE", &format!("/api/schedules/{id}"), None).await.0, 204);
    assert_eq!(server.call("GET", &format!("/api/scheduled-runs/{}", run.id), None).await.0, 404);
}

#[tokio::test]
async fn what_goes_wrong_is_told_in_the_inbox() {
    let server =
        start(json!({"limits": {"scheduled_run_secs": 20, "user_schedules": 4, "scheduled_runs": 3}})).await;
    let ann = Browser::new(&server, "ann", Role::Admin).await;
    let bob = Browser::new(&server, "bob", Role::User).await;
    write(&server, "bob/fails.ipynb", &["x = 1", "1 / 0", "print('never')"]);
    write(&server, "bob/asks.ipynb", &["x = 1", "input('Name? ')"]);
    write(&server, "bob/long.ipynb", &["x = 1", "import time; time.sleep(600)"]);
    let add = async |who: &Browser<'_>, path: &str, alert: &str| {
        let (status, made) = who
            .call("POST", "/api/schedules", Some(json!({"path": path, "cron": "0 3 * * *", "alert": alert})))
            .await;
        assert_eq!(status, 201, "{made}");
        made["id"].as_str().unwrap().to_owned()
    };
    for (path, words) in [
        ("bob/fails.ipynb", "cell 2: ZeroDivisionError: division by zero"),
        ("bob/asks.ipynb", "a cell asks for input"),
        ("bob/long.ipynb", "limits.scheduled_run_secs"),
    ] {
        let id = add(&bob, path, "failure").await;
        assert_eq!(bob.call("POST", &format!("/api/schedules/{id}/run"), None).await.0, 202);
        // A second one does not begin beside it.
        let run = newest(&server, &id, &["error"]).await;
        assert!(run.message.contains(words), "{path}: {}", run.message);
        // It is told after the end of the run is known.
        let deadline = tokio::time::Instant::now() + patience();
        let notice = loop {
            let (_, inbox) = bob.call("GET", "/api/inbox", None).await;
            let notice = inbox["notices"][0].clone();
            if notice["path"] == path {
                break notice;
            }
            assert!(tokio::time::Instant::now() < deadline, "waited in vain for a notice: {inbox}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        };
        assert_eq!(notice["kind"], "run");
        assert!(notice["text"].as_str().unwrap().contains(words), "{notice}");
    }
    // Others neither see nor use it, unless they manage the notebook.
    let id = add(&bob, "bob/fails.ipynb", "never").await;
    let eve = Browser::new(&server, "eve", Role::User).await;
    for (method, path) in [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/run")] {
        let (status, _) = eve.call(method, &format!("/api/schedules/{id}{path}"), Some(json!({}))).await;
        assert_eq!(status, 404, "{method} {path}");
    }
    assert_eq!(eve.call("GET", "/api/schedules", None).await.1["schedules"], json!([]));
    assert_eq!(
        eve.call("POST", "/api/schedules", Some(json!({"path": "bob/long.ipynb", "cron": "0 3 * * *"})))
            .await
            .0,
        404
    );
    assert_eq!(ann.call("GET", &format!("/api/schedules/{id}"), None).await.0, 200);
    let (status, limited) = bob
        .call("POST", "/api/schedules", Some(json!({"path": "bob/long.ipynb", "cron": "0 3 * * *"})))
        .await;
    assert!(
        status == 400 && limited["message"].as_str().unwrap().contains("limits.user_schedules"),
        "{limited}"
    );
    // A run has the rights of its owner: none, if he is suspended.
    let account = server.notebook().store.account("bob").unwrap().unwrap().id;
    assert_eq!(ann.post("/admin/accounts", &format!("id={account}&role=user&active=0")).await.0, 303);
    assert_eq!(ann.call("POST", &format!("/api/schedules/{id}/run"), None).await.0, 202);
    assert_eq!(newest(&server, &id, &["error"]).await.message, "its owner is suspended");
}

#[tokio::test]
async fn a_run_that_was_missed_is_told_and_run_once_or_left_out() {
    let server = Server::start().await;
    write(&server, "n.ipynb", &["x = 1", "print(x)"]);
    let store = &server.notebook().store;
    let mut ids = Vec::new();
    for missed in ["run", "skip"] {
        let plan = json!({"path": "n.ipynb", "cron": "0 3 * * *", "missed": missed});
        let (_, made) = server.call("POST", "/api/schedules", Some(plan)).await;
        ids.push(made["id"].as_str().unwrap().to_owned());
    }
    // As if the server had been down for three days.
    for id in &ids {
        let schedule = store.schedule(id).unwrap().unwrap();
        let due = schedule.created - 3 * 24 * 3600 * 1000;
        store.change_schedule(id, schedule.plan, false, due).await.unwrap();
    }
    assert_eq!(newest(&server, &ids[0], &["ok"]).await.cause, "missed");
    assert_eq!(newest(&server, &ids[1], &["missed"]).await.message, "the server was down at this time");
    let states = |id: &str| -> Vec<String> {
        store.scheduled_runs(id).unwrap().into_iter().map(|run| run.status).collect()
    };
    let mut first = states(&ids[0]);
    first.sort();
    assert_eq!((first, states(&ids[1])), (vec!["missed".to_owned(), "ok".into()], vec!["missed".to_owned()]));
    assert!(
        store.schedule(&ids[0]).unwrap().unwrap().due > store.schedule(&ids[0]).unwrap().unwrap().created
    );
}

/// The id of the kernel that runs something, which may take a moment to start.
async fn busy_kernel(server: &Server) -> String {
    let deadline = tokio::time::Instant::now() + patience();
    loop {
        let (_, kernels) = server.call("GET", "/api/kernels", None).await;
        let busy = |kernel: &&Value| kernel["execution_state"] == "busy";
        if let Some(kernel) = kernels.as_array().unwrap().iter().find(busy) {
            return kernel["id"].as_str().unwrap().to_owned();
        }
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for a kernel: {kernels}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_run_goes_on_after_a_reload_and_is_lost_with_its_kernel() {
    let first = Server::start().await;
    let host = first.host.clone();
    write(
        &first,
        "n.ipynb",
        &["x = 1", "import os, time\nwhile not os.path.exists('go'): time.sleep(0.05)\nprint('went on')"],
    );
    let plan = json!({"path": "n.ipynb", "cron": "0 3 * * *"});
    let (_, made) = first.call("POST", "/api/schedules", Some(plan)).await;
    let id = made["id"].as_str().unwrap().to_owned();
    first.call("POST", &format!("/api/schedules/{id}/run"), None).await;
    newest(&first, &id, &["running"]).await;
    busy_kernel(&first).await;
    let notebook = first.notebook().clone();
    notebook.documents.retire().await;
    first.abandon().await;
    let python = json!({"python": crate::support::plain_python(), "default_kernel": "paster-python"});
    let second = Server::start_with(host.clone(), python.clone()).await;
    assert_eq!(newest(&second, &id, &["running"]).await.message, "");
    std::fs::write(second.data("go"), "").unwrap();
    let run = newest(&second, &id, &["ok", "error", "lost"]).await;
    assert_eq!((run.status.as_str(), run.message.as_str()), ("ok", ""));
    let (_, result) = second.call("GET", &format!("/api/scheduled-runs/{}", run.id), None).await;
    assert_eq!(result["content"]["cells"][1]["outputs"][0]["text"], "went on\n");

    // Now its kernel ends too.
    std::fs::remove_file(second.data("go")).unwrap();
    second.call("POST", &format!("/api/schedules/{id}/run"), None).await;
    newest(&second, &id, &["running"]).await;
    let kernel = busy_kernel(&second).await;
    second.call("DELETE", &format!("/api/kernels/{kernel}"), None).await;
    let run = newest(&second, &id, &["ok", "error", "lost"]).await;
    assert_eq!(run.status, "lost", "{}", run.message);
    assert!(run.message.contains("the kernel has ended"), "{}", run.message);
}

#[tokio::test]
async fn schedules_on_the_command_line_and_on_their_page() {
    let server = start(json!({})).await;
    let ann = Browser::new(&server, "ann", Role::Admin).await;
    write(&server, "ann/n.ipynb", &["x = 1"]);
    let run = async |line: &str| {
        // The expression has spaces.
        let words = line.split(' ').map(|word| word.replace('~', " ")).collect();
        notebook::commands::run(server.notebook(), words).await.map_err(|error| error.to_string())
    };
    let added = run("schedules add ann/n.ipynb 0~3~*~*~* --zone utc --parameters {\"x\":2} --missed skip --alert always --json")
        .await
        .unwrap();
    let id = serde_json::from_str::<Value>(&added).unwrap()["id"].as_str().unwrap().to_owned();
    let listed = run("schedules list").await.unwrap();
    assert!(listed.contains("ann/n.ipynb") && listed.contains("0 3 * * * (utc)"), "{listed}");
    for (line, wrong) in [
        ("schedules add ann/n.ipynb 0~3~*~*~* --zone mars", "must be local or utc"),
        ("schedules add ann/n.ipynb soon", "cron expression"),
        ("schedules add bob/n.ipynb 0~3~*~*~*", "no account"),
        ("schedules run nothing", "matches no schedule"),
    ] {
        let error = run(line).await.expect_err(line);
        assert!(error.contains(wrong), "{line}: {error}");
    }
    run(&format!("schedules run {}", &id[..8])).await.unwrap();
    newest(&server, &id, &["ok"]).await;
    assert!(run(&format!("schedules runs {id}")).await.unwrap().contains("by_hand"));
    run(&format!("schedules pause {id}")).await.unwrap();
    let (status, page) = ann.get("/schedules/ann/n.ipynb").await;
    assert!(status == 200 && page.contains("Paused.") && page.contains("scheduled-runs/"), "{page}");
    assert!(ann.get("/schedules").await.1.contains("schedules/ann/n.ipynb"));
    run(&format!("schedules resume {id}")).await.unwrap();
    assert_eq!(ann.post("/schedules/ann/n.ipynb", &format!("action=delete&id={id}")).await.0, 303);
    let (status, page) = ann.post("/schedules/ann/n.ipynb", "action=add&cron=soon").await;
    assert!(status == 400 && page.contains("cron expression"), "{page}");
    assert!(run("schedules list --json").await.unwrap().contains("[]"));
}
