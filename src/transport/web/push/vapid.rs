//! Who pushes: RFC 8292. A push service takes what is signed with the key that the browser subscribed with.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64ct::{Base64UrlUnpadded, Encoding};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::json;

/// How long a signature is good; a day is the most that services take.
const GOOD_FOR: Duration = Duration::from_secs(12 * 60 * 60);

/// The key that signs.
pub(super) struct PushKey(EcdsaKeyPair);

impl PushKey {
    /// A new one, as it is stored: PKCS#8.
    pub(super) fn generate() -> Option<Vec<u8>> {
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        key.ok().map(|key| key.as_ref().to_vec())
    }

    pub(super) fn read(stored: &[u8]) -> Option<PushKey> {
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, stored, &SystemRandom::new()).ok().map(PushKey)
    }

    /// The public half, as browsers and services want it.
    pub(super) fn public(&self) -> String {
        Base64UrlUnpadded::encode_string(self.0.public_key().as_ref())
    }

    /// The value of `Authorization` for the service at this origin. `contact` is who may be asked about it.
    pub(super) fn authorization(&self, origin: &str, contact: &str, now: SystemTime) -> Option<String> {
        let until = (now + GOOD_FOR).duration_since(UNIX_EPOCH).ok()?.as_secs();
        let header = json!({ "typ": "JWT", "alg": "ES256" });
        let claims = json!({ "aud": origin, "exp": until, "sub": contact });
        let encode = |text: String| Base64UrlUnpadded::encode_string(text.as_bytes());
        let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).ok()?;
        let signature = Base64UrlUnpadded::encode_string(signature.as_ref());
        Some(format!("vapid t={signed}.{signature}, k={}", self.public()))
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    #[test]
    fn what_is_signed_is_told_apart_from_what_is_not() {
        let key = PushKey::read(&PushKey::generate().expect("it can be made")).expect("it is one");
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        let value = key.authorization("https://push.example", "https://chat.example", now).expect("it is after 1970");
        let (token, public) = value.strip_prefix("vapid t=").and_then(|rest| rest.split_once(", k=")).expect("both");
        let decode = |text: &str| Base64UrlUnpadded::decode_vec(text).expect("it is base64url");
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, decode(public));
        assert!(public.verify(signed.as_bytes(), &decode(signature)).is_ok());
        assert!(public.verify(b"another", &decode(signature)).is_err());
        let claims: serde_json::Value =
            serde_json::from_slice(&decode(signed.split_once('.').expect("two parts").1)).expect("it is JSON");
        let wanted = json!({ "aud": "https://push.example", "exp": 1_043_200, "sub": "https://chat.example" });
        assert_eq!(claims, wanted);
    }

    #[test]
    fn what_is_stored_must_be_a_key() {
        assert!(PushKey::read(b"no key").is_none());
    }
}
