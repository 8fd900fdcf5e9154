from datetime import timedelta

import pytest
from tether_core.clock_steps import TOLERANCE_S, WINDOW_S, ClockStep, ClockWatch, Sample, observe

from tests.support.clock import NOON


def _watched(*samples: tuple[float, float, float | None]) -> tuple[ClockWatch, list[tuple[ClockStep, ...]]]:
    """Samples as seconds of the boot clock, of the machine's and of Postgres's clock."""
    watch, noticed = ClockWatch(), list[tuple[ClockStep, ...]]()
    for boot_s, machine_s, postgres_s in samples:
        postgres_at = None if postgres_s is None else NOON + timedelta(seconds=postgres_s)
        watch, steps = observe(watch, Sample(boot_s, NOON + timedelta(seconds=machine_s), postgres_at))
        noticed.append(steps)
    return watch, noticed


@pytest.mark.parametrize("by_s", [1_200.0, -1_200.0, TOLERANCE_S + 0.5, -TOLERANCE_S - 0.5])
def test_a_step_of_either_clock_is_noticed_once(by_s: float) -> None:
    """Unnoticed, it ends waits that protect money; noticed for ever, nothing would ever be resolved."""
    watch, noticed = _watched(
        (0, 0, 0), (2, 2, 2 + by_s), (4, 4, 4 + by_s), (6, 6 + by_s, 6 + by_s), (8, 8 + by_s, 8 + by_s)
    )
    assert noticed == [(), (ClockStep("postgres", by_s),), (), (ClockStep("machine", by_s),), ()]
    assert watch.stepped_s == 6


def test_many_small_steps_are_a_step() -> None:
    """A clock moved by a second at a time would end a grace period as well as one moved at once."""
    _, noticed = _watched(*((n * 2.0, n * 2.0, n * 3.0) for n in range(10)))
    assert sum(map(len, noticed)) == 3


def test_what_time_servers_do_all_day_is_no_step() -> None:
    """An alert that comes every hour is read by nobody, and nothing would be resolved between two of them."""
    for rate in (500e-6, -500e-6):
        watch, _ = _watched(*((n * 2.0, n * 2.0, n * 2.0 * (1 + 2 * rate)) for n in range(20_000)))
        assert watch.stepped_s is None


def test_a_postgres_that_does_not_answer_hides_no_step() -> None:
    """A failover takes a minute, and brings another machine with its clock."""
    _, noticed = _watched((0, 0, 0), (20, 20, None), (40, 40, None), (60, 60, 65))
    assert noticed[-1] == (ClockStep("postgres", 5.0),)


def test_the_window_moves_on() -> None:
    """Compared with a sample of last week, a clock that is a millionth fast has stepped."""
    _, noticed = _watched(
        (0, 0, 0), (WINDOW_S, WINDOW_S + 1.5, WINDOW_S), (2 * WINDOW_S, 2 * WINDOW_S + 3.0, 2 * WINDOW_S)
    )
    assert noticed == [(), (), ()]
