-- Connects and handshakes that came to nothing, by destination and reason.
select role, raddr, rport, end_reason, count(*) as failed
from connections
where outcome = 'failed'
group by role, raddr, rport, end_reason
order by failed desc, role, raddr, rport, end_reason
