//! The plugin's settings: the table `[app.NAME.settings]`.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::kernel::gateway::{Gateway, GatewayError};
use crate::kernel::wire;
use crate::login_groups::ServerGroups;

pub use crate::mail::{Mail, MailEncryption};

/// With accounts, users see outputs of other users.
pub(crate) const CONTENT_WARNING: &str = "with accounts, outputs of kernels come from the notebook's own origin, where only the sandbox of their frames keeps them apart from \
     the sessions of their readers: set `content_origin` to another host that leads to this server, such as `https://usercontent.example.org`";

/// Settings of the notebook.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("x-recommended" = [{"if": {"users": "accounts"}, "set": "content_origin", "message": CONTENT_WARNING}]))]
pub struct Settings {
    /// Folder with the notebooks and files. It is created if it does not exist.
    #[schemars(extend("format" = "path"))]
    pub data_dir: PathBuf,
    /// Folder for the token and keys, outside `data_dir`. Default: `paster/notebook-…` in `$XDG_STATE_HOME`
    /// or `~/.local/state`.
    #[serde(default)]
    #[schemars(extend("format" = "path"))]
    pub state_dir: Option<PathBuf>,
    /// The database with accounts, rights, edits and histories: `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, or
    /// `postgres:///DATABASE?host=/run/postgresql&user=USER` for a Unix socket. The tables are created automatically. TLS is
    /// required for other machines and with `database_ca_file`, unless the address contains `sslmode=disable`. The certificate
    /// and the host name are always verified (`sslmode=verify-full`). Default: SQLite, in the file `notebook.db` of `state_dir`.
    #[serde(default)]
    pub database: Option<String>,
    /// File with the certificates (PEM) of the authorities that may sign the certificate of the PostgreSQL server. Default: the
    /// public ones.
    #[serde(default)]
    #[schemars(extend("format" = "path"))]
    pub database_ca_file: Option<PathBuf>,
    /// Where to store large contents outside the database: `s3://BUCKET/PREFIX`, a bucket of Amazon S3 or of a compatible service,
    /// or `file:///FOLDER`. With a PostgreSQL `database`, notebooks and their data files are stored there too, so that several
    /// servers need no shared folder. Default: snapshots are in the database, and long outputs in files in `state_dir`.
    #[serde(default)]
    pub objects: Option<String>,
    /// How to reach the S3 service of `objects`. Missing options come from the environment variables of the AWS command line
    /// (`AWS_ACCESS_KEY_ID`, `AWS_REGION` …), or from the role of the machine.
    #[serde(default)]
    pub objects_s3: Option<S3>,
    /// The address at which the other servers of the `database` reach this one, such as `https://one.example.org/` or
    /// `http://10.0.0.1:8080/`. They relay requests for notebooks that are open here. It must lead to this server, and not to
    /// a load balancer. Default: no relaying; users who open a notebook that is open here on another server see the name of this
    /// machine.
    #[serde(default)]
    pub address: Option<String>,
    /// File with the certificates (PEM) of the authorities that may sign the certificates of the other servers, if their `address`
    /// begins with `https://`. Default: the public ones.
    #[serde(default)]
    #[schemars(extend("format" = "path"))]
    pub servers_ca_file: Option<PathBuf>,
    /// Token that opens the notebook. By default, the first start creates one and stores it in `state_dir`.
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
    /// The origin for outputs of kernels, which this server must serve too: another host (`https://usercontent.example.org`),
    /// one for each page (`https://*.usercontent.example.org`), or another port. With accounts, it should be another host.
    #[serde(default)]
    pub content_origin: Option<String>,
    /// Who uses the notebook: `single` is one user with the token, and `accounts` is several users with login names and
    /// passwords. With accounts, the first start prints a link that creates the administrator's account.
    #[serde(default)]
    pub users: Users,
    /// Who may create an account: people with a link from an administrator (`invitation`), or everyone (`open`).
    #[serde(default)]
    pub sign_up: SignUp,
    /// A question that everyone who signs up must answer, as a protection against bots.
    #[serde(default)]
    pub sign_up_question: Option<Question>,
    /// Whether to accept users whom a middleware of the server, such as `auth_basic`, or a client certificate has
    /// authenticated (`REMOTE_USER`). A new user gets an account with the role user. With `users = "accounts"`.
    #[serde(default)]
    pub trust_server_user: bool,
    /// The meaning of the groups of those users. They become groups of the notebook, updated at each login.
    #[serde(default)]
    pub server_groups: ServerGroups,
    /// How kernels are isolated: `bubblewrap`, or `none`. With `none`, everyone who may run cells can read all files that
    /// the server can read. Default: `bubblewrap` with accounts, otherwise `none`.
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
    /// Directory of control groups (version 2) that is delegated to the server, for one group per kernel. Default: the one
    /// that systemd has delegated (`Delegate=yes` and `DelegateSubgroup=`), otherwise limits per process (rlimits).
    #[serde(default)]
    #[schemars(extend("format" = "path"))]
    pub kernel_cgroup: Option<PathBuf>,
    /// Number of kernels to start in advance, by name of the kernelspec, so that a first cell runs immediately: for example
    /// `{ python3 = 1 }`. With a single user, they are ready when the server has started. With accounts, each user has this
    /// number, for the folder of the notebook that was opened last, and for 10 minutes.
    #[serde(default)]
    pub kernel_prewarm: BTreeMap<String, usize>,
    /// A Jupyter Kernel Gateway or Jupyter Enterprise Gateway, which runs the kernels instead of this machine.
    #[serde(default)]
    pub kernel_gateway: Option<KernelGateway>,
    /// The pages: `paster`, the notebook's own, or `lab`, JupyterLab from the Python package that is installed beside
    /// the notebook's Python. JupyterLab shows outputs in its own page, so it is only for a single user.
    #[serde(default)]
    pub front_end: FrontEnd,
    /// Whether users may open terminals.
    #[serde(default = "yes")]
    pub terminals: bool,
    /// The mail server for confirmations of addresses, links for new passwords, notices, and errors. By default, no email is
    /// sent.
    #[serde(default)]
    pub mail: Option<Mail>,
    /// Limits.
    #[serde(default)]
    pub limits: Limits,
}

/// An S3 service.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3 {
    /// Address of the service, such as `https://minio.example.org:9000`. Default: Amazon's.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Its region. Default: `us-east-1`.
    #[serde(default)]
    pub region: Option<String>,
    /// Whether the path of a request contains the bucket. Otherwise the host name does, and `endpoint` must contain it:
    /// `https://BUCKET.s3.example.org`. Default: yes if there is an `endpoint`.
    #[serde(default)]
    pub path_style: Option<bool>,
    /// Whether `endpoint` may begin with `http://`, which is not encrypted.
    #[serde(default)]
    pub allow_http: bool,
    /// Name of the access key.
    #[serde(default)]
    pub access_key_id: Option<String>,
    /// File with the secret access key.
    #[serde(default)]
    #[schemars(extend("format" = "path"))]
    pub secret_access_key_file: Option<PathBuf>,
    /// File with the certificates (PEM) of the authorities that may sign the certificate of the service. Default: the public ones.
    #[serde(default)]
    #[schemars(extend("format" = "path"))]
    pub ca_file: Option<PathBuf>,
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
    /// File with the certificates (PEM) of the authority that has signed the gateway's certificate. Default: the public
    /// authorities.
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
    /// The question. The intended users can answer it, such as `What is the name of our cluster?`
    pub question: String,
    /// The correct answers. Case and surrounding spaces are ignored.
    pub answers: Vec<String>,
}

impl Question {
    /// Whether an answer is right.
    pub(crate) fn is_answered(&self, answer: &str) -> bool {
        let answer = answer.trim().to_lowercase();
        self.answers.iter().any(|right| right.trim().to_lowercase() == answer)
    }
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

/// Who may create an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignUp {
    /// People with a link from an administrator.
    #[default]
    Invitation,
    /// Everyone.
    Open,
}

/// How kernels are isolated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KernelSandbox {
    /// Not at all.
    None,
    /// With bubblewrap.
    Bubblewrap,
}

impl Settings {
    /// The gateway that runs the kernels, if they do not run on this machine.
    /// # Errors
    /// If its address is not valid.
    pub(crate) fn gateway(&self) -> Result<Option<Gateway>, GatewayError> {
        let Some(KernelGateway { url, token, ca_file }) = &self.kernel_gateway else { return Ok(None) };
        let ca_file = ca_file.as_ref().map(|path| path.to_string_lossy().into_owned());
        Gateway::new(url, token.clone(), ca_file).map(Some)
    }

    /// How kernels are isolated.
    pub(crate) fn sandbox(&self) -> KernelSandbox {
        self.kernel_sandbox.unwrap_or(match self.users {
            // A gateway decides how its kernels are kept apart.
            _ if self.kernel_gateway.is_some() => KernelSandbox::None,
            Users::Single => KernelSandbox::None,
            Users::Accounts => KernelSandbox::Bubblewrap,
        })
    }
}

/// Maximum number of processes and threads of an app's kernel, if it has a cgroup.
const APP_PROCESSES: u64 = 64;
/// Maximum size of a file that it writes, and of its messages that are stored, in bytes.
const APP_FILE_BYTES: u64 = 64 << 20;
const APP_JOURNAL_BYTES: u64 = 32 << 20;

/// Limits of the notebook.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Maximum number of kernels at the same time.
    pub kernels: usize,
    /// Maximum number of kernels at the same time for the folder of one account.
    pub user_kernels: Option<usize>,
    /// Time in seconds after which an idle kernel is shut down, if it has no open notebook and no connected program. By default,
    /// kernels run until someone shuts them down.
    pub kernel_idle_secs: Option<NonZeroU64>,
    /// Maximum number of kernels at the same time for the readers of apps and of published notebooks.
    pub app_kernels: usize,
    /// Maximum number of those kernels for one account, or for one address of readers without an account.
    pub reader_app_kernels: usize,
    /// Time in seconds after which such a kernel is shut down if its reader does not use the controls.
    pub app_idle_secs: NonZeroU64,
    /// Maximum time of the first run in such a kernel, in seconds.
    pub app_run_secs: NonZeroU64,
    /// Maximum memory of such a kernel in bytes, if `kernel_memory_bytes` is not smaller.
    pub app_memory_bytes: u64,
    /// Maximum CPU time of such a kernel in seconds, if `kernel_cpu_secs` is not smaller.
    pub app_cpu_secs: u64,
    /// Maximum size of the folder of one account, in bytes. Beyond it, uploads and copies fail, and no kernel starts.
    pub user_disk_bytes: Option<u64>,
    /// Maximum length of a request body (a saved notebook, an uploaded file), in bytes.
    pub body_bytes: usize,
    /// Maximum length of a WebSocket message, in bytes.
    pub message_bytes: usize,
    /// Maximum size of a cell's output in the notebook, in bytes. The rest is in a file that can be downloaded.
    pub cell_output_bytes: usize,
    /// Maximum memory of each process for recently used objects (`objects`), in bytes.
    pub objects_cache_bytes: usize,
    /// Number of days after which entries of the trash are deleted permanently; 0 means never.
    pub trash_days: u32,
    /// Maximum number of schedules of one account, or of the single user.
    pub user_schedules: usize,
    /// Maximum time of a scheduled run, in seconds.
    pub scheduled_run_secs: u64,
    /// Number of runs of one schedule to store: the newest.
    pub scheduled_runs: usize,
    /// Maximum size of one kernel's messages on disk, which are stored for late readers, in bytes.
    pub journal_bytes: u64,
    /// Maximum memory of a kernel and its child processes, in bytes. Without cgroups: address space of each process.
    pub kernel_memory_bytes: Option<u64>,
    /// Maximum number of processes and threads of a kernel. Without cgroups: those of the user, counted when a kernel creates
    /// one.
    pub kernel_processes: Option<u64>,
    /// Maximum CPU time of a kernel, in seconds.
    pub kernel_cpu_secs: Option<u64>,
    /// Maximum CPU use of a kernel, in percent of a processor: 150 is one and a half. Needs cgroups.
    pub kernel_cpu_percent: Option<u32>,
    /// Maximum size of a file that a kernel writes, in bytes.
    pub kernel_file_bytes: Option<u64>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            kernels: 32,
            user_kernels: None,
            kernel_idle_secs: None,
            app_kernels: 8,
            reader_app_kernels: 2,
            app_idle_secs: const { NonZeroU64::new(300).expect("not zero") },
            app_run_secs: const { NonZeroU64::new(120).expect("not zero") },
            app_memory_bytes: 2 << 30,
            app_cpu_secs: 120,
            user_disk_bytes: None,
            body_bytes: 256 << 20,
            message_bytes: 64 << 20,
            cell_output_bytes: 10 << 20,
            objects_cache_bytes: 64 << 20,
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
    /// The limits of a kernel for the reader of an app, which are stricter. `kernel` has those of other kernels.
    pub(crate) fn of_app(&self, kernel: &wire::KernelLimits) -> wire::KernelLimits {
        let stricter = |limit: Option<u64>, own: u64| Some(limit.map_or(own, |limit| limit.min(own)));
        wire::KernelLimits {
            memory_bytes: stricter(kernel.memory_bytes, self.app_memory_bytes),
            // Without a cgroup, the processes of the server's user count, too.
            processes: match kernel.cgroup {
                Some(_) => stricter(kernel.processes, APP_PROCESSES),
                None => kernel.processes,
            },
            cpu_secs: stricter(kernel.cpu_secs, self.app_cpu_secs),
            file_bytes: stricter(kernel.file_bytes, APP_FILE_BYTES),
            journal_bytes: kernel.journal_bytes.min(APP_JOURNAL_BYTES),
            idle_secs: None,
            ..kernel.clone()
        }
    }

    /// The limits for the kernel host.
    pub(crate) fn of_kernel(&self) -> wire::KernelLimits {
        wire::KernelLimits {
            memory_bytes: self.kernel_memory_bytes,
            processes: self.kernel_processes,
            cpu_secs: self.kernel_cpu_secs,
            cpu_percent: self.kernel_cpu_percent,
            cgroup: None,
            file_bytes: self.kernel_file_bytes,
            idle_secs: self.kernel_idle_secs.map(NonZeroU64::get),
            kernels: self.kernels,
            journal_bytes: self.journal_bytes,
        }
    }
}
