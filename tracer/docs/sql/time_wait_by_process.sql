-- Whose connections went into TIME_WAIT, and how long they blocked their ports altogether.
select pid, comm, count(*) as time_waits, sum(time_wait_ns) as sum_ns, max(time_wait_ns) as max_ns
from connections
where time_wait_ns is not null
group by pid, comm
order by sum_ns desc, pid, comm
