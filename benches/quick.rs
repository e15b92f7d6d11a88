//! How the benches measure.

use criterion::Criterion;
use std::time::Duration;

/// A second each, so that all of them are done in a few minutes; `--measurement-time` and `--sample-size` ask for more.
pub(crate) fn quick() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .sample_size(20)
        .configure_from_args()
}
