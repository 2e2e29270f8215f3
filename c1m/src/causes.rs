//! The cause table: one row per way in which a connection is lost. Docs, `c1m causes`, the report and the
//! labs are made from it. Slugs are permanent; the order is that of `docs/causes.md`.
