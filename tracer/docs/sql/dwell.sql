-- How long the stays in each state were, of those that were seen at both ends. As 'report': states.*.dwell, but
-- for quantiles, which are exact here.
select old_state as state, count(*) as stays, sum(dur_us) as sum_us, min(dur_us) as min_us, max(dur_us) as max_us,
       quantile_disc(dur_us, 0.5) as p50_us, quantile_disc(dur_us, 0.9) as p90_us,
       quantile_disc(dur_us, 0.99) as p99_us
from transitions
where dur_us is not null and old_state <> 'CLOSE'
group by old_state
order by sum_us desc, state
