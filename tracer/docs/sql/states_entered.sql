-- How often each state was entered. As 'report': states.*.entered.
select new_state as state, count(*) as entered
from transitions
group by new_state
order by entered desc, state
