"""
The trace context of a request, as the W3C recommendation "Trace Context" writes it.

A caller sends it in the header `traceparent`; the rows that a request makes keep it, so that the jobs which work on them continue the same
trace. It holds two random ids and nothing about anybody.

>>> parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
TraceParent(trace_id=100985939111033328018442752961257817910, span_id=67667974448284343, is_sampled=True)
>>> str(parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"))
'00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
>>> parse("00-00000000000000000000000000000000-00f067aa0ba902b7-01") is None, parse("Ada Lovelace") is None
(True, True)

Source: https://www.w3.org/TR/trace-context/, 3.2 (traceparent header).
"""

import re
from typing import Final, Literal, TypeAlias

import msgspec

__all__ = ["SUBJECTS", "TraceParent", "Traced", "parse"]

# Rows that keep the trace of the request that made them.
Traced: TypeAlias = Literal["notification", "upload", "billing_run", "refund"]
SUBJECTS: Final[tuple[Traced, ...]] = ("notification", "upload", "billing_run", "refund")

# A later version may append fields; version ff is forbidden.
_HEADER: Final = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.{0,200})?")


class TraceParent(msgspec.Struct, frozen=True):
    """
    The span of a caller.

    Attributes:
        trace_id: 128 bits, never 0.
        span_id: 64 bits, never 0.
        is_sampled: Whether the caller records the trace.
    """

    trace_id: int
    span_id: int
    is_sampled: bool

    def __str__(self) -> str:
        """The header, version 00."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.is_sampled:02x}"


def parse(header: str) -> TraceParent | None:
    """Read a header `traceparent`; `None` where it is none, which begins a new trace."""
    match = _HEADER.fullmatch(header)
    if match is None or (match[1] == "00" and match[5]):
        return None
    trace_id, span_id = int(match[2], 16), int(match[3], 16)
    if not trace_id or not span_id:
        return None
    return TraceParent(trace_id, span_id, bool(int(match[4], 16) & 1))
