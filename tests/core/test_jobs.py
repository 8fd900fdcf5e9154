from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core import jobs
from tether_core.jobs import ALL, Job, Queue, job_key


def test_names_are_distinct() -> None:
    """Two kinds of work under one name: one of them never runs."""
    assert len({job.name for job in ALL}) == len(ALL)


def test_all_holds_every_job_of_the_module() -> None:
    """A job that `ALL` lacks would be woken and run by nobody."""
    assert {job for job in vars(jobs).values() if isinstance(job, Job)} == set(ALL)


@pytest.mark.parametrize("job", ALL, ids=lambda job: job.name)
def test_a_run_ends_itself_before_it_is_cancelled(job: Job) -> None:
    """A run cut off in the middle keeps its rows leased; a slot without numbers could not be woken."""
    assert job.queue in get_args(Queue)
    assert 0 < job.run_s < job.timeout_s
    assert job.slots >= 1
    assert job.look_every_s > 0


@given(st.sampled_from(ALL), st.integers())
def test_slots_wrap_around(job: Job, slot: int) -> None:
    """More keys than slots would start more runs than the cluster may have."""
    keys = {job_key(job, slot=each) for each in range(job.slots)}
    assert len(keys) == job.slots
    assert job_key(job, slot=slot) in keys
    assert job_key(job, slot=slot) == job_key(job, slot=slot + job.slots)
