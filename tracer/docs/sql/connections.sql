-- The balance: how connections came into the window, and how they left it.
select began, role, outcome, count(*) as connections
from connections
where began <> 'closed_before'
group by began, role, outcome
order by connections desc, began, role, outcome
