use super::*;

const PAYLOAD: &[u8] = include_bytes!("../../tests/vectors/payload.json");
const P256_KEY: &str = include_str!("../../tests/vectors/p256.key");
const P256_PUB: &str = include_str!("../../tests/vectors/p256.pub");
const P256_SIG: &[u8] = include_bytes!("../../tests/vectors/p256.sig");
const ED_KEY: &str = include_str!("../../tests/vectors/ed.key");
const ED_PUB: &str = include_str!("../../tests/vectors/ed.pub");
const ED_SIG: &[u8] = include_bytes!("../../tests/vectors/ed.sig");
const P384_PUB: &str = include_str!("../../tests/vectors/p384.pub");

#[test]
fn signatures_of_openssl_are_verified() {
    for (public, signature, other) in [(P256_PUB, P256_SIG, ED_SIG), (ED_PUB, ED_SIG, P256_SIG)] {
        let key: VerifyingKey = public.parse().expect("a key of openssl");
        assert!(key.verifies(PAYLOAD, signature));
        assert!(!key.verifies(&PAYLOAD[1..], signature));
        assert!(!key.verifies(PAYLOAD, other));
        assert!(!key.verifies(PAYLOAD, b""));
        let mut bent = signature.to_vec();
        bent[20] ^= 1;
        assert!(!key.verifies(PAYLOAD, &bent));
    }
}

#[test]
fn keys_of_openssl_are_read_and_written_alike() {
    for (private, public) in [(P256_KEY, P256_PUB), (ED_KEY, ED_PUB)] {
        let key = SigningKey::from_pem(private).expect("a key of openssl");
        assert_eq!(key.to_pem(), private);
        assert_eq!(key.verifying_key().to_pem(), public);
        assert!(key.verifying_key().verifies(PAYLOAD, &key.sign(PAYLOAD)));
    }
}

#[test]
fn ed25519_signs_as_openssl_does() {
    let key = SigningKey::from_pem(ED_KEY).expect("a key of openssl");
    assert_eq!(key.sign(PAYLOAD), ED_SIG);
}

#[test]
fn new_keys_differ_and_survive_their_text() {
    for algorithm in [Algorithm::EcdsaP256, Algorithm::Ed25519] {
        let key = SigningKey::generate(algorithm).expect("randomness");
        let other = SigningKey::generate(algorithm).expect("randomness");
        assert_ne!(key.to_pem(), other.to_pem());
        let read = SigningKey::from_pem(&key.to_pem()).expect("just written");
        assert_eq!(read.verifying_key(), key.verifying_key());
        assert!(!other.verifying_key().verifies(PAYLOAD, &key.sign(PAYLOAD)));
    }
}

#[test]
fn what_is_no_key_is_refused_by_name() {
    let private = |text: &str| SigningKey::from_pem(text).expect_err("no key");
    assert_eq!(private("hello"), KeyError::NotPrivate);
    assert_eq!(private(P256_PUB), KeyError::NotPrivate);
    assert_eq!(
        private("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----"),
        KeyError::Encrypted
    );
    assert_eq!(
        private("-----BEGIN EC PRIVATE KEY-----"),
        KeyError::Notation
    );
    let public = |text: &str| text.parse::<VerifyingKey>().expect_err("no key");
    assert_eq!(public("hello"), KeyError::NotPublic);
    assert_eq!(public(P384_PUB), KeyError::NotPublic);
    assert_eq!(public(P256_KEY), KeyError::Private);
}

#[test]
fn a_private_key_is_not_shown() {
    let key = SigningKey::from_pem(ED_KEY).expect("a key");
    assert_eq!(format!("{key:?}"), "SigningKey(…)");
}
