-- Who closed first. As 'report': connections that were closed in the window, not those that only waited in TIME_WAIT.
select closed_first, count(*) as connections
from connections
where outcome = 'closed' and began <> 'closed_before'
group by closed_first
order by connections desc, closed_first
