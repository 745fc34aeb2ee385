//! The plugin's settings: the table `[app.NAME.settings]`.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::kernel::gateway::{Gateway, GatewayError};
use crate::kernel::wire;
use crate::login_groups::ServerGroups;

/// With accounts, one person's outputs are shown to others.
pub(crate) const CONTENT_WARNING: &str = "with accounts, outputs of kernels come from the notebook's own origin, where only the sandbox of their frames keeps them apart from \
     the sessions of their readers: set `content_origin` to another host that leads to this server, such as `https://usercontent.example.org`";

/// Settings of the notebook.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-recommended" = [{"if": {"users": "accounts"}, "set": "content_origin", "message": CONTENT_WARNING}]))]
pub struct Settings {
    /// Folder whose notebooks and files are shown. Created if it does not exist.
    #[schemars(extend("format" = "path"))]
    pub data_dir: PathBuf,
    /// Folder for the token and keys, outside `data_dir`. Default: `paster/notebook-…` in `$XDG_STATE_HOME`
    /// or `~/.local/state`.
    #[serde(default)]
    #[schemars(extend("format" = "path"))]
    pub state_dir: Option<PathBuf>,
    /// The database with accounts, rights, edits and histories: `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, or
    /// `postgres:///DATABASE?host=/run/postgresql&user=USER` for a Unix socket. The tables are created. TLS is required for other
    /// machines, unless the address says `sslmode=disable`. Default: SQLite, in the file `notebook.db` of `state_dir`.
    #[serde(default)]
    pub database: Option<String>,
    /// File with the certificates (PEM) of the authorities that may sign the certificate of the PostgreSQL server. Default: the
    /// public ones.
    #[serde(default)]
    #[schemars(extend("format" = "path"))]
    pub database_ca_file: Option<PathBuf>,
    /// The address of this server as people reach it, such as `https://one.example.org/`. If several servers share a
    /// `database`, people who open a notebook that is open on another server are told its address. Default: the name of the
    /// machine.
    #[serde(default)]
    pub address: Option<String>,
    /// Token that opens the notebook. By default, the first start creates one and keeps it in `state_dir`.
    #[serde(default)]
    pub token: Option<String>,
    /// Name of the kernelspec for new notebooks. Default: `python3` if ipykernel is installed, otherwise the
    /// built-in kernel.
    #[serde(default)]
    pub default_kernel: Option<String>,
    /// Python that runs the built-in kernel and is searched for ipykernel. Default: that of the active
    /// environment, otherwise `python3`.
    #[serde(default)]
    pub python: Option<String>,
    /// Host names that the notebook accepts, in addition to the local ones (`localhost`, `127.0.0.1`,
    /// `[::1]`).
    #[serde(default)]
    pub allowed_hosts: Vec<String>,
    /// Exact origins (`https://example.org`) whose pages may use the notebook, in addition to its own.
    #[serde(default)]
    pub allowed_origins: Vec<String>,
    /// The origin from which outputs of kernels come, which this server must serve too: another host (`https://usercontent.example.org`),
    /// one for each page (`https://*.usercontent.example.org`), or another port. With accounts it should be another host.
    #[serde(default)]
    pub content_origin: Option<String>,
    /// Who uses the notebook: `single`, one user with the token, or `accounts`, several users with login names and
    /// passwords. Then the first start prints a link that makes the administrator's account.
    #[serde(default)]
    pub users: Users,
    /// Who may make an account: `invitation`, people with a link from an administrator, or `open`, everybody.
    #[serde(default)]
    pub sign_up: SignUp,
    /// A question that everybody who makes an account by themselves must answer, against programs that sign up.
    #[serde(default)]
    pub sign_up_question: Option<Question>,
    /// Whether people are logged in whom a middleware of the server has authenticated, such as `auth_basic` or a client
    /// certificate (`REMOTE_USER`). Somebody new gets an account with the role user. With `users = "accounts"`.
    #[serde(default)]
    pub trust_server_user: bool,
    /// What the groups of those people mean. They become groups of the notebook, at each login anew.
    #[serde(default)]
    pub server_groups: ServerGroups,
    /// How kernels are kept apart: `bubblewrap`, or `none`: then everybody who may run cells can read what the
    /// server can read. Default: `bubblewrap` with accounts, otherwise `none`.
    #[serde(default)]
    pub kernel_sandbox: Option<KernelSandbox>,
    /// Whether kernels in a sandbox may use the network.
    #[serde(default)]
    pub kernel_network: bool,
    /// Files and folders that kernels in a sandbox may read, in addition to the programs of the system and their
    /// own folder.
    #[serde(default)]
    #[schemars(extend("items" = {"type": "string", "format": "path"}))]
    pub kernel_read_only: Vec<PathBuf>,
    /// Folder of the control groups (version 2) that was delegated to the server, for one group for each kernel. Default: the
    /// one that systemd has delegated (`Delegate=yes` and `DelegateSubgroup=`), otherwise limits of the process (rlimits).
    #[serde(default)]
    #[schemars(extend("format" = "path"))]
    pub kernel_cgroup: Option<PathBuf>,
    /// A Jupyter Kernel Gateway or Jupyter Enterprise Gateway, which runs the kernels in place of this machine.
    #[serde(default)]
    pub kernel_gateway: Option<KernelGateway>,
    /// The pages: `paster`, the notebook's own, or `lab`, JupyterLab from the Python package that is installed beside
    /// the notebook's Python. JupyterLab shows outputs in its own page, so it is for a single user.
    #[serde(default)]
    pub front_end: FrontEnd,
    /// Whether users may open terminals.
    #[serde(default = "yes")]
    pub terminals: bool,
    /// The server that sends mail: confirmations of addresses, links for new passwords, mentions. By default, no mail is
    /// sent.
    #[serde(default)]
    pub mail: Option<Mail>,
    /// Limits.
    #[serde(default)]
    pub limits: Limits,
}

/// A Jupyter Kernel Gateway or Jupyter Enterprise Gateway.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KernelGateway {
    /// Its address, for example `http://gateway.example:8888`.
    pub url: String,
    /// Its token (`KG_AUTH_TOKEN`).
    #[serde(default)]
    pub token: Option<String>,
    /// File with the certificates (PEM) of the authority that has signed the gateway's. Default: the usual authorities.
    #[serde(default)]
    #[schemars(extend("format" = "path"))]
    pub ca_file: Option<PathBuf>,
}

fn yes() -> bool {
    true
}

/// The pages that browsers get.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FrontEnd {
    /// The notebook's own.
    #[default]
    Paster,
    /// JupyterLab's.
    Lab,
}

/// A question with its answers.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The question. People who belong here can answer it, such as `What is the name of our cluster?`
    pub question: String,
    /// The right answers. Upper and lower case and spaces around do not matter.
    pub answers: Vec<String>,
}

impl Question {
    /// Whether an answer is right.
    pub(crate) fn is_answered(&self, answer: &str) -> bool {
        let answer = answer.trim().to_lowercase();
        self.answers.iter().any(|right| right.trim().to_lowercase() == answer)
    }
}

/// How mail is sent.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// Host name of the mail server.
    pub host: String,
    /// Its port. Default: 587; 465 with `encryption = "tls"`; 25 without encryption.
    #[serde(default)]
    pub port: Option<u16>,
    /// `starttls`, `tls` from the start, or `none`.
    #[serde(default)]
    pub encryption: MailEncryption,
    /// User of the mail server, if it asks for a login.
    #[serde(default)]
    pub user: Option<String>,
    /// File with the password of that user.
    #[serde(default)]
    #[schemars(extend("format" = "path"))]
    pub password_file: Option<PathBuf>,
    /// File with a certificate authority to trust, in addition to those of the system.
    #[serde(default)]
    #[schemars(extend("format" = "path"))]
    pub ca_file: Option<PathBuf>,
    /// The sender: `Notebook <notebook@example.org>`.
    pub from: String,
    /// The address of the notebook as people open it, such as `https://notebook.example.org/`. Links in mails begin with it.
    pub address: String,
}

/// How the connection to the mail server is encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MailEncryption {
    /// With STARTTLS, which the mail server must offer.
    #[default]
    Starttls,
    /// From the start.
    Tls,
    /// Not at all: only for a mail server on this machine.
    None,
}

/// Who uses the notebook.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Users {
    /// One user, with the token.
    #[default]
    Single,
    /// Several users, with accounts.
    Accounts,
}

/// Who may make an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignUp {
    /// People with a link from an administrator.
    #[default]
    Invitation,
    /// Everybody.
    Open,
}

/// How kernels are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KernelSandbox {
    /// Not at all.
    None,
    /// With bubblewrap.
    Bubblewrap,
}

impl Settings {
    /// What runs the kernels, if it is not this machine.
    /// # Errors
    /// When its address is wrong.
    pub(crate) fn gateway(&self) -> Result<Option<Gateway>, GatewayError> {
        let Some(KernelGateway { url, token, ca_file }) = &self.kernel_gateway else { return Ok(None) };
        let ca_file = ca_file.as_ref().map(|path| path.to_string_lossy().into_owned());
        Gateway::new(url, token.clone(), ca_file).map(Some)
    }

    /// How kernels are kept apart.
    pub(crate) fn sandbox(&self) -> KernelSandbox {
        self.kernel_sandbox.unwrap_or(match self.users {
            // A gateway decides how its kernels are kept apart.
            _ if self.kernel_gateway.is_some() => KernelSandbox::None,
            Users::Single => KernelSandbox::None,
            Users::Accounts => KernelSandbox::Bubblewrap,
        })
    }
}

/// Limits of the notebook.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Kernels at the same time.
    pub kernels: usize,
    /// Kernels at the same time of the notebooks in the folder of one account.
    pub user_kernels: Option<usize>,
    /// Size of the folder of one account, in bytes. Beyond it, nothing can be uploaded or copied to it, and no kernel starts.
    pub user_disk_bytes: Option<u64>,
    /// Longest request body (a saved notebook, an uploaded file), in bytes.
    pub body_bytes: usize,
    /// Longest WebSocket message, in bytes.
    pub message_bytes: usize,
    /// Output of one cell that is kept in the notebook, in bytes. The rest is kept in a file that can be
    /// downloaded.
    pub cell_output_bytes: usize,
    /// Days after which what is in the trash is deleted for good; 0: never.
    pub trash_days: u32,
    /// Schedules of one account, or of the single user.
    pub user_schedules: usize,
    /// How long a scheduled run may take, in seconds.
    pub scheduled_run_secs: u64,
    /// Runs of one schedule that are kept: the newest.
    pub scheduled_runs: usize,
    /// Messages of one kernel that are kept on disk for late readers, in bytes.
    pub journal_bytes: u64,
    /// Memory of a kernel with what it starts, in bytes. Without cgroups: address space of each process.
    pub kernel_memory_bytes: Option<u64>,
    /// Processes and threads of a kernel. Without cgroups: those that the user may have, counted when a kernel creates one.
    pub kernel_processes: Option<u64>,
    /// CPU time of a kernel, in seconds.
    pub kernel_cpu_secs: Option<u64>,
    /// How much of a processor a kernel may use, in percent: 150 is one and a half. Needs cgroups.
    pub kernel_cpu_percent: Option<u32>,
    /// Longest file that a kernel may write, in bytes.
    pub kernel_file_bytes: Option<u64>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            kernels: 32,
            user_kernels: None,
            user_disk_bytes: None,
            body_bytes: 256 << 20,
            message_bytes: 64 << 20,
            cell_output_bytes: 10 << 20,
            trash_days: 30,
            user_schedules: 50,
            scheduled_run_secs: 24 * 3600,
            scheduled_runs: 30,
            journal_bytes: 256 << 20,
            kernel_memory_bytes: None,
            kernel_processes: None,
            kernel_cpu_secs: None,
            kernel_cpu_percent: None,
            kernel_file_bytes: None,
        }
    }
}

impl Limits {
    /// The limits for the kernel host.
    pub(crate) fn of_kernel(&self) -> wire::KernelLimits {
        wire::KernelLimits {
            memory_bytes: self.kernel_memory_bytes,
            processes: self.kernel_processes,
            cpu_secs: self.kernel_cpu_secs,
            cpu_percent: self.kernel_cpu_percent,
            cgroup: None,
            file_bytes: self.kernel_file_bytes,
            kernels: self.kernels,
            journal_bytes: self.journal_bytes,
        }
    }
}
