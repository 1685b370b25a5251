//! Who closed first, and what became of TIME_WAIT: two lines of the run.

use crate::engine::Stats;

/// The lines; only what happened is in them.
pub fn lines(stats: &Stats) -> Vec<String> {
    let mut lines = Vec::new();
    let closed: Vec<String> = stats
        .closed_first()
        .filter(|(_, count)| *count > 0)
        .map(|(first, count)| format!("{}={count}", first.name()))
        .collect();
    if !closed.is_empty() {
        lines.push(format!("closed first: {}", closed.join(" ")));
    }
    let time_wait = stats.time_wait();
    let ended: u64 = time_wait.ended.values().sum();
    if time_wait.entered + time_wait.never_created + ended > 0 {
        let mut line = format!(
            "TIME_WAIT: entered={} never_created={}",
            time_wait.entered, time_wait.never_created
        );
        for (reason, count) in &time_wait.ended {
            line += &format!(" {}={count}", reason.name());
        }
        lines.push(line);
    }
    lines
}
