from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tether_core import jobs
from tether_core.jobs import ALL, Job, Queue, job_key


def test_names_are_told_apart() -> None:
    """Two kinds of work under one name: one of them never runs."""
    assert len({job.name for job in ALL}) == len(ALL)


def test_all_holds_every_job_of_the_module() -> None:
    """A job left out of `ALL` would be rung for and answered by nobody."""
    assert {job for job in vars(jobs).values() if isinstance(job, Job)} == set(ALL)


@pytest.mark.parametrize("job", ALL, ids=lambda job: job.name)
def test_a_run_ends_itself_before_it_is_cancelled(job: Job) -> None:
    """A run cut off in the middle keeps its rows leased; a lane without numbers could not be rung."""
    assert job.queue in get_args(Queue)
    assert 0 < job.run_s < job.timeout_s
    assert job.lanes >= 1
    assert job.look_every_s > 0


@given(st.sampled_from(ALL), st.integers())
def test_lanes_wrap_around(job: Job, lane: int) -> None:
    """More keys than lanes would start more runs than the cluster may have."""
    keys = {job_key(job, lane=each) for each in range(job.lanes)}
    assert len(keys) == job.lanes
    assert job_key(job, lane=lane) in keys
    assert job_key(job, lane=lane) == job_key(job, lane=lane + job.lanes)
