//! The part of a remedy that a program can apply: settings with their values.

use serde::{Deserialize, Serialize};

/// Whose setting it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// The client's: its network namespace, its command line, its limits.
    Client,
    /// The server's.
    Server,
}

/// One setting and the value that it needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Fix {
    /// A sysctl, in the network namespace of that end where it has one.
    Sysctl {
        /// Whose.
        who: Who,
        /// With dots: `net.core.somaxconn`.
        name: String,
        /// As it is written.
        value: String,
    },
    /// An option of c1m's own client or server.
    Option {
        /// Whose.
        who: Who,
        /// With its dashes: `--backlog`.
        name: String,
        /// Its value.
        value: String,
    },
    /// The second argument of another server's listen().
    Backlog {
        /// That argument.
        value: u64,
    },
    /// RLIMIT_NOFILE of each process.
    Nofile {
        /// Whose.
        who: Who,
        /// How many file descriptors.
        limit: u64,
    },
    /// An address that an interface of the client's host needs.
    Address {
        /// The address.
        address: String,
        /// The bits of its network: 32 or 128.
        prefix: u8,
    },
}

impl Fix {
    /// A sysctl.
    pub fn sysctl(who: Who, name: &str, value: impl ToString) -> Self {
        Self::Sysctl {
            who,
            name: name.to_owned(),
            value: value.to_string(),
        }
    }

    /// An option of c1m's.
    pub fn option(who: Who, name: &str, value: impl ToString) -> Self {
        Self::Option {
            who,
            name: name.to_owned(),
            value: value.to_string(),
        }
    }
}

/// What can be pasted: a command, or the option or argument that goes into one.
impl std::fmt::Display for Fix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sysctl { name, value, .. } if value.contains(' ') => {
                write!(f, "sysctl -w {name}='{value}'")
            }
            Self::Sysctl { name, value, .. } => write!(f, "sysctl -w {name}={value}"),
            Self::Option { name, value, .. } => write!(f, "{name} {value}"),
            Self::Backlog { value } => write!(f, "listen(fd, {value})"),
            Self::Nofile { limit, .. } => write!(f, "ulimit -n {limit}"),
            Self::Address { address, prefix } => {
                write!(f, "ip address add {address}/{prefix} dev DEV")
            }
        }
    }
}
