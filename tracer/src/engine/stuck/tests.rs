//! Each cause, as data.
