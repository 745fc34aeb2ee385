//! `auth_jwt`: the tokens of an identity provider.

use base64::Engine;
use http::Request;

use super::credentials::{showing, text};
use super::hello;
use crate::local::{faults, shown};

/// The private key of the tests, and its public key as a JSON Web Key Set.
fn signing_key(id: &str) -> (ring::signature::EcdsaKeyPair, String) {
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    let random = ring::rand::SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
    let encode = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let point = key.public_key().as_ref();
    let (x, y) = (encode(&point[1..33]), encode(&point[33..]));
    let set = serde_json::json!({ "keys": [{
        "kty": "EC", "crv": "P-256", "kid": id, "use": "sig", "alg": "ES256", "x": x, "y": y,
    }] });
    (key, set.to_string())
}

/// A token with these claims, signed with the key.
fn token(key: &ring::signature::EcdsaKeyPair, id: &str, claims: &serde_json::Value) -> String {
    let encode = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let head = serde_json::json!({ "alg": "ES256", "typ": "JWT", "kid": id }).to_string();
    let signed = format!("{}.{}", encode(head.as_bytes()), encode(claims.to_string().as_bytes()));
    let signature = key.sign(&ring::rand::SystemRandom::new(), signed.as_bytes()).unwrap();
    format!("{signed}.{}", encode(signature.as_ref()))
}

fn now() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

#[test]
fn tokens_of_a_provider_are_checked() {
    let (key, set) = signing_key("one");
    let (other, _) = signing_key("one");
    let tables = "[middleware.j]\nuse = \"auth_jwt\"\njwks = \"keys.json\"\nissuer = \"https://id.example\"\naudience = [\"shop\"]\n\
                  algorithms = [\"ES256\"]\nleeway_secs = 5\nuser_claim = \"name\"\ngroups_claim = \"roles\"\nclaims = { x-email = \"email\" }\ncookie = \"jwt\"\n";
    let local = showing("\"j\"", tables, &[("keys.json", &set)]);
    let right = serde_json::json!({ "iss": "https://id.example", "aud": ["other", "shop"], "exp": now() + 60,
                                    "name": "ann", "email": "ann@a.example", "roles": ["staff", "a,b"] });
    let call = |token: &str| {
        let request = Request::get("/debug").header("authorization", format!("Bearer {token}"));
        local.send(request.header("x-email", "root@a.example"), "")
    };
    let answer = call(&token(&key, "one", &right));
    let seen = text(&answer);
    for line in ["REMOTE_USER=ann", "REMOTE_GROUPS=staff", "AUTH_TYPE=Bearer", "HTTP_X_EMAIL=ann@a.example"] {
        assert!(seen.lines().any(|found| found == line), "{line}\n{seen}");
    }
    let in_cookie =
        Request::get("/debug").header("cookie", format!("a=b; jwt={}", token(&key, "one", &right)));
    assert_eq!(local.send(in_cookie, "").status(), 200);
    let with = |name: &str, value: serde_json::Value| {
        let mut claims = right.clone();
        claims[name] = value;
        token(&key, "one", &claims)
    };
    let plain = token(&key, "one", &right);
    let (head, rest) = plain.split_once('.').unwrap();
    let none = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let symmetric = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256","kid":"one"}"#);
    assert!(!head.is_empty());
    for (what, token) in [
        ("expired", with("exp", (now() - 60).into())),
        ("not yet", with("nbf", (now() + 60).into())),
        ("another issuer", with("iss", "https://evil.example".into())),
        ("for another", with("aud", "other".into())),
        ("another key", token(&other, "one", &right)),
        ("an unknown key", token(&key, "two", &right)),
        ("no signature", format!("{none}.{}.", rest.split('.').next().unwrap())),
        ("another algorithm", format!("{symmetric}.{rest}")),
        ("nonsense", "a.b.c".to_owned()),
    ] {
        let answer = call(&token);
        assert_eq!(
            shown(&answer, &["www-authenticate"]),
            "401 Bearer realm=\"api\", error=\"invalid_token\" | The token is not valid.\n",
            "{what}"
        );
    }
    let answer = local.get("/debug");
    assert_eq!(shown(&answer, &["www-authenticate"]), "401 Bearer realm=\"api\" | A token is required.\n");
}

#[test]
fn keys_come_from_an_app_and_new_ones_are_found() {
    let (key, set) = signing_key("one");
    let tables = "[middleware.j]\nuse = \"auth_jwt\"\njwks_app = \"provider\"\njwks_path = \"/keys.json\"\njwks_secs = 600\noptional = true\n\
                  [app.provider]\nuse = \"static\"\npublish_dir = \"provider\"\n";
    let local = showing("\"j\"", tables, &[("provider/keys.json", &set)]);
    let claims = serde_json::json!({ "sub": "ann", "exp": now() + 60 });
    let call = |token: &str| {
        local.send(Request::get("/debug").header("authorization", format!("Bearer {token}")), "")
    };
    assert!(text(&call(&token(&key, "one", &claims))).contains("REMOTE_USER=ann\n"));
    assert_eq!(call("a.b.c").status(), 401, "a wrong token does not pass, even if none is needed");
    let without = local.get("/debug");
    assert!(without.status() == 200 && !text(&without).contains("REMOTE_USER"));
    let wrong = "[middleware.a]\nuse = \"auth_jwt\"\nsecret = \"short\"\n[middleware.b]\nuse = \"auth_jwt\"\n\
                 [middleware.c]\nuse = \"auth_jwt\"\nsecret = \"0123456789abcdef0123456789abcdef\"\nalgorithms = [\"RS256\", \"none\"]\n\
                 [middleware.d]\nuse = \"auth_jwt\"\njwks = \"keys\"\n";
    let told = faults(&hello("[\"a\", \"b\", \"c\", \"d\"]", wrong));
    for part in [
        "the secret is too short",
        "needs one source of keys",
        "`none` is not an algorithm",
        "the algorithms do not match",
        "cannot read the key set",
    ] {
        assert!(told.contains(part), "{part}\n{told}");
    }
}

#[test]
fn a_shared_secret_signs_tokens_too() {
    let secret = "0123456789abcdef0123456789abcdef";
    let local =
        showing("\"j\"", &format!("[middleware.j]\nuse = \"auth_jwt\"\nsecret = \"{secret}\"\n"), &[]);
    let encode = |bytes: &[u8]| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes);
    let claims = serde_json::json!({ "sub": "ann", "exp": now() + 60 }).to_string();
    let signed = format!("{}.{}", encode(br#"{"alg":"HS256"}"#), encode(claims.as_bytes()));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let token = format!("{signed}.{}", encode(ring::hmac::sign(&key, signed.as_bytes()).as_ref()));
    let call = |token: &str| {
        local.send(Request::get("/debug").header("authorization", format!("Bearer {token}")), "")
    };
    assert!(text(&call(&token)).contains("REMOTE_USER=ann\n"));
    assert_eq!(call(&format!("{token}a")).status(), 401);
}
