"""
Load in stages, for locust: signed notifications at a given rate, with thresholds as exit code.

`python -m benchmarks stages` runs this, on an environment of its own or against another installation by `--url`.

Each user sends one request a second, so users are requests per second. TETHER_BODIES holds one form body a line, TETHER_STAGES
pairs of seconds and the rate reached at their end; TETHER_P95_MS and TETHER_P99_MS are the thresholds, TETHER_REPORT a file for the
figures as JSON.
"""

import itertools
import json
import os
import random
import socket
from pathlib import Path
from typing import Any

import gevent
from geventhttpclient.connectionpool import ConnectionPool
from locust import FastHttpUser, LoadTestShape, constant_throughput, events, task

_BODIES = Path(os.environ["TETHER_BODIES"]).read_bytes().splitlines()
_STAGES = [tuple(map(int, stage.split(":"))) for stage in os.environ["TETHER_STAGES"].split()]
_bodies = itertools.cycle(_BODIES)


def _without_delay(_: Any, connection: Any) -> None:
    """Send small packets at once: the driver writes head and body apart, and would wait 40 ms for an ACK between them."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


ConnectionPool.after_connect = _without_delay  # type: ignore[assignment, method-assign]

# The rate held at the time (0 while ramping), and the answer times seen at each.
_now = {"rate": 0}
_phases: dict[int, list[float]] = {}


class Gateway(FastHttpUser):
    """One request a second."""

    wait_time = constant_throughput(1)
    connection_timeout = 10.0
    network_timeout = 10.0

    def on_start(self) -> None:
        """Spread the users over their second; locust starts a second's worth of them at once."""
        gevent.sleep(random.random())

    @task
    def notify(self) -> None:
        """Send the next notification; anything but 200 with an echo is a failure."""
        with self.client.post(
            "/api/webhooks/emp",
            data=next(_bodies).decode(),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            catch_response=True,
        ) as answer:
            if answer.status_code != 200 or "<notification_echo>" not in (answer.text or ""):
                answer.failure(f"status {answer.status_code}")
            _phases.setdefault(_now["rate"], []).append(answer.request_meta["response_time"])


class Stages(LoadTestShape):
    """Ramps and holds of TETHER_STAGES."""

    def tick(self) -> tuple[int, float] | None:
        """Users and spawn rate of this time; `None` at the end."""
        passed: float = self.get_run_time()  # type: ignore[no-untyped-call]
        began = 0
        rate_before = 0
        for seconds, rate in _STAGES:
            if passed < began + seconds:
                share = (passed - began) / seconds
                users = round(rate_before + (rate - rate_before) * share)
                _now["rate"] = rate if rate == rate_before else 0
                return max(users, 1), max(abs(rate - rate_before) / seconds * 2, 10.0)
            began += seconds
            rate_before = rate
        return None


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def judge(environment: Any, **_: Any) -> None:
    """Set the exit code by the thresholds, and write the figures."""
    total = environment.stats.total
    held = {
        str(rate): {
            "requests": len(times),
            "p50_ms": _quantile(times, 0.5),
            "p95_ms": _quantile(times, 0.95),
            "p99_ms": _quantile(times, 0.99),
            "max_ms": max(times),
        }
        for rate, times in sorted(_phases.items())
        if rate
    }
    figures = {"requests": total.num_requests, "failures": total.num_failures, "held": held}
    report = os.environ.get("TETHER_REPORT")
    if report:
        Path(report).write_text(json.dumps(figures), encoding="utf-8")
    p95_ms = float(os.environ.get("TETHER_P95_MS", "100"))
    p99_ms = float(os.environ.get("TETHER_P99_MS", "200"))
    slow = any(item["p95_ms"] > p95_ms or item["p99_ms"] > p99_ms for item in held.values())
    environment.process_exit_code = 1 if total.num_failures or slow or not total.num_requests else 0


def _quantile(times: list[float], quantile: float) -> float:
    ordered = sorted(times)
    return round(ordered[min(int(quantile * len(ordered)), len(ordered) - 1)], 2)
