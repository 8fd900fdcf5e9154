"""Write docs/guides/events.md, its tables from `tether_core.events`: `uv run python tools/make_events_doc.py`."""

import inspect
import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

from tether_core.events import Event
from tether_web.events import feed

__all__ = ["PAGE", "text"]

PAGE = Path(__file__).parent.parent / "docs" / "guides" / "events.md"

_HEAD = """\
# Follow what happens

Every change of a debit, a refund or the blacklist is announced in the transaction that makes it (table `outbox`), and
`GET /api/events` hands it on within about a second, as [server-sent events](https://html.spec.whatwg.org/multipage/server-sent-events.html).
No event holds a whole IBAN, a name or a secret. The tables of this page are made from `tether_core.events` by `tools/make_events_doc.py`.

```sh
curl -N -H "Authorization: Bearer $KEY" "$TETHER/api/events?after=0"
curl -N -H "Authorization: Bearer $KEY" -H "Last-Event-ID: 42" "$TETHER/api/events?type=attempt.status_changed&type=refund.status_changed"
```

```text
id: 43
event: attempt.status_changed
data: {"id":43,"occurred_at":"2026-03-02T12:00:00Z","webhook_event_id":17,"fact":{"event":"attempt.status_changed.1","attempt_id":7,...}}
```

[examples/follow_events.py](../../examples/follow_events.py) is a program that does it, and goes on where it left off.

## What you can rely on

- **In order, none excluded.** Events come in the order of their ids, and each only after all with smaller ids have been committed or
  given up ([decision](../decisions/0011-events-in-order-of-ids.md)). Not every number is given: a gap is no loss.
- **At least once.** Keep the last `id` beside what you made of it, in one transaction if you can, and come again with it in `Last-Event-ID`
  or `after`; the header goes first. What you are sent twice has the same `id`.
- **From where you say.** `after=0` sends everything there is. Without a position you get what is announced from now on, and perhaps some
  events of the last second.
- **Types by name.** `type` may be repeated. A new version of an event (`attempt.status_changed.2`) comes under the same name; look at `fact.event`.
  Pass over fields and types that you do not know.
- **From where it begins.** Making a debit is no event, nor is [importing](switching.md) one of another system; such a one may begin in
  any state, and its first `attempt.status_changed` leaves that.

A stream ends after half an hour, and when its node is to end; come again, after the two seconds that `retry` names. It says nothing but a
comment (a line with a colon) every 15 seconds while nothing happens, and while Postgres is away. One that cannot be opened is answered 503
with Retry-After: Postgres is away, or the node has as many followers as it takes (200 a process). An id that was never given is answered 422;
after a restore from a backup a follower may be ahead, and a person should say where it begins again.

## What comes

`id`, `occurred_at`, `webhook_event_id` and `fact` are the same for all:

"""


def text() -> str:
    """The page."""
    lines = [*_HEAD.splitlines(), *_table(feed.Announced), ""]
    for kind in get_args(Event):
        tag = str(kind.__struct_config__.tag)
        name, _, version = tag.rpartition(".")
        said = inspect.getdoc(kind) or ""
        lines += [f"### {name}", "", f"{said.splitlines()[0]} Version {version}.", "", *_table(kind), ""]
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
    return " or ".join(words[item.__name__] for item in get_args(hint) or (hint,))


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
    print(f"wrote {PAGE.name}")
