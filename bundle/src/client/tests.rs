use futures::stream;

use super::*;

#[test]
fn only_this_machine_is_spoken_with_in_plain_http_unasked() {
    for host in [
        "localhost",
        "localhost:5000",
        "127.0.0.1:1",
        "127.8.8.8",
        "[::1]:5000",
    ] {
        assert!(is_loopback(host), "{host}");
    }
    for host in [
        "ghcr.io",
        "localhost.evil.org",
        "10.0.0.1:5000",
        "[2001:db8::1]:5000",
        "",
    ] {
        assert!(!is_loopback(host), "{host}");
    }
    let named = RegistryConfig {
        plain_http: ["registry.lan:5000".to_owned()].into(),
        credentials: Credentials::default(),
    };
    assert!(named.is_plain("registry.lan:5000") && !named.is_plain("registry.lan"));
}

fn chunks(of: &[&'static str]) -> BoxStream<'static, Result<Bytes, RegistryError>> {
    let chunks: Vec<_> = of.iter().map(|chunk| Ok(Bytes::from(*chunk))).collect();
    stream::iter(chunks).boxed()
}

#[tokio::test]
async fn what_is_here_already_is_left_out_of_what_comes_again() {
    for skip in 0..=9 {
        let rest = from_offset(chunks(&["012", "345", "678"]), skip);
        let bytes = collect(rest, 100).await.expect("few");
        assert_eq!(
            bytes,
            &b"012345678"[usize::try_from(skip).expect("small")..]
        );
    }
}

#[tokio::test]
async fn more_than_is_taken_is_refused_while_it_comes() {
    let error = collect(chunks(&["0123", "4567"]), 7)
        .await
        .expect_err("too much");
    assert!(
        matches!(error, RegistryError::TooLong { most: 7 }),
        "{error}"
    );
}
