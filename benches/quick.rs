//! The settings of the benches.

use criterion::Criterion;
use std::time::Duration;

/// Returns settings with a second per bench, so that all of them run in a few minutes. `--measurement-time` and
/// `--sample-size` raise them.
pub(crate) fn quick() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .sample_size(20)
        .configure_from_args()
}
