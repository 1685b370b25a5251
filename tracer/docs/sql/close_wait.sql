-- Who sits in CLOSE_WAIT at the end, and for how long at least.
select pid, comm, lport, count(*) as open, max(age_ns) as oldest_ns
from connections
where state = 'CLOSE_WAIT' and age_ns is not null
group by pid, comm, lport
order by open desc, pid, comm, lport
