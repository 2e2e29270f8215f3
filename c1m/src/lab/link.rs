//! A link between the lab's own namespace and another.

use std::os::fd::{AsFd, AsRawFd};

use super::bench::Bench;
use crate::netns::Netns;

/// The hardware addresses of the veth pair's ends, locally administered.
pub(super) const OWN_HARDWARE: &str = "02:00:00:00:00:01";
const OTHER_HARDWARE: &str = "02:00:00:00:00:02";

impl Bench {
    /// A second namespace `10.9.1.2` behind a veth pair; the lab's own end is `10.9.1.1`. The lab's side
    /// knows the other's hardware address for good, so nothing is asked of it.
    pub(super) fn second_namespace(&self) -> anyhow::Result<Netns> {
        let other = Netns::create()?;
        self.fix_sysctls(&other)?;
        let fd = format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            other.as_fd().as_raw_fd()
        );
        self.ip(None, "link add c1m-a type veth peer name c1m-b")?;
        self.ip(None, &format!("link set c1m-b address {OTHER_HARDWARE}"))?;
        self.ip(None, &format!("link set c1m-b netns {fd}"))?;
        self.ip(None, "addr add 10.9.1.1/24 dev c1m-a")?;
        self.ip(None, &format!("link set c1m-a address {OWN_HARDWARE} up"))?;
        self.ip(Some(&other), "link set c1m-b up")?;
        self.knows_other()?;
        Ok(other)
    }

    /// From now on the lab's own side knows the hardware address of [`Self::second_namespace`].
    pub(super) fn knows_other(&self) -> anyhow::Result<()> {
        self.ip(
            None,
            &format!("neigh replace 10.9.1.2 lladdr {OTHER_HARDWARE} dev c1m-a nud permanent"),
        )
    }
}
