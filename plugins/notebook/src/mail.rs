//! Mail that the notebook sends, over SMTP.
//!
//! # Source
//! RFC 5321 (SMTP); RFC 3207 (STARTTLS); RFC 8314, section 3 (TLS from the start).

use std::io;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use schemars::JsonSchema;
use serde::Deserialize;

/// The target of the errors that this module logs.
pub(crate) const TARGET: &str = module_path!();

/// How long the mail server may take for one command.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How email is sent.
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
    /// User name for the mail server, if it requires a login.
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
    /// The public address of the notebook, such as `https://notebook.example.org/`. Links in emails begin with it.
    pub address: String,
    /// Addresses to which errors of the notebook are sent, such as failed saves, collected in one email.
    #[serde(default)]
    pub errors_to: Vec<String>,
    /// Minimum time between two emails about errors, in seconds. The first one is sent immediately.
    #[serde(default = "ten_minutes")]
    pub errors_interval_secs: NonZeroU64,
    /// Maximum number of emails about errors in one hour.
    #[serde(default = "four")]
    pub errors_per_hour: NonZeroU32,
}

fn ten_minutes() -> NonZeroU64 {
    const { NonZeroU64::new(600).expect("it is not zero") }
}

fn four() -> NonZeroU32 {
    const { NonZeroU32::new(4).expect("it is not zero") }
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
    /// No encryption: only for a mail server on this machine.
    None,
}

/// Sends mail. Cheap to clone.
#[derive(Clone)]
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    /// The address of the notebook, which ends in `/`.
    address: String,
}

impl Mailer {
    /// With these settings.
    /// # Errors
    /// A setting that cannot be used, or a file that cannot be read.
    pub fn new(mail: &Mail) -> io::Result<Mailer> {
        let invalid = |message: String| io::Error::new(io::ErrorKind::InvalidInput, message);
        let from = mail
            .from
            .parse::<Mailbox>()
            .map_err(|error| invalid(format!("the setting `mail.from`: {error}")))?;
        let is_url = mail.address.starts_with("https://") || mail.address.starts_with("http://");
        if !is_url {
            return Err(invalid("the setting `mail.address` must begin with https:// or http://".to_owned()));
        }
        let tls = || tls(mail).map_err(|error| invalid(format!("the setting `mail`: {error}")));
        let tls = match mail.encryption {
            MailEncryption::Starttls => Tls::Required(tls()?),
            MailEncryption::Tls => Tls::Wrapper(tls()?),
            MailEncryption::None => Tls::None,
        };
        let port = mail.port.unwrap_or(match mail.encryption {
            MailEncryption::Starttls => 587,
            MailEncryption::Tls => 465,
            MailEncryption::None => 25,
        });
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&mail.host)
            .port(port)
            .tls(tls)
            .timeout(Some(TIMEOUT));
        if let (Some(user), Some(file)) = (&mail.user, &mail.password_file) {
            let password = std::fs::read_to_string(file).map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("cannot read the setting `mail.password_file`, `{}`: {error}", file.display()),
                )
            })?;
            transport = transport.credentials(Credentials::new(user.clone(), password.trim().to_owned()));
        }
        let address = format!("{}/", mail.address.trim_end_matches('/'));
        Ok(Mailer { transport: transport.build(), from, address })
    }

    /// The address of a page of the notebook, for a mail.
    pub fn link(&self, path: &str) -> String {
        format!("{}{path}", self.address)
    }

    /// Sends a mail.
    /// # Errors
    /// Why not.
    pub async fn send(&self, to: &str, subject: &str, text: String) -> Result<(), String> {
        let message = Message::builder()
            .from(self.from.clone())
            .to(to.parse::<Mailbox>().map_err(|error| format!("`{to}` is not an email address: {error}"))?)
            .subject(subject)
            .header(ContentType::TEXT_PLAIN)
            .body(text)
            .map_err(|error| error.to_string())?;
        // After a failed handshake, the library waits for the server without a limit.
        match tokio::time::timeout(2 * TIMEOUT, self.transport.send(message)).await {
            Ok(sent) => sent.map(drop).map_err(|error| error.to_string()),
            Err(_) => Err("the mail server did not respond in time".to_owned()),
        }
    }

    /// Sends a mail later. A failure is logged.
    pub fn send_later(&self, to: String, subject: &'static str, text: String) {
        let mailer = self.clone();
        tokio::spawn(async move {
            if let Err(error) = mailer.send(&to, subject, text).await {
                tracing::error!(error, subject, "cannot send an email");
            }
        });
    }
}

fn tls(mail: &Mail) -> Result<TlsParameters, String> {
    let mut parameters = TlsParameters::builder(mail.host.clone());
    if let Some(file) = &mail.ca_file {
        let pem =
            std::fs::read(file).map_err(|error| format!("cannot read `{}`: {error}", file.display()))?;
        let certificate =
            Certificate::from_pem(&pem).map_err(|error| format!("`{}`: {error}", file.display()))?;
        parameters = parameters.add_root_certificate(certificate);
    }
    parameters.build_rustls().map_err(|error| error.to_string())
}

/// Whether a text can be an address of mail.
pub fn is_address(text: &str) -> bool {
    text.len() <= 254 && text.parse::<lettre::Address>().is_ok()
}
