//! Certificates that are ordered with DNS records, which a command sets: wildcards too.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use crate::acme::{LONG, addresses, wait_for};
use crate::authority::Authority;
use crate::support::{Serving, folder, paster, wait_until};

/// Adds a record to the file, or removes one.
const HOOK: &str = "#!/bin/sh\n\
    [ \"$2 $3 $4\" = \"$ACME_ACTION $ACME_RECORD_NAME $ACME_RECORD_VALUE\" ] || exit 2\n\
    echo \"$2 $ACME_DOMAIN\" >> \"$1.log\"\n\
    case $2 in\n\
    present) echo \"$3 $4\" >> \"$1\" ;;\n\
    cleanup) grep -vF -- \"$3 $4\" \"$1\" > \"$1.new\"; mv \"$1.new\" \"$1\" ;;\n\
    esac\n";

/// A DNS server for the records of a file. The first answers have none: records take a while to be seen.
struct Names {
    address: String,
    questions: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Names {
    async fn start(records: PathBuf) -> Names {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let questions = Arc::<AtomicUsize>::default();
        let counted = questions.clone();
        let task = tokio::spawn(async move {
            let mut question = [0; 512];
            loop {
                let (length, from) = socket.recv_from(&mut question).await.unwrap();
                let early = counted.fetch_add(1, SeqCst) < 1;
                let records = std::fs::read_to_string(&records).unwrap_or_default();
                let lines = records.lines().filter(|_| !early);
                let _ = socket.send_to(&reply(&question[..length], lines), from).await;
            }
        });
        Names { address, questions, task }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The answer to a question for TXT records.
fn reply<'a>(question: &[u8], records: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let (mut name, mut at) = (String::new(), 12);
    while question[at] > 0 {
        let end = at + 1 + usize::from(question[at]);
        name += std::str::from_utf8(&question[at + 1..end]).unwrap();
        name.push('.');
        at = end;
    }
    let values = records.filter_map(|line| line.strip_prefix(&format!("{name} ")));
    let values: Vec<&str> = values.collect();
    let mut reply = question.to_vec();
    reply[2] |= 0x80;
    reply[7] = values.len() as u8;
    for value in values {
        reply.extend([192, 12, 0, 16, 0, 1, 0, 0, 0, 1, 0, value.len() as u8 + 1, value.len() as u8]);
        reply.extend(value.as_bytes());
    }
    reply
}

fn serve(place: &Path, authority: &Authority, dns: &str) -> Serving {
    let ca = authority.pki.file(place);
    let config = format!(
        "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\nredirect_http = \"127.0.0.1:0\"\n\
         [server.main.tls.acme]\ndomains = [\"site.test\", \"*.site.test\"]\ncontact = [\"mailto:admin@site.test\"]\n\
         cache = \"acme\"\nterms_of_service_agreed = true\ndirectory = \"{}\"\ndirectory_ca_file = {ca:?}\n\
         [server.main.tls.acme.dns]\n{dns}\n[app.main]\nuse = \"respond\"\nbody = \"hello\"\n",
        authority.directory
    );
    std::fs::write(place.join("server.toml"), config).unwrap();
    let mut command = paster();
    command.args(["serve", "--json"]).current_dir(place);
    Serving::launch(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_sets_records_and_a_wildcard_is_issued() {
    let authority = Authority::start("dns-01", &[LONG]).await;
    let folder = folder(&[("hook", HOOK)]);
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path().join("hook"), executable).unwrap();
    let records = folder.path().join("records");
    let names = Names::start(records.clone()).await;
    let dns = format!(
        "command = [{:?}, {records:?}]\nresolvers = [{:?}]\npropagation_secs = 60\ntimeout_secs = 60",
        folder.path().join("hook"),
        names.address
    );
    authority.target.send_replace(Some(names.address.clone()));
    let mut serving = serve(folder.path(), &authority, &dns);
    let (address, _) = addresses(&mut serving);
    serving.wait_for("ready");
    wait_for(&authority, &serving, &address).await;
    assert_eq!(authority.seen(|seen| (seen.orders, seen.certificates)), (1, 1));
    assert!(names.questions.load(SeqCst) >= 3, "the record was waited for");
    let log = folder.path().join("records.log");
    wait_until("the records are removed", || {
        std::fs::read_to_string(&log).unwrap().matches("cleanup").count() == 2
    });
    assert_eq!(std::fs::read_to_string(&log).unwrap().matches("present site.test").count(), 2);
    assert_eq!(std::fs::read_to_string(&records).unwrap(), "");
    assert!(
        folder
            .path()
            .join("acme")
            .read_dir()
            .unwrap()
            .flatten()
            .all(|file| !file.file_name().to_string_lossy().contains('*'))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_fails_is_told() {
    let authority = Authority::start("dns-01", &[LONG]).await;
    let folder = folder(&[]);
    let dns = "command = [\"/bin/sh\", \"-c\", \"echo no such zone >&2; exit 3\"]";
    let mut serving = serve(folder.path(), &authority, dns);
    serving.wait_for("ready");
    wait_until("the failure is told", || serving.stderr().contains("no such zone"));
    let told = serving.stderr();
    assert!(told.contains("/bin/sh … present _acme-challenge.site.test.` failed"), "{told}");
    assert_eq!(authority.seen(|seen| seen.certificates), 0);
}

#[test]
fn wrong_options_are_named() {
    let acme =
        "domains = [\"*.site.test\", \"*.*.test\"]\ncache = \"acme\"\nterms_of_service_agreed = true\n";
    let table = |dns: &str| {
        format!(
            "[server.main]\nuse = \"http\"\n[server.main.tls.acme]\n{acme}{dns}\n[app.main]\nuse = \"respond\"\n"
        )
    };
    for (dns, parts) in [
        ("", &["`*.site.test` without DNS", "[server.NAME.tls.acme.dns]"][..]),
        (
            "dns = { command = [], resolvers = [\"a\"] }",
            &[
                "there is no command to set records",
                "`a` is not the address of a DNS server",
                "`*.*.test` is not a DNS name",
            ],
        ),
    ] {
        let folder = folder(&[("server.toml", &table(dns))]);
        let output = paster().arg("check").current_dir(folder.path()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        for part in parts {
            assert!(text.contains(part), "{part}:\n{text}");
        }
    }
}
