//! Connections whose server's end has another tuple: asked for, and told.

use std::{collections::HashSet, net::SocketAddr};

use anyhow::Context as _;

use crate::{
    ledger::{
        client::{Index, ServerEnds},
        nat,
    },
    load::client::Progress,
    report::text::thousands,
    watch::{Sighting, Watch},
};

/// Whether anybody asks who is translated: who stands at both ends is not, and what was dropped behind a translation is not found by
/// the client's tuple, wherever the server is.
pub(super) fn asks(progress: &Progress, ends: &ServerEnds, sighting: &Sighting) -> bool {
    match sighting.sight.server_end {
        true => !ends.are_complete(),
        false => progress.failed + progress.lost > 0,
    }
}

/// Whether no server's end was found, and it cannot be told who is translated: then all are.
pub(super) fn is_hidden(
    watch: &Watch,
    progress: &Progress,
    ends: &ServerEnds,
    sighting: &Sighting,
) -> anyhow::Result<bool> {
    let has_nat = sighting.host.nf_conntrack_max.is_some();
    let seen = sighting.snapshot.stats.ends[1].established > 0;
    if progress.established == 0 || seen || !has_nat || !ends.are_absent() {
        return Ok(false);
    }
    let hidden = watch.namespaces().first().map(nat::is_hidden).transpose()?;
    Ok(hidden.unwrap_or(false))
}

/// The sources of those that are translated, if anybody asks.
pub(super) fn translated(
    watch: &Watch,
    index: &Index<'_>,
    target: SocketAddr,
    asks: bool,
) -> anyhow::Result<HashSet<SocketAddr>> {
    let Some(namespace) = watch.namespaces().first().filter(|_| asks) else {
        return Ok(HashSet::new());
    };
    let mut sources = nat::translated(namespace, target)
        .context("cannot read which connections are translated")?;
    // Others are connected there, too.
    sources.retain(|source| index.of(*source).is_some());
    Ok(sources)
}

/// Says that the server's end of some was not looked for.
pub(super) fn are_translated(sources: &HashSet<SocketAddr>) -> Option<String> {
    let of = thousands(sources.len() as u64);
    (!sources.is_empty()).then(|| {
        format!(
            "the addresses of {of} connections are translated (NAT): their server's end has another tuple, and standing is \
             what the client says"
        )
    })
}
