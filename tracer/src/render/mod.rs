//! Text shared by lines, reports and dashboards.

pub mod age;
pub mod completeness;
pub mod count;
pub mod duration;
pub mod dwells;
pub mod ends;
pub mod escape;
pub mod histogram;
pub mod wrap;
