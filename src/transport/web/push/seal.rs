//! What a push service carries and cannot read: RFC 8291 on RFC 8188, one record.

use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use ring::error::Unspecified;
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use ring::rand::{SecureRandom, SystemRandom};

/// The length of a record. Push services take no more in all.
const RECORD: u32 = 4096;
/// Ends the text of the last record.
const LAST: u8 = 2;

/// How many bytes of a key are wanted.
struct KeyLength(usize);

impl KeyType for KeyLength {
    fn len(&self) -> usize {
        self.0
    }
}

fn expand<const N: usize>(key: &Prk, info: &[&[u8]]) -> Result<[u8; N], Unspecified> {
    let mut bytes = [0; N];
    key.expand(info, KeyLength(N))?.fill(&mut bytes)?;
    Ok(bytes)
}

/// The body of a push that only the browser with this public key and this secret reads. An error: the key is none.
pub(super) fn seal(text: &[u8], browser: &[u8], secret: &[u8]) -> Result<Vec<u8>, Unspecified> {
    let random = SystemRandom::new();
    let mut salt = [0; 16];
    random.fill(&mut salt)?;
    let own = EphemeralPrivateKey::generate(&ECDH_P256, &random)?;
    let own_public = own.compute_public_key()?;
    let theirs = UnparsedPublicKey::new(&ECDH_P256, browser);
    let agreed = agree_ephemeral(own, &theirs, |shared| Salt::new(HKDF_SHA256, secret).extract(shared))?;
    let keying: [u8; 32] = expand(&agreed, &[b"WebPush: info\0", browser, own_public.as_ref()])?;
    let record = Salt::new(HKDF_SHA256, &salt).extract(&keying);
    let key: [u8; 16] = expand(&record, &[b"Content-Encoding: aes128gcm\0"])?;
    let nonce: [u8; 12] = expand(&record, &[b"Content-Encoding: nonce\0"])?;
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key)?);
    let mut sealed = [text, &[LAST]].concat();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)?;
    let public = own_public.as_ref();
    let length = u8::try_from(public.len()).map_err(|_| Unspecified)?;
    Ok([&salt[..], &RECORD.to_be_bytes(), &[length], public, &sealed].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a browser opens it, written from the RFCs.
    fn open(body: &[u8], own: EphemeralPrivateKey, secret: &[u8]) -> Vec<u8> {
        let own_public = own.compute_public_key().expect("it has one");
        let (salt, rest) = body.split_at(16);
        assert_eq!(rest[..4], 4096_u32.to_be_bytes());
        let (sender, sealed) = rest[5..].split_at(usize::from(rest[4]));
        let sender_key = UnparsedPublicKey::new(&ECDH_P256, sender);
        let agreed = agree_ephemeral(own, &sender_key, |shared| Salt::new(HKDF_SHA256, secret).extract(shared));
        let info: [&[u8]; 3] = [b"WebPush: info\0", own_public.as_ref(), sender];
        let keying: [u8; 32] = expand(&agreed.expect("it is a key"), &info).expect("it is short");
        let record = Salt::new(HKDF_SHA256, salt).extract(&keying);
        let key: [u8; 16] = expand(&record, &[b"Content-Encoding: aes128gcm\0"]).expect("it is short");
        let nonce: [u8; 12] = expand(&record, &[b"Content-Encoding: nonce\0"]).expect("it is short");
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).expect("it is one"));
        let mut sealed = sealed.to_vec();
        let opened = key.open_in_place(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed);
        opened.expect("it is for this browser").to_vec()
    }

    #[test]
    fn the_browser_reads_what_was_sealed_for_it_and_each_time_it_looks_otherwise() {
        let random = SystemRandom::new();
        let own = EphemeralPrivateKey::generate(&ECDH_P256, &random).expect("it can be made");
        let public = own.compute_public_key().expect("it has one");
        let secret = [7; 16];
        let (one, other) = (seal(b"halo", public.as_ref(), &secret), seal(b"halo", public.as_ref(), &secret));
        let one = one.expect("it is a key");
        assert_ne!(Some(&one), other.as_ref().ok());
        assert!(!one.windows(4).any(|four| four == b"halo"));
        assert_eq!(open(&one, own, &secret), b"halo\x02");
    }

    #[test]
    fn what_is_no_point_of_the_curve_is_refused() {
        for bad in [vec![], vec![4; 65], vec![0; 65], vec![4; 64]] {
            assert!(seal(b"", &bad, &[0; 16]).is_err());
        }
    }
}
