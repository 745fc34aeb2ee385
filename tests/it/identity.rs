//! Who the client is, for every kind of application: by credentials or certificate, never by its own claim.

use base64::Engine;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::bridge::mirror;
use crate::inprocess::read_to_end;
use crate::pki::{Authority, Pair, connect};
use crate::support::{Serving, folder, plugin};

/// Fields with which a client could pretend to be another user.
const CLAIMS: &str = "Remote-User: root\r\nAuth-Type: Basic\r\nSsl-Client-Verify: SUCCESS\r\nSsl-Client-S-Dn: CN=root\r\n\
                      X-Request-Id: forged\r\nClient-Cert: :AAAA:\r\n";

/// A server with one plugin, one CGI program and one proxy, and what clients need.
struct Site {
    serving: Serving,
    servers: Authority,
    folder: tempfile::TempDir,
    clients: Authority,
}

impl Site {
    fn start() -> Site {
        let upstream = mirror();
        let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
        let users = format!("ann:{}\n", bcrypt::hash("pw", 4).unwrap());
        let program = "#!/bin/sh\nprintf 'Content-Type: text/plain\\n\\n'\nenv\n";
        let folder = folder(&[("users", &users), ("program", program)]);
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path().join("program"), executable).unwrap();
        let (pair, authority) =
            (servers.pair(folder.path(), "localhost", &["localhost"]), clients.file(folder.path()));
        let config = format!(
            "[server.main]\nuse = \"http\"\nlisten = [\"127.0.0.1:0\"]\n\
             [server.main.tls]\ncertificates = [{}]\nclient_certificates = \"optional\"\nclient_ca_file = {authority:?}\n\
             [app.main]\nuse = \"mount\"\nmiddleware = [\"request_id\"]\n\
             routes = {{ \"/plugin\" = \"plugin\", \"/door\" = \"door\", \"/cgi\" = \"cgi\", \"/proxy\" = \"proxy\" }}\n\
             [app.plugin]\nuse = \"plugin\"\nlibrary = {:?}\n\
             [app.door]\nuse = \"plugin\"\nlibrary = {:?}\nmiddleware = [\"door\"]\n\
             [middleware.door]\nuse = \"auth_basic\"\nhtpasswd = \"users\"\n\
             [app.cgi]\nuse = \"cgi\"\nprogram = \"program\"\n\
             [app.proxy]\nuse = \"proxy\"\nupstreams = [\"{}\"]\nclient_cert = true\n",
            pair.item(),
            plugin("faulty"),
            plugin("faulty"),
            upstream.url()
        );
        std::fs::write(folder.path().join("server.toml"), config).unwrap();
        // The upstream serves until the test process ends.
        std::mem::forget(upstream);
        let serving = Serving::start(folder.path(), &["server.toml"]);
        Site { serving, servers, folder, clients }
    }

    async fn get(&self, path: &str, own: Option<&Pair>, fields: &str) -> String {
        let mut stream = connect(&self.servers.client(&[], own), self.address(), "localhost").await;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}{CLAIMS}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_to_end(&mut stream).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {answer}");
        body.to_owned()
    }

    fn address(&self) -> &str {
        self.serving.url().trim_start_matches("https://")
    }

    async fn environ(&self, path: &str, own: Option<&Pair>, fields: &str) -> Value {
        serde_json::from_str(&self.get(path, own, fields).await).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_application_learns_who_the_client_is() {
    let site = Site::start();
    // A name that looks like another part of the subject.
    let ada = site.clients.pair(site.folder.path(), "ada", &["ada,O=Root", "a.example"]);
    let der = rustls::pki_types::pem::PemObject::from_pem_file(&ada.certificate);
    let der: rustls::pki_types::CertificateDer<'_> = der.unwrap();

    let seen = site.environ("/plugin/environ", None, "").await;
    assert_eq!(
        (&seen["user"], &seen["auth_type"], &seen["certificate"]),
        (&json!(null), &json!(null), &json!(null))
    );
    let id = seen["request_id"].as_str().unwrap();
    assert!(id.len() == 32 && id != "forged", "{id}");

    let seen = site.environ("/plugin/environ", Some(&ada), "").await;
    assert_eq!((&seen["user"], &seen["auth_type"]), (&json!("ada,O=Root"), &json!("CLIENT_CERT")));
    let certificate = &seen["certificate"];
    assert_eq!(certificate["subject"], r"O=Example,CN=ada\,O=Root");
    assert_eq!(certificate["names"], json!(["DNS:ada,O=Root", "DNS:a.example"]));
    let digest: String =
        <sha2::Sha256 as sha2::Digest>::digest(&der).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(certificate["sha256"], *digest);

    // The inner one wins.
    let basic =
        format!("Authorization: Basic {}\r\n", base64::engine::general_purpose::STANDARD.encode("ann:pw"));
    let seen = site.environ("/door/environ", Some(&ada), &basic).await;
    assert_eq!((&seen["user"], &seen["auth_type"]), (&json!("ann"), &json!("Basic")));
    assert_eq!(seen["certificate"]["common_name"], "ada,O=Root");

    let variables = site.get("/cgi", Some(&ada), "").await;
    for line in
        [r"SSL_CLIENT_S_DN=O=Example,CN=ada\,O=Root", "REMOTE_USER=ada,O=Root", "AUTH_TYPE=CLIENT_CERT"]
    {
        assert!(variables.lines().any(|found| found == line), "{line}\n{variables}");
    }
    let variables = site.get("/cgi", None, "").await;
    let names = ["REMOTE_USER=", "AUTH_TYPE=", "SSL_CLIENT_"];
    let told: Vec<_> =
        variables.lines().filter(|line| names.iter().any(|name| line.starts_with(name))).collect();
    assert!(told.is_empty(), "{told:?}");

    let base64 = base64::engine::general_purpose::STANDARD.encode(&der);
    let fields = |seen: String| {
        let fields: Vec<_> =
            seen.lines().filter(|line| line.starts_with("client-cert")).map(str::to_owned).collect();
        fields
    };
    assert_eq!(fields(site.get("/proxy", Some(&ada), "").await), [format!("client-cert: :{base64}:")]);
    assert_eq!(fields(site.get("/proxy", None, "").await), [""; 0]);
}
