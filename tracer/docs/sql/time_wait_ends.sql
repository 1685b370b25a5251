-- Why TIME_WAITs ended, and after how long. As 'report': time_wait.ended.
select end_reason, count(*) as ended, count(dur_us) as measured, quantile_disc(dur_us, 0.5) as p50_us,
       max(dur_us) as max_us
from transitions
where old_state = 'TIME_WAIT' and new_state = 'CLOSE'
group by end_reason
order by ended desc, end_reason
