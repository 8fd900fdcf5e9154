"""The services of tests, demos and benchmarks: real, lasting through faults, and gone afterwards."""

from typing import TYPE_CHECKING

import psycopg
import redis

if TYPE_CHECKING:
    from tether_sandbox.services import Services


def test_services_answer(services: "Services", redis_url: str, empty_database_url: str) -> None:
    """Everything else rests on these two; without them no test of a store, web or worker can run."""
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("show fsync").fetchone() == ("on",)
        assert connection.execute("show synchronous_commit").fetchone() == ("on",)
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        if services.redis:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
