-- withdrawals: uploads that are taken back before anything of them was submitted.
--
-- A withdrawal holds the upload's row first, then the rows of its runs. An order holds the upload, too, a planner its run, and
-- a worker that claims debits shares the run: so each of them is committed before the withdrawal looks, or comes after it and finds the
-- upload withdrawn or the run cancelled. A worker that reads the file has lost its lease then, and its chunk is rolled back.
--
-- Rows of debtors stay as they are. A query for other rows of an account skips those of withdrawn uploads.

-- hold --
-- An upload, held until this transaction ends. 0 or 1 row: state, dry_run.
select state, dry_run from uploads where id = %(upload_id)s for update;

-- runs --
-- Its runs, held. Returns their ids, in order.
select id from billing_runs where upload_id = %(upload_id)s order by id for update;

-- submissions --
-- How many of its debits were submitted, or may have been; beyond %(limit)s they are not counted. One row: attempts that a call was
-- made for or that the gateway has named, attempts whose outcome is being inquired or that are being submitted.
with found as (
    select a.state = 'unknown' or a.leased_until is not null as is_uncertain
    from billing_attempts a
    join billing_runs r on r.id = a.run_id
    where
        r.upload_id = %(upload_id)s
        and (
            a.submission_count > a.submissions_uncounted or a.leased_until is not null or a.unique_id is not null
            or a.dispute_stage > 0 or (a.payment_stage > 0 and a.not_submitted_reason is null)
        )
    limit %(limit)s
)
select count(*) filter (where not is_uncertain), count(*) filter (where is_uncertain) from found;

-- withdraw --
-- Write that an upload is withdrawn. Its lease ends, and its content can be handed in again.
update uploads
set
    state = %(state)s, withdrawn_at = %(now)s, withdrawn_by = %(withdrawn_by)s, withdrawn_reason = %(reason)s,
    lease = null, due_at = null, claims = 0, content_key = null, finished_at = coalesce(finished_at, %(now)s),
    updated_at = %(now)s
where id = %(upload_id)s;

-- forget_rows --
-- Forget the rows of a dry run.
delete from dry_run_rows where upload_id = %(upload_id)s;

-- forget_checks --
-- Forget checks of its debtors that were not made yet: a service may charge for each.
delete from vop_checks c
using debtors d
where d.upload_id = %(upload_id)s and c.debtor_id = d.id and c.state = 'waiting';

-- by_id --
-- Who withdrew an upload. 0 or 1 row: withdrawn_at, withdrawn_by, withdrawn_reason.
select withdrawn_at as at, withdrawn_by as by, withdrawn_reason as reason
from uploads
where id = %(upload_id)s and withdrawn_at is not null;
