//! The code in the pages of the guide, compiled and run as doc tests: `cargo test --doc -p sockeye-guide`.

/// Defines a module for each page, whose documentation is the page.
macro_rules! pages {
    ($($page:ident)*) => {$(
        #[cfg(doctest)]
        #[doc = include_str!(concat!("../../docs/guide/", stringify!($page), ".md"))]
        mod $page {}
    )*};
}

pages! {
    start events rooms delivery authentication axum errors clients testing deployment cluster observability custom_event_loops from_node from_socketioxide
}
