//! One order: account, challenges, certificate (RFC 8555 section 7).

use std::time::Duration;

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Identifier, NewAccount, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use sha2::{Digest, Sha256};

use super::challenge::{self, PreparedChallenge};
use super::client::AcmeClient;
use super::dns::DnsRecord;
use super::settings::AcmeSettings;
use super::store::keep;
use crate::error::{BoxError, Error};

/// The time limit for the authority to verify, and then to sign.
const PATIENCE: Duration = Duration::from_secs(120);

/// Orders a certificate; returns its chain and its key as PEM.
/// # Errors
/// The authority's message, or why it could not be reached.
pub(super) async fn order(settings: &AcmeSettings) -> Result<String, Error> {
    let failed = |what: &'static str| {
        move |cause: instant_acme::Error| Error::new(what).because(BoxError::from(cause))
    };
    let account = account(settings).await?;
    let names: Vec<Identifier> = settings.domains.iter().cloned().map(Identifier::Dns).collect();
    let order = account.new_order(&NewOrder::new(&names)).await;
    let mut order = order.map_err(failed("the authority refused the order"))?;
    // Kept until the authority has verified the challenges.
    let mut prepared = PreparedChallenges::default();
    let retries = RetryPolicy::new().timeout(PATIENCE);
    let ready = match prepare(settings, &mut order, &mut prepared).await {
        Ok(()) => Ok(order.poll_ready(&retries).await),
        Err(error) => Err(error),
    };
    prepared.clean_up(settings).await;
    let ready = ready?;
    if !matches!(ready, Ok(OrderStatus::Ready)) {
        let why = rejection(&mut order).await;
        let error = Error::new("the authority could not verify that the names point to this server");
        let error = error.help(match settings.dns {
            Some(_) => "the command of `dns` must set records that the authority can see",
            None => "the names must reach this server on port 443, or 80 with `redirect_http`",
        });
        return Err(match (why, ready) {
            (Some(why), _) => error.because(why),
            (None, Err(cause)) => error.because(BoxError::from(cause)),
            (None, Ok(_)) => error,
        });
    }
    let key = order.finalize().await.map_err(failed("the authority refused the certificate request"))?;
    let chain =
        order.poll_certificate(&retries).await.map_err(failed("the authority issued no certificate"))?;
    Ok(chain + "\n" + &key)
}

/// The account in the cache directory; registers one with the authority if there is none.
async fn account(settings: &AcmeSettings) -> Result<Account, Error> {
    let digest = Sha256::digest(&settings.directory);
    let digest: String = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    let file = settings.folder.join(format!("account-{digest}.json"));
    let client = Box::new(AcmeClient::new(settings.directory_ca.as_deref(), &settings.opener)?);
    let failed = |cause: instant_acme::Error| {
        Error::new(format!("no account with `{}`", settings.directory)).because(BoxError::from(cause))
    };
    if let Ok(text) = std::fs::read(&file) {
        let credentials: AccountCredentials = serde_json::from_slice(&text).map_err(|_| {
            Error::new(format!("`{}` contains no account", file.display()))
                .help("move it away to register a new account")
        })?;
        return Account::builder_with_http(client).from_credentials(credentials).await.map_err(failed);
    }
    let contact: Vec<&str> = settings.contact.iter().map(String::as_str).collect();
    // The config has agreed to the terms, or there would be no settings.
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let made = Account::builder_with_http(client).create(&new, settings.directory.clone(), None).await;
    let (account, credentials) = made.map_err(failed)?;
    let text = serde_json::to_vec(&credentials)
        .map_err(|cause| Error::new("cannot encode the account").because(cause))?;
    keep(&file, &text).map_err(|cause| {
        Error::new(format!("cannot store the account `{}`", file.display())).because(cause)
    })?;
    Ok(account)
}

/// The responses to the challenges of an order.
#[derive(Default)]
struct PreparedChallenges {
    files: Vec<PreparedChallenge>,
    records: Vec<DnsRecord>,
}

impl PreparedChallenges {
    /// Removes them.
    async fn clean_up(self, settings: &AcmeSettings) {
        if let Some(dns) = &settings.dns {
            for record in &self.records {
                dns.clean_up(record).await;
            }
        }
        drop(self.files);
    }
}

/// Prepares the responses to all open challenges, and asks the authority to verify them.
///
/// With `dns`, uses dns-01. Otherwise uses tls-alpn-01 if offered, because this port is the one that clients use; else http-01. If we also
/// answer on plain HTTP, the other one is tried first after a failed order, because perhaps only one of the
/// ports can be reached from outside.
async fn prepare(
    settings: &AcmeSettings,
    order: &mut Order,
    prepared: &mut PreparedChallenges,
) -> Result<(), Error> {
    let folder = &settings.folder;
    let mut kinds = match &settings.dns {
        Some(_) => vec![ChallengeType::Dns01],
        None => vec![ChallengeType::TlsAlpn01, ChallengeType::Http01],
    };
    if settings.plain && settings.failures().count % 2 == 1 {
        kinds.reverse();
    }
    let failed = |cause: BoxError| Error::new("cannot answer a challenge").because(cause);
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(|cause| failed(cause.into()))?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let offers = |kind: &ChallengeType| authorization.challenges.iter().any(|one| one.r#type == *kind);
        let Some(kind) = kinds.iter().find(|kind| offers(kind)).cloned() else {
            return Err(Error::new(match settings.dns {
                Some(_) => "the authority does not offer dns-01",
                None => "the authority offers neither tls-alpn-01 nor http-01",
            }));
        };
        let name = match authorization.identifier().identifier {
            Identifier::Dns(name) => name.to_ascii_lowercase(),
            _ => return Err(Error::new("the authority asked for an identifier that is not a DNS name")),
        };
        let Some(mut challenge) = authorization.challenge(kind.clone()) else { continue };
        let answer = challenge.key_authorization();
        match (kind, &settings.dns) {
            (ChallengeType::Dns01, Some(dns)) => {
                prepared.records.push(dns.present(&name, answer.dns_value()).await?);
            }
            (ChallengeType::TlsAlpn01, _) => {
                let made = challenge::prepare_tls(folder, &name, answer.digest().as_ref());
                prepared.files.push(made.map_err(failed)?);
            }
            _ => {
                let made = challenge::prepare_http(folder, &challenge.token, answer.as_str());
                prepared.files.push(made.map_err(|cause| failed(cause.into()))?);
            }
        }
        challenge.set_ready().await.map_err(|cause| failed(cause.into()))?;
    }
    Ok(())
}

/// The authority's own message.
async fn rejection(order: &mut Order) -> Option<String> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.ok()?;
        let name = authorization.identifier().to_string();
        let state = authorization.refresh().await.ok()?;
        let problem = state.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        if let Some(problem) = problem {
            return Some(format!("{name}: {problem}"));
        }
    }
    None
}
