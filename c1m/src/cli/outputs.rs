//! Where a report goes, and metrics: options that several commands share.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

/// Formats of a run's report besides the table; `-` prints one in the table's place.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Reports")]
pub struct Outputs {
    /// Write the record of the run to this file, as JSON (- for stdout, here and below)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a page for browsers, with the time line and how long connecting took
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write it as Markdown
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Write the lost and the recovered attempts as CSV
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
}

/// Metrics for tools that scrape.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Metrics")]
pub struct MetricsArgs {
    /// Serve OpenMetrics at this address while it runs: 127.0.0.1:9464
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<SocketAddr>,
    /// Let --metrics be an address that other hosts can reach
    #[arg(long, requires = "metrics")]
    pub metrics_public: bool,
}
