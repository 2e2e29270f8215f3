//! c1m holds a million TCP connections on ordinary Linux and attributes every missing one to a cause.
//!
//! An attempt goes in, exactly one verdict comes out, and the sum is closed. `ARCHITECTURE.md` draws the
//! way of the data: [`load`] makes attempts, [`trace`] collects facts from the kernel, [`ledger`] joins
//! both with a census of who stands, [`verdict`] judges, [`report`] prints.

pub mod causes;
pub mod cli;
pub mod doctor;
pub mod host;
pub mod lab;
pub mod ledger;
pub mod live;
pub mod load;
pub mod metrics;
pub mod netns;
pub mod options;
pub mod report;
pub mod run;
pub mod slow;
pub mod stderr;
pub mod trace;
pub mod verdict;
pub mod watch;
