//! The types of `openidconnect` with all claims, and the checks of ID tokens.

use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreRevocableToken,
    CoreRevocationErrorResponse, CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AccessTokenHash, AdditionalClaims, ClaimsVerificationError, Client, EmptyExtraTokenFields, EndSessionUrl,
    EndpointMaybeSet, EndpointNotSet, EndpointSet, IdToken, IdTokenFields, Nonce, OAuth2TokenResponse,
    SignatureVerificationError, StandardErrorResponse, StandardTokenResponse, TokenResponse,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::provider::ProviderError;
use crate::error::chain;

/// All claims beyond the standard ones.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct OtherClaims(Map<String, Value>);

impl AdditionalClaims for OtherClaims {}

type IdFields = IdTokenFields<
    OtherClaims,
    EmptyExtraTokenFields,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJwsSigningAlgorithm,
>;
pub(super) type Tokens = StandardTokenResponse<IdFields, CoreTokenType>;
pub(super) type OidcClient = Client<
    OtherClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    Tokens,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// An ID token with all claims.
pub(super) type AnyIdToken =
    IdToken<OtherClaims, CoreGenderClaim, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm>;

/// The provider's endpoints and keys.
pub(super) struct ProviderMetadata {
    pub(super) client: OidcClient,
    pub(super) end_session: Option<EndSessionUrl>,
}

/// Why an ID token is not accepted.
pub(super) enum TokenError {
    UnknownKey,
    Other(String),
}

impl TokenError {
    pub(super) fn into_error(self) -> ProviderError {
        ProviderError::Refused(match self {
            TokenError::UnknownKey => {
                "no key of the provider matches the signature of the ID token".to_owned()
            }
            TokenError::Other(reason) => reason,
        })
    }
}

/// The claims of the ID token: its signature, issuer, audience, times and nonce are checked, and that it belongs
/// to the access token.
/// # Source
/// OpenID Connect Core 1.0, sections 3.1.3.7, 3.1.3.8 and 12.2.
pub(super) fn verified(
    metadata: &ProviderMetadata,
    tokens: &Tokens,
    nonce: Option<&Nonce>,
) -> Result<Map<String, Value>, TokenError> {
    let Some(token) = tokens.id_token() else { return Ok(Map::new()) };
    let verifier = metadata.client.id_token_verifier();
    let fault = |error: ClaimsVerificationError| match error {
        ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoMatchingKey) => {
            TokenError::UnknownKey
        }
        error => TokenError::Other(chain(&error)),
    };
    let claims = match nonce {
        Some(nonce) => token.claims(&verifier, nonce),
        None => token.claims(&verifier, |_: Option<&Nonce>| Ok(())),
    };
    let claims = claims.map_err(fault)?;
    if let Some(expected) = claims.access_token_hash() {
        let other = |error: &dyn std::error::Error| TokenError::Other(chain(error));
        let algorithm = token.signing_alg().map_err(|error| other(&error))?;
        let key = token.signing_key(&verifier).map_err(|error| other(&error))?;
        let found = AccessTokenHash::from_token(tokens.access_token(), algorithm, key);
        if found.map_err(|error| other(&error))? != *expected {
            return Err(TokenError::Other("the ID token is for another access token".to_owned()));
        }
    }
    match serde_json::to_value(claims) {
        Ok(Value::Object(claims)) => Ok(claims),
        _ => Err(TokenError::Other("the claims are not an object".to_owned())),
    }
}
