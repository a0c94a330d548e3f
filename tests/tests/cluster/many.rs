//! Many providers: all are served, a change among them is quick, what is applied again unchanged is not written about, and memory is
//! bounded. `make bench-cluster` does it with ten thousand.

use vestibule_tests::cluster::changes::{Many, operator_metric, resident_mebibytes};

use crate::fleet::fleet;

const PROVIDERS: usize = 500;
const PATCHES: &str = "vestibule_operator_status_patches_total";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_providers_are_served_and_written_about_once() {
    let Some((fleet, _turn)) = fleet().await else {
        return;
    };
    let release = &fleet.release;
    let many = Many::of(release).await;
    many.apply(PROVIDERS).await;
    many.all_programmed(PROVIDERS).await;

    // Again, unchanged; then one change, which comes after whatever that might have caused.
    let before = operator_metric(release, PATCHES).await;
    many.apply(PROVIDERS).await;
    many.change(release, 7, "changed").await;
    let patches = operator_metric(release, PATCHES).await - before;
    assert!(
        patches <= 3.0,
        "{patches} statuses were written for one change"
    );

    let taken = many.change(release, 8, "changed").await;
    eprintln!("one of {PROVIDERS} changed: {taken:?}");
    for (component, mebibytes_max) in [("operator", 400.0), ("dataplane", 200.0)] {
        let mebibytes = resident_mebibytes(release, component);
        assert!(
            mebibytes <= mebibytes_max,
            "{component}: {mebibytes} MiB resident"
        );
    }
    // The fleet's own provider goes with them, and comes back.
    many.delete_all().await;
    fleet.a_change_is_served("after many").await;
}
