"""Every route is in the tables that say who may call it and how it is recorded."""

from __future__ import annotations

import re

from tether_core.people.roles import PERMISSIONS, TABLE
from tether_stores.settings import Settings
from tether_web.app import application
from tether_web.http.permissions import READS, SINGLE, needed

from tests.support.audit_cases import CASES, UNRECORDED


def _routes() -> set[tuple[str, str]]:
    app = application(Settings.from_env({}))
    return {
        (method, route.path)
        for route in app.routes
        for method in getattr(route, "methods", ())
        if method != "OPTIONS"
    }


def _named(path: str) -> str:
    """A path with its parameters by name alone, as the permissions have it."""
    return re.sub(r"\{(\w+):\w+\}", r"{\1}", path)


def test_every_route_that_changes_something_has_a_case_of_the_audit() -> None:
    """An action without a row has no author: nobody could say who ordered it.

    A new route calls `tether_stores.audit.record` in the transaction of its action, and gets a case in
    `tests/support/audit_cases.py`, with which `tests/web/test_audit.py` calls it and looks for the row.
    """
    assert {
        f"{method} {path}" for method, path in _routes() if method not in READS
    } == CASES.keys() | UNRECORDED.keys()
    assert not CASES.keys() & UNRECORDED.keys()


def test_every_route_of_the_api_needs_one_permission() -> None:
    """A route without one is closed for all; list it in `tether_web.http.permissions`."""
    api = {(method, _named(path)) for method, path in _routes() if path.startswith("/api/")}
    schema = {(method, path) for method, path in api if path.startswith("/api/schema")}
    assert [route for route in api - schema if needed(*route) is None] == []
    assert SINGLE.keys() <= {f"{method} {path}" for method, path in api}


def test_each_permission_is_used_and_each_role_has_more_than_the_one_before() -> None:
    """A permission that no route needs, or a role that may do less than a lower one, is a mistake in the table."""
    api = {(method, _named(path)) for method, path in _routes() if path.startswith("/api/")}
    unused = set(PERMISSIONS) - {needed(*route) for route in api}
    assert unused <= {"queues"}
    viewer, operator, admin = (TABLE[role] for role in ("viewer", "operator", "admin"))
    assert viewer < operator < admin == set(PERMISSIONS)
