import msgspec
import pytest
from tether_core.billing.run_options import RunOptions
from tether_core.errors import InvalidRequest


@pytest.mark.parametrize(
    "options",
    [
        {"due_item": "März"},
        {"canary_share": 1.5},
        {"canary_share": -0.1},
        {"remote_ip": "localhost"},
    ],
)
def test_impossible_options_are_refused(options: dict[str, object]) -> None:
    """Options that mean nothing must not begin a run."""
    with pytest.raises(InvalidRequest):
        RunOptions(**options)  # type: ignore[arg-type]


def test_options_survive_storage() -> None:
    """A run is submitted by other processes than the one that took its options."""
    options = RunOptions(
        due_item="2026-03", count_max=5, canary_share=0.2, remote_ip="192.0.2.1", vop_score_min=60
    )
    assert msgspec.json.decode(msgspec.json.encode(options), type=RunOptions) == options
