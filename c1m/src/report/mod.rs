//! The report of a run: the record, and one module per format.

pub mod record;
