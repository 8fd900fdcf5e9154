-- billing_run_counts: the gateway's responses to each run.
--
-- The transaction that records a response adds it here, so that attempts need not be counted. A claim locks the deciding counts in
-- share mode until it is committed, and additions wait for that. So once the refusal that reaches a threshold is committed, every
-- later claim sees it.
--
-- The counts of small runs of an account (`small`) are read without a lock: a claim that overlaps with the recording of a refusal may miss it,
-- and the next claim sees it. first_answered_at is set once, with the first answer; it stays null where an older version counted that answer.
--
-- A transaction that adds has locked the attempts already, and locks rows here in the order of their runs. Claims never wait for
-- attempts.

-- {count_columns} --
-- The counts of a run.
c.run_id, c.answered, c.refused, c.canaries_answered, c.canaries_refused, c.refused_at, c.released_answered,
c.released_refused, c.released_at, c.released_by, c.released_reason, c.small_runs_accepted

-- add --
-- Count the responses that n attempts are about to record, in the transaction that locks them and before it writes them. Arrays
-- of length n. An attempt is answered once, when it reaches a stage at the gateway. Excluded attempts were never submitted.
insert into billing_run_counts as counts (
    run_id, answered, refused, canaries_answered, canaries_refused, refused_at, first_answered_at
)
select
    moved.run_id, sum(moved.answered), sum(moved.refused),
    coalesce(sum(moved.answered) filter (where moved.canary), 0),
    coalesce(sum(moved.refused) filter (where moved.canary), 0),
    case when sum(moved.refused) > 0 then %(now)s::timestamptz end,
    case when sum(moved.answered) > 0 then %(now)s::timestamptz end
from (
    select
        a.run_id, a.canary,
        (a.payment_stage < 20 and given.payment_stage >= 20)::integer as answered,
        (given.payment_stage in (40, 50))::integer - (a.payment_stage in (40, 50))::integer as refused
    from unnest(%(ids)s::bigint[], %(payment_stages)s::smallint[]) as given (id, payment_stage)
    join billing_attempts a on a.id = given.id
    where a.run_id is not null and a.not_submitted_reason is null
) moved
where moved.answered <> 0 or moved.refused <> 0
group by moved.run_id
order by moved.run_id
on conflict (run_id) do update
set
    answered = counts.answered + excluded.answered,
    refused = counts.refused + excluded.refused,
    canaries_answered = counts.canaries_answered + excluded.canaries_answered,
    canaries_refused = counts.canaries_refused + excluded.canaries_refused,
    refused_at = coalesce(excluded.refused_at, counts.refused_at),
    first_answered_at = case when counts.answered = 0 then excluded.first_answered_at else counts.first_answered_at end;

-- begin --
-- Insert the row of a run that has none, so that it can be locked.
insert into billing_run_counts (run_id) values (%(run_id)s) on conflict do nothing;

-- share --
-- The counts of a run, and of the other runs of its upload with refusals since %(since)s, locked in share mode until this
-- transaction ends. Ordered by run_id.
select {count_columns}
from billing_runs r
join billing_run_counts c on c.run_id = r.id
where r.upload_id = %(upload_id)s and (r.id = %(run_id)s or c.refused_at > %(since)s)
order by c.run_id
for share of c;

-- of_upload --
-- The counts of all runs of an upload, ordered by run_id.
select {count_columns}
from billing_runs r
join billing_run_counts c on c.run_id = r.id
where r.upload_id = %(upload_id)s
order by c.run_id;

-- small --
-- The counts of small runs of an account: among the last %(runs_max)s runs, of all accounts, that were first answered after %(since)s, those of
-- the account with an id below %(before_id)s and 1 to %(answered_max)s answers that no person has released, as `RunCounts.since_release` counts
-- them. By their first answer, the newest first, up to %(limit)s rows.
select {count_columns}
from (
    select *
    from billing_run_counts
    where first_answered_at > %(since)s
    order by first_answered_at desc
    limit %(runs_max)s
) c
join billing_runs r on r.id = c.run_id
where
    r.account = %(account)s and r.id < %(before_id)s
    and greatest(c.answered - c.released_answered, c.refused - c.released_refused) between 1 and %(answered_max)s
order by c.first_answered_at desc, c.run_id desc
limit %(limit)s;

-- release --
-- Record that a person has released the runs of an upload; those that are not over are no longer judged by small runs. Returns the counts of
-- the runs that had refusals since they were last released, ordered by run_id. One statement locks the rows in the order of their runs, as the
-- transactions that add do.
with held as (
    select c.run_id, c.refused > c.released_refused as is_refused, r.finished_at is null as is_open
    from billing_runs r
    join billing_run_counts c on c.run_id = r.id
    where r.upload_id = %(upload_id)s and (c.refused > c.released_refused or r.finished_at is null)
    order by c.run_id
    for update of c
), released as (
    update billing_run_counts c
    set
        small_runs_accepted = c.small_runs_accepted or held.is_open,
        released_answered = case when held.is_refused then c.answered else c.released_answered end,
        released_refused = case when held.is_refused then c.refused else c.released_refused end,
        released_at = case when held.is_refused then %(now)s else c.released_at end,
        released_by = case when held.is_refused then %(by)s else c.released_by end,
        released_reason = case when held.is_refused then %(reason)s else c.released_reason end
    from held
    where c.run_id = held.run_id
    returning {count_columns}, held.is_refused
)
select {count_columns}
from released c
where c.is_refused
order by c.run_id;
