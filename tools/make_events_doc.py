"""Write docs/guides/events.md, its tables from `tether_core.events`: `uv run python tools/make_events_doc.py`."""

import inspect
import re
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from tether_core.events import Event
from tether_web.events import feed

__all__ = ["PAGE", "text"]

PAGE = Path(__file__).parent.parent / "docs" / "guides" / "events.md"

_HEAD = """\
# Follow events

Every change of a debit, a refund or the blacklist is written as an event in the same transaction (table `outbox`), and `GET
/api/events` sends it within about a second, as [server-sent
events](https://html.spec.whatwg.org/multipage/server-sent-events.html).
No event holds a whole IBAN, a name or a secret. The tables of this page are made from `tether_core.events` by
`tools/make_events_doc.py`.

```sh
curl -N -H "Authorization: Bearer $TETHER_API_KEY" "$TETHER_URL/api/events?after=0"
curl -N -H "Authorization: Bearer $TETHER_API_KEY" -H "Last-Event-ID: 42" "$TETHER_URL/api/events?type=attempt.status_changed&type=refund.status_changed"
```

```text
id: 43
event: attempt.status_changed
data: {"id":43,"occurred_at":"2026-03-02T12:00:00Z","webhook_event_id":17,"fact":{"event":"attempt.status_changed.1","attempt_id":7,...}}
```

[examples/follow_events.py](../../examples/follow_events.py) is a complete program that continues where it stopped.

## What you can rely on

- **In order and complete.** Events come in the order of their ids, each only after all transactions with smaller ids have
  committed or rolled back ([decision](../decisions/0011-events-in-order-of-ids.md)). Not every number is used: a gap is no loss.
- **At least once.** Store the last `id` with the result of your processing, in one transaction if you can, and reconnect with it
  in `Last-Event-ID` or `after`; the header has precedence. A repeated event has the same `id`.
- **From any position.** `after=0` sends all events. Without a position you get new events, and perhaps some of the last second.
- **Types by name.** `type` may be repeated. A new version of an event (`attempt.status_changed.2`) has the same name; check
  `fact.event`. Ignore unknown fields and types.
- **Changes only.** Creating a debit is no event, nor is the [import](switching.md) of a debit; an imported debit may begin in any
  state, and its first `attempt.status_changed` leaves that state.

A stream ends after half an hour, and when its node stops; reconnect after the two seconds that `retry` names. While nothing
happens, or Postgres is down, it sends a comment (a line with a colon) every 15 seconds. 503 with Retry-After means that Postgres
is down, or the node has its maximum of followers (200 per process). An id that was never used is answered 422; after a restore
from a backup a follower may be ahead, and a person should decide where it starts again.

## Event types

`id`, `occurred_at`, `webhook_event_id` and `fact` are the same for all:

"""


def text() -> str:
    """The page."""
    lines = [*_HEAD.splitlines(), *_table(feed.Announced), ""]
    for kind in get_args(Event):
        tag = str(kind.__struct_config__.tag)
        name, _, version = tag.rpartition(".")
        prose = inspect.getdoc(kind) or ""
        lines += [f"### {name}", "", f"{prose.splitlines()[0]} Version {version}.", "", *_table(kind), ""]
    return "\n".join(lines)


def _table(kind: type[Any]) -> list[str]:
    explained = dict(
        re.findall(
            r"^    (\w+): (.+?)$(?=\n    \w+:|\n*\Z)", inspect.getdoc(kind) or "", re.MULTILINE | re.DOTALL
        )
    )
    hints = get_type_hints(kind)
    rows = [f"| `{name}` | {_type(hint)} | {explained[name]} |" for name, hint in hints.items()]
    return ["| field | type | meaning |", "|---|---|---|", *rows]


def _type(hint: Any) -> str:
    words = {
        "int": "whole number",
        "str": "text",
        "datetime": "timestamp",
        "NoneType": "null",
        "Raw": "object",
    }
    if get_origin(hint) is tuple:
        return f"array of {words[get_args(hint)[0].__name__]}"
    return " or ".join(words[item.__name__] for item in get_args(hint) or (hint,))


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
    print(f"wrote {PAGE.name}")
