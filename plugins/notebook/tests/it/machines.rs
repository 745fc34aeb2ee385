//! Two servers on two machines, which are network namespaces: the network between them fails in ways that a loopback interface
//! cannot.

use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use crate::durability::{Killable, Location};
use crate::postgres::Postgres;
use crate::replicas::{notebook, set};
use crate::server::{OWN, Page};
use crate::support::{Host, plain_python, within};

/// A network with machines. It ends with the value.
struct Network {
    id: u32,
}

/// Runs `ip`. Returns whether it succeeded.
fn ip(words: &str) -> bool {
    Command::new("ip").args(words.split_whitespace()).status().is_ok_and(|status| status.success())
}

impl Network {
    /// With the machines 1 and 2; `None`, with a message, if that is not possible here.
    fn start() -> Option<Network> {
        let network = Network { id: std::process::id() };
        if !rustix::process::geteuid().is_root() || !network.make() {
            eprintln!("skipped: network namespaces need root and the program `ip`");
            return None;
        }
        Some(network)
    }

    fn make(&self) -> bool {
        let id = self.id;
        let bridge = ip(&format!("link add nb{id} type bridge"))
            && ip(&format!("addr add {}/24 dev nb{id}", self.address(254)))
            && ip(&format!("link set nb{id} up"));
        bridge
            && [1, 2].into_iter().all(|machine| {
                ip(&format!("netns add nb{id}-{machine}"))
                    && ip(&format!(
                        "link add nb{id}v{machine} type veth peer name eth0 netns nb{id}-{machine}"
                    ))
                    && ip(&format!("link set nb{id}v{machine} master nb{id} up"))
                    && ip(&format!("-n nb{id}-{machine} addr add {}/24 dev eth0", self.address(machine)))
                    && ip(&format!("-n nb{id}-{machine} link set eth0 up"))
                    && ip(&format!("-n nb{id}-{machine} link set lo up"))
            })
    }

    fn address(&self, machine: u32) -> String {
        format!("10.231.{}.{machine}", self.id % 250)
    }

    /// Where a server runs.
    fn machine(&self, machine: u32) -> Location {
        let wrapper = format!("ip netns exec nb{}-{machine}", self.id);
        Location {
            wrapper: wrapper.split(' ').map(str::to_owned).collect(),
            listen: format!("{}:0", self.address(machine)),
        }
    }

    /// Pulls or plugs the cable of a machine.
    fn plug(&self, machine: u32, state: &str) {
        assert!(ip(&format!("link set nb{}v{machine} {state}", self.id)));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for machine in [1, 2] {
            ip(&format!("link del nb{}v{machine}", self.id));
            ip(&format!("netns del nb{}-{machine}", self.id));
        }
        ip(&format!("link del nb{}", self.id));
    }
}

#[tokio::test]
async fn a_cut_cable_loses_nothing_and_a_dead_machine_is_replaced() {
    let (Some(network), Some(postgres)) = (Network::start(), Postgres::start()) else { return };
    let objects = tempfile::tempdir().unwrap();
    let address = network.address(2);
    let settings = json!({
        "database": postgres.database("notebook"), "objects": format!("file://{}", objects.path().display()),
        "address": OWN, "python": plain_python(), "default_kernel": "paster-python",
        "allowed_hosts": [network.address(1), address],
    });
    let (one, two) = (Arc::new(Host::start()), Arc::new(Host::start()));
    let first = Killable::start_at(&one, 0, &settings, &network.machine(1)).await;
    let second = Killable::start_at(&two, 0, &settings, &network.machine(2)).await;
    let made = first.server.call("PUT", "/api/contents/n.ipynb", Some(notebook("0"))).await;
    assert_eq!(made.0, 201, "{}", made.1);
    let mut own = Page::open(&first.server, "n.ipynb", None).await;
    let mut page = Page::open(&second.server, "n.ipynb", None).await;
    assert_eq!(page.instance, own.instance);
    page.ask(set(&page, "from the other machine")).await.unwrap();
    own.until(|document| document["cells"][0]["source"] == "from the other machine").await;
    // The machine still reaches the database, so it keeps the document. What was sent arrives later.
    network.plug(1, "down");
    page.post(set(&page, "sent while the cable was cut")).await;
    let (status, body) = within(second.server.call("GET", "/api/contents/n.ipynb", None)).await;
    assert_eq!(status, 503, "{body}");
    assert!(body["message"].as_str().unwrap().contains(&network.address(1)), "{body}");
    network.plug(1, "up");
    page.until(|document| document["cells"][0]["source"] == "sent while the cable was cut").await;
    let (status, read) = within(second.server.call("GET", "/api/contents/n.ipynb", None)).await;
    assert_eq!(status, 200, "{read}");
    // The machine fails: nothing tells the other one that its connections have ended.
    page.ask(set(&page, "acknowledged")).await.unwrap();
    network.plug(1, "down");
    drop(first);
    let failed = Instant::now();
    assert_eq!(page.until_closed().await, Some(1012));
    let page = Page::open(&second.server, "n.ipynb", None).await;
    println!("taken over after {:?}", failed.elapsed());
    assert_eq!(page.cell(0)["source"], "acknowledged");
}
