//! What of the kernel's helpers and functions the programs on the BTF tracepoint may call.

/// How far they reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reach {
    /// What is as old as the ring buffer (5.8).
    #[default]
    Plain,
    /// Cookies of sockets (5.12), and the task as a typed pointer (5.11).
    Cookies,
    /// And any number in the kernel's memory by a load (6.2; a kernel that makes machine code of BPF).
    Casts,
}

impl Reach {
    /// In the order in which they are tried.
    pub(super) const BEST_FIRST: [Self; 3] = [Self::Casts, Self::Cookies, Self::Plain];

    /// Whether the tool is told cookies.
    pub(super) fn has_cookies(self) -> bool {
        self >= Self::Cookies
    }

    /// The rung's name.
    pub(super) const fn rung(self) -> &'static str {
        match self {
            Self::Plain => "tp_btf:inet_sock_set_state",
            Self::Cookies => "tp_btf:inet_sock_set_state with cookie",
            Self::Casts => "tp_btf:inet_sock_set_state with cookie and casts",
        }
    }
}
