"""The shared limits: both spellings of the rules agree, and without Redis there is still a limit."""

from typing import Any

import pytest
import redis as sync_redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tether_core.errors import InvalidRequest
from tether_core.limits import circuit_breaker, rate_limit
from tether_core.limits import throttle as throttles
from tether_core.limits.circuit_breaker import Breaker, BreakerPolicy, Permit
from tether_core.limits.rate_limit import Limits
from tether_core.limits.throttle import Throttle
from tether_sandbox.services import Services
from tether_stores import limits as limits_store
from tether_stores.limits import Limiter, limit_status
from tether_stores.queries import read_lua
from tether_stores.redis import open_redis

NOWHERE = "redis://127.0.0.1:1/0"  # nothing listens there
PATIENT_S = 20.0  # for a reply: how long a busy machine takes says nothing about the limits
SHARED = rate_limit.limits({"billing": 50, "reconciliation": 20}, total_per_s=50)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

rates = st.floats(0.1, 500)
pauses = st.one_of(st.just(0.0), st.floats(1e-6, 0.2), st.floats(-1, 30))


@st.composite
def shares(draw: st.DrawFn) -> Limits:
    """The limits of an account with one to three shares."""
    names = ["billing", "reconciliation", "confirmation"][: draw(st.integers(1, 3))]
    return rate_limit.limits(
        {name: draw(rates) for name in names},
        total_per_s=draw(st.none() | rates),
        burst_s=draw(st.floats(0.01, 2)),
    )


@given(
    limits=shares(),
    steps=st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 60), pauses, st.none() | st.floats(0, 1_000)), max_size=40
    ),
)
@QUICK
def test_the_scripts_and_the_core_take_and_slow_down_alike(
    redis_url: str, limits: Limits, steps: list[tuple[int, int, float, float | None]]
) -> None:
    """If the two spellings differ, the cluster keeps another rate than the one that was proven, and nobody sees it."""
    with sync_redis.Redis.from_url(redis_url) as client:
        client.delete("bucket", "throttle")
        script = client.register_script(read_lua("take"))
        slower = client.register_script(read_lua("throttle"))
        now_s = 1_700_000_000.0
        bucket, throttle = rate_limit.empty(limits, now_s=now_s), Throttle()
        for place, wanted, pause, requested_s in [(0, 1, 0.0, None), *steps]:
            now_s += pause
            if requested_s is not None:
                throttle = throttles.lowered(throttle, requested_s=requested_s, now_s=now_s)
                arguments = limits_store._throttle_arguments(requested_s, now_s=now_s)
                part, ends_s = map(float, slower(keys=["throttle"], args=arguments))
                assert (part, now_s + ends_s) == pytest.approx((throttle.part, throttle.until_s), abs=1e-6)
            share = limits.shares[place % len(limits.shares)].name
            bucket, grant = rate_limit.take(
                bucket, share=share, wanted=wanted, now_s=now_s, shares=limits, throttle=throttle
            )
            arguments = limits_store._take_arguments(share=share, wanted=wanted, shares=limits, now_s=now_s)
            granted, wait_s, *_ = script(keys=["bucket", "throttle"], args=arguments)
            assert granted == grant.granted
            assert float(wait_s) == pytest.approx(grant.wait_s, abs=1e-6)
            at, pool, *levels = map(float, client.get("bucket").split())
            assert (at, pool) == pytest.approx((bucket.at_s, bucket.pool), abs=1e-9)
            assert levels == pytest.approx(
                [number for level in bucket.levels for number in (level.own, level.ceiling)], abs=1e-9
            )


@given(
    policy=st.builds(
        BreakerPolicy,
        window_s=st.floats(1, 60),
        calls_min=st.integers(1, 6),
        failure_share=st.floats(0.1, 1),
        open_s=st.floats(0.5, 20),
        open_max_s=st.floats(20, 100),
        probe_timeout_s=st.floats(1, 60),
        probes_to_close=st.integers(1, 3),
    ),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["ask", "o", "f", "u", "of", "fuf", "fff", "ofofo"]), st.integers(0, 5), pauses
        ),
        max_size=60,
    ),
)
@QUICK
def test_the_script_and_the_core_trust_alike(
    redis_url: str, policy: BreakerPolicy, steps: list[tuple[str, int, float]]
) -> None:
    """A breaker that opens at another time than the proven one either floods a gateway that fails or stops one that works."""
    with sync_redis.Redis.from_url(redis_url) as client:
        client.delete("breaker")
        script = client.register_script(read_lua("breaker"))
        now_s, breaker, permits = 1_700_000_000.0, Breaker(), [Permit(True, 0)]
        for word, which, pause in steps:
            now_s += pause
            if word == "ask":
                breaker, permit = circuit_breaker.admit(breaker, now_s=now_s, policy=policy)
                permits.append(permit)
                arguments = limits_store._breaker_arguments("ask", policy=policy, now_s=now_s)
                go, generation, wait_s, state = script(keys=["breaker"], args=arguments)
                assert (bool(go), generation, state.decode()) == (permit.go, permit.generation, breaker.state)
                assert float(wait_s) == permit.wait_s
                assert _stored(client) == breaker
                continue
            permit = permits[-1 - which % len(permits)]
            if not permit.go:
                continue
            for letter in word:
                failed = None if letter == "u" else letter == "f"
                breaker = circuit_breaker.report(breaker, permit, failed=failed, now_s=now_s, policy=policy)
            arguments = limits_store._breaker_arguments(
                word, generation=permit.generation, policy=policy, now_s=now_s
            )
            script(keys=["breaker"], args=arguments)
            assert _stored(client) == breaker


async def test_a_gateway_that_asks_for_fewer_requests_slows_all_nodes_down(redis_url: str) -> None:
    """A node that did not get the 429 itself would go on at the whole rate, and the gateway refuses everybody then."""
    async with (
        open_redis(redis_url, name="a", timeout_s=PATIENT_S) as client,
        open_redis(redis_url, name="b", timeout_s=PATIENT_S) as other,
    ):
        first, second = Limiter(client), Limiter(other)
        await first.slow_down("throttled", requested_s=60.0)
        for _ in range(20):  # calls that were under way say it again, and lower nothing further
            await second.slow_down("throttled", requested_s=0.0)
        grant = await second.take("throttled", share="billing", wanted=1, shares=SHARED)
        assert grant.granted == 0
        assert 50 < grant.wait_s <= 60
        (seen,) = await limit_status(client, ["throttled"])
        assert (seen.rate_part, 50 < seen.paused_for_s <= 60) == (0.0, True)
        assert (await second.take("another", share="billing", wanted=1, shares=SHARED)).wait_s < 1
        # A Redis that is emptied learns it anew from the first node that asks for calls.
        await client.delete("tether:throttle:throttled", "tether:bucket:throttled")
        assert (await second.take("throttled", share="billing", wanted=1, shares=SHARED)).granted == 0
        fresh = Limiter(client)
        assert (await fresh.take("throttled", share="billing", wanted=1, shares=SHARED)).wait_s > 50
        stored = await client.get("tether:throttle:throttled")
        assert stored is not None
        assert float(stored.split()[0]) == 0.5
        assert (
            0 < await client.pttl("tether:throttle:throttled") <= 661_000
        )  # and it is forgotten when it has recovered


async def test_without_redis_a_node_slows_down_by_itself(redis_url: str) -> None:
    """Redis may be away at an HTTP 429; the node must still lower its rate."""
    clock_s = [1_000.0]
    async with open_redis("redis://127.0.0.1:1/0", name="away", timeout_s=1) as away:
        node = Limiter(away, nodes_max=1, clock_s=lambda: clock_s[0])
        await node.slow_down("default", requested_s=30.0)
        clock_s[0] += 29
        assert (await node.take("default", share="billing", wanted=1, shares=SHARED)).wait_s == 1.0
        clock_s[0] += 2
        assert (await node.take("default", share="billing", wanted=1, shares=SHARED)).granted == 1
        clock_s[0] += 1_000
        await node.take("default", share="billing", wanted=1, shares=SHARED)
        clock_s[0] += 1
        assert (await node.take("default", share="billing", wanted=50, shares=SHARED)).granted > 1


async def test_two_nodes_share_one_rate(redis_url: str) -> None:
    """With a limit per node, every node added would raise the load on the gateway."""
    async with (
        open_redis(redis_url, name="a", timeout_s=PATIENT_S) as client,
        open_redis(redis_url, name="b", timeout_s=PATIENT_S) as other,
    ):
        nodes = Limiter(client), Limiter(other)
        began_s = _seconds(await client.time())
        granted = 0
        while granted < 20:
            for node in nodes:
                granted += (await node.take("default", share="billing", wanted=5, shares=SHARED)).granted
        passed_s = _seconds(await client.time()) - began_s
        # 50 a second, one burst of 6 at most: 20 calls take 0.28 s at least.
        assert passed_s >= (20 - 6 - 5) / 50
        result = await limit_status(client, ["default"])
    assert result[0].breaker == "closed"
    assert len(result[0].left) == 3


async def test_the_breaker_is_one_for_all_nodes(redis_url: str) -> None:
    """A node that learned nothing of the others' failures would go on calling a gateway that is down."""
    async with (
        open_redis(redis_url, name="a", timeout_s=PATIENT_S) as client,
        open_redis(redis_url, name="b", timeout_s=PATIENT_S) as other,
    ):
        failing, inquiry_deps = Limiter(client), Limiter(other)
        permit = await failing.admit("default")
        await failing.report("default", permit, failed=[True] * 20)
        refused = await inquiry_deps.admit("default")
        assert not refused.go
        assert 0 < refused.wait_s <= 10
        assert (await inquiry_deps.admit("elsewhere")).go  # another account's gateway is another matter
        result = await limit_status(other, ["default", "elsewhere"])
    assert [item.breaker for item in result] == ["open", "closed"]
    assert 0 < result[0].open_for_s <= 10


async def test_without_redis_a_node_keeps_to_a_small_share() -> None:
    """Were "Redis is gone" to mean "no limit", a restart of Redis would flood the gateway."""
    now_s = 100.0

    async with open_redis(NOWHERE, name="a") as client:
        limiter = Limiter(client, nodes_max=10, clock_s=lambda: now_s)
        granted = 0
        for _ in range(1_000):
            granted += (await limiter.take("default", share="billing", wanted=50, shares=SHARED)).granted
            now_s += 0.01
        assert limiter.alone
        # 50 a second divided by 10, for 10 seconds, and no more than one burst beyond.
        assert 45 <= granted <= 52


async def test_without_redis_the_breaker_works_for_the_node_alone() -> None:
    """A gateway that fails while Redis is away must be left alone as well."""
    now_s = 100.0
    async with open_redis(NOWHERE, name="a") as client:
        limiter = Limiter(client, clock_s=lambda: now_s)
        permit = await limiter.admit("default")
        await limiter.report("default", permit, failed=[True] * 20)
        assert not (await limiter.admit("default")).go
        now_s += 11
        assert (await limiter.admit("default")).go  # the probe
        assert not (await limiter.admit("default")).go  # and no second beside it
        assert (await limit_status(client, ["default"]))[0].breaker == "unknown"


async def test_redis_comes_back(services: Services, redis_url: str) -> None:
    """A node that stayed with its small share for ever would bill at a tenth of the speed until somebody restarts it."""
    assert services.redis is not None
    async with open_redis(redis_url, name="a", timeout_s=PATIENT_S) as client:
        now_s = 100.0
        limiter = Limiter(client, clock_s=lambda: now_s)
        alone: list[bool] = []
        for step in (services.redis.resume, services.redis.stop, services.redis.start):
            step()
            now_s += 5
            await limiter.take("default", share="billing", wanted=1, shares=SHARED)
            alone.append(limiter.alone)
    assert alone == [False, True, False]


async def test_a_flush_grants_nothing_extra(redis_url: str) -> None:
    """Repeated flushes of Redis must not raise the rate."""
    async with open_redis(redis_url, name="a", timeout_s=PATIENT_S) as client:
        limiter = Limiter(client)
        granted = 0
        for _ in range(20):
            await client.flushdb()
            granted += (await limiter.take("default", share="billing", wanted=50, shares=SHARED)).granted
        assert granted == 0


async def test_a_share_that_is_not_there_is_refused(redis_url: str) -> None:
    """A misspelt share must not become a call without a limit."""
    async with open_redis(redis_url, name="a", timeout_s=PATIENT_S) as client:
        with pytest.raises(InvalidRequest, match="no share called lending"):
            await Limiter(client).take("default", share="lending", wanted=1, shares=SHARED)


async def test_nothing_called_yet(redis_url: str) -> None:
    """The status of a fresh installation is asked for before anything was called."""
    async with open_redis(redis_url, name="a", timeout_s=PATIENT_S) as client:
        assert await limit_status(client, []) == []
        fresh = (await limit_status(client, ["default"]))[0]
    assert (fresh.breaker, fresh.left) == ("closed", ())


def _stored(client: sync_redis.Redis) -> Breaker:
    payload: Any = client.get("breaker")
    state, *numbers = payload.decode().split()
    fields: list[Any] = [state, *map(float, numbers)]
    return Breaker(*fields)


def _seconds(time: tuple[int, int]) -> float:
    return time[0] + time[1] / 1_000_000
