//! Says when something turns out to be the matter: the rules of `diagnose`, while another sink does what it
//! does.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Result;
use bytes::BytesMut;

use super::{Sink, Start, report::hooks};
use crate::{
    diagnose::{Finding, Rolling, Setting, Severity},
    engine::{Account, Engine, Mono, Update},
    filter::Filter,
    render::completeness::Completeness,
};

/// Findings that are remembered; beyond it, none is new.
const MAX_KNOWN: usize = 1024;

/// Told of what was not the matter before: the rule, and what it found.
pub type Alarm = Box<dyn FnMut(&'static str, &Finding)>;

/// See the module.
pub struct WatchSink {
    inner: Box<dyn Sink>,
    filter: Filter,
    rolling: Rolling,
    setting: Setting,
    account: Account,
    now: Mono,
    news: News,
    alarm: Alarm,
}

impl WatchSink {
    /// Beside `inner`. What is the matter is told once, until it was not for so long.
    pub fn new(inner: Box<dyn Sink>, filter: Filter, forget_after: Duration, alarm: Alarm) -> Self {
        Self {
            inner,
            filter,
            rolling: Rolling::default(),
            setting: Setting::default(),
            account: Account::default(),
            now: Mono(0),
            news: News {
                known: BTreeMap::new(),
                forget_after,
            },
            alarm,
        }
    }
}

impl std::fmt::Debug for WatchSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchSink").finish_non_exhaustive()
    }
}

/// What is the matter already: rule and subject, and when that was found last.
#[derive(Debug)]
struct News {
    known: BTreeMap<(&'static str, String), Mono>,
    forget_after: Duration,
}

impl News {
    /// Whether this was not known. What only is good to know is no news.
    fn is_new(&mut self, now: Mono, rule: &'static str, finding: &Finding) -> bool {
        if finding.severity > Severity::Warning {
            return false;
        }
        let forget_after = self.forget_after;
        self.known
            .retain(|_, latest| now.since(*latest) <= forget_after);
        let key = (rule, finding.subject.clone());
        if let Some(latest) = self.known.get_mut(&key) {
            *latest = now;
            return false;
        }
        if self.known.len() >= MAX_KNOWN {
            return false;
        }
        self.known.insert(key, now);
        true
    }
}

impl Sink for WatchSink {
    fn start(&mut self, start: &Start, out: &mut BytesMut) -> Result<()> {
        self.setting = Setting {
            host: start.host.clone(),
            kernel: start.kernel.clone(),
            hooks: hooks(start),
        };
        self.inner.start(start, out)
    }

    fn update(&mut self, update: &Update, out: &mut BytesMut) -> Result<()> {
        if let Update::Clock { at, .. } = update {
            self.now = *at;
        }
        self.rolling.update(update, true);
        self.inner.update(update, out)
    }

    fn tick(&mut self, engine: &Engine, out: &mut BytesMut) -> Result<()> {
        let completeness = Completeness::new(&self.account, engine.ledger());
        let filter = &self.filter;
        let wanted = |t: &_| filter.wants(t);
        let asked = (self.rolling).tick(engine, self.now, &self.setting, &completeness, wanted);
        if asked {
            for (rule, finding) in self.rolling.list() {
                if self.news.is_new(self.now, rule, finding) {
                    (self.alarm)(rule, finding);
                }
            }
        }
        self.inner.tick(engine, out)
    }

    fn account(&mut self, account: &Account) {
        self.account = *account;
        self.inner.account(account);
    }

    fn end(
        &mut self,
        engine: &Engine,
        completeness: &Completeness,
        out: &mut BytesMut,
    ) -> Result<()> {
        self.inner.end(engine, completeness, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_news_until_it_is_known_and_when_it_comes_again() {
        let minute = Duration::from_mins(1);
        let mut news = News {
            known: BTreeMap::new(),
            forget_after: 10 * minute,
        };
        let finding = |subject: &str, severity| Finding {
            severity,
            subject: subject.to_owned(),
            summary: String::new(),
            evidence: serde_json::Map::new(),
            advice: Vec::new(),
            verify: "",
            avoid: "",
        };
        let at = |minutes| Mono(0).plus(minutes * minute);
        let port = finding("port 80", Severity::Warning);
        assert!(news.is_new(at(0), "slow_reader", &port));
        assert!(!news.is_new(at(9), "slow_reader", &port));
        assert!(!news.is_new(at(18), "slow_reader", &port), "it goes on");
        assert!(news.is_new(at(18), "close_wait_leak", &port));
        let other = finding("port 81", Severity::Critical);
        assert!(news.is_new(at(18), "slow_reader", &other));
        assert!(news.is_new(at(29), "slow_reader", &port), "it was over");
        let folklore = finding("net.ipv4.tcp_fin_timeout=5", Severity::Info);
        assert!(!news.is_new(at(29), "folklore", &folklore));
    }
}
