-- The peers with the most connections, and who closed first.
select raddr, count(*) as connections,
       sum(case when outcome = 'closed' and closed_first = 'local' then 1 else 0 end) as closed_first_local,
       sum(case when outcome = 'closed' and closed_first = 'remote' then 1 else 0 end) as closed_first_remote,
       sum(case when outcome = 'failed' then 1 else 0 end) as failed
from connections
where began <> 'closed_before'
group by raddr
order by connections desc, raddr
limit 20
