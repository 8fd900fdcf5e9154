"""Traces: nothing is imported while they are off, and who switches them on without the packages is told so."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tether_core.errors import InvalidRequest
from tether_stores.traces import spans


def test_no_exporter_is_imported_while_traces_are_off() -> None:
    """Who does not use traces pays nothing for them: no import, no thread, no memory; redis-py imports the metrics of the SDK by itself."""
    program = (
        "import sys, tether_web.app, tether_worker.__main__\n"
        "from tether_stores.traces import spans\n"
        "with spans.span('request', kind='server', parent='00-1') as current:\n"
        "    current.fact(status=200)\n"
        "    current.fail('x')\n"
        "assert spans.traceparent() == spans.trace_id() == ''\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.exporter', 'opentelemetry.sdk.trace', 'google.'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    with spans.span("a") as first, spans.span("b") as second:
        assert first is second


def test_the_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ImportError at start would say which file failed, and not what to install."""
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(InvalidRequest, match=r"tether-stores\[traces\]") as caught:
        spans.configure("otlp", program="tether-web")
    assert caught.value.field == "TETHER_TRACES"
    assert not spans.is_on()
