//! Nothing that is needed goes, and everything that is not does, in time.

use super::*;
use crate::registry::catalog::millis;

const HOUR: Duration = Duration::from_secs(3600);

fn in_hours(hours: u32) -> SystemTime {
    SystemTime::now() + HOUR * hours + Duration::from_secs(60)
}

async fn collect(rig: &Rig, live: &[Digest], now: SystemTime) -> (usize, Vec<Digest>) {
    let live: BTreeSet<_> = live.iter().copied().collect();
    let dry = rig.registry.collect(&live, now, true).await.unwrap();
    let gone = rig.registry.collect(&live, now, false).await.unwrap();
    assert_eq!(dry, gone, "what is said is what goes");
    let nothing = rig.registry.collect(&live, now, false).await.unwrap();
    assert_eq!(nothing, Default::default());
    (
        gone.manifests.len(),
        gone.blobs.iter().map(|(digest, _)| *digest).collect(),
    )
}

#[tokio::test]
async fn layers_go_after_an_hour_and_bare_blobs_after_a_week() {
    let rig = Rig::new(BundlesConfig::default()).await;
    let bare = rig.blob(b"bare", Purpose::Bare).await;
    let layer = rig.blob(b"layer", Purpose::Layer).await;
    let both = rig.blob(b"both", Purpose::Layer).await;
    rig.registry.blobs.mark(both, Purpose::Bare).await.unwrap();
    let live = rig.blob(b"live", Purpose::Layer).await;
    assert_eq!(collect(&rig, &[live], SystemTime::now()).await, (0, vec![]));
    assert_eq!(collect(&rig, &[live], in_hours(1)).await, (0, vec![layer]));
    assert_eq!(collect(&rig, &[live], in_hours(160)).await, (0, vec![]));
    let mut gone = collect(&rig, &[live], in_hours(7 * 24)).await.1;
    gone.sort();
    let mut expected = vec![bare, both];
    expected.sort();
    assert_eq!(gone, expected);
    assert!(rig.registry.blobs.stat(live).await.unwrap().is_some());
}

#[tokio::test]
async fn manifests_are_kept_by_tags_tasks_indexes_and_subjects() {
    let rig = Rig::new(BundlesConfig::default()).await;
    let old = rig.push_artifact("a", "1", b"old").await.unwrap().digest;
    let new = rig.push_artifact("a", "1", b"new").await.unwrap().digest;
    let signature = artifact(b"new", Some((new, 1)));
    let signed = nesos_bundle::digest_of(&signature).to_string();
    let signature = rig.push("a", &signed, &signature);
    signature.await.unwrap();
    let orphan = artifact(b"old", Some((old, 1)));
    let name = nesos_bundle::digest_of(&orphan).to_string();
    let orphan = rig.push("a", &name, &orphan);
    orphan.await.unwrap();

    assert_eq!(
        collect(&rig, &[old], in_hours(1)).await,
        (0, vec![]),
        "a task runs it"
    );
    let (manifests, blobs) = collect(&rig, &[], in_hours(1)).await;
    assert_eq!(manifests, 2, "the old one, and what was about it");
    assert!(blobs.contains(&old) && blobs.contains(&nesos_bundle::digest_of(b"old")));
    assert_eq!(blobs.len(), 3);
    let kept = rig
        .registry
        .with_catalog(|catalog| catalog.repositories["a"].manifests.len());
    assert_eq!(kept, 2, "the new one and its signature");
    let rig = rig.again().await;
    assert!(rig.registry.find("a", &Reference::Digest(old)).is_err());
    assert!(rig.registry.manifest_bytes(new).await.is_ok());
}

#[tokio::test]
async fn whoever_asks_for_a_blob_keeps_it_for_the_manifest_that_follows() {
    let rig = Rig::new(BundlesConfig::default()).await;
    let layer = rig.blob(b"layer", Purpose::Layer).await;
    let now = SystemTime::now();
    let found = rig
        .registry
        .collect(&BTreeSet::new(), now + HOUR / 2, false)
        .await
        .unwrap();
    assert_eq!(found.blobs, []);
    rig.registry.blobs.stat(layer).await.unwrap();
    assert!(rig.registry.blobs.last_used(layer).unwrap() >= now);
    assert!(millis(now) > 0);
}

#[tokio::test]
async fn pushes_and_collections_at_once_leave_nothing_half() {
    let rig = Arc::new(Rig::new(BundlesConfig::default()).await);
    let pushing = {
        let rig = Arc::clone(&rig);
        tokio::spawn(async move {
            for number in 0..30 {
                let layer = format!("layer {number}");
                rig.push_artifact("a", &format!("t{number}"), layer.as_bytes())
                    .await
                    .unwrap();
            }
        })
    };
    while !pushing.is_finished() {
        rig.registry
            .collect(&BTreeSet::new(), SystemTime::now(), false)
            .await
            .unwrap();
        tokio::task::yield_now().await;
    }
    pushing.await.unwrap();
    rig.registry
        .collect(&BTreeSet::new(), in_hours(2), false)
        .await
        .unwrap();
    for number in 0..30 {
        let layer = nesos_bundle::digest_of(format!("layer {number}").as_bytes());
        assert!(
            rig.registry.blobs.read(layer).await.unwrap().is_some(),
            "{number}"
        );
    }
}
