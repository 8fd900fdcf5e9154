"""Every job of the core is done by a function that the worker registers."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import tether_worker
from tether_core import jobs
from tether_core.jobs import Job

WORKER: Final = Path(str(tether_worker.__path__[0]))


def _done_by() -> dict[str, str]:
    """The constants of jobs that a `Work` is made of, and the function that makes it."""
    found = dict[str, str]()
    for path in WORKER.rglob("*.py"):
        for function in ast.parse(path.read_text()).body:
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Work":
                    named = {node.id for node in ast.walk(call.args[0]) if isinstance(node, ast.Name)}
                    found |= {name: function.name for name in named if name.isupper()}
    return found


def test_every_job_is_registered() -> None:
    """A job that no worker runs is woken for ever, and its rows wait."""
    constants = {name for name, value in vars(jobs).items() if isinstance(value, Job)}
    done_by = _done_by()
    assert done_by.keys() == constants
    app = ast.parse((WORKER / "app.py").read_text())
    called = {
        node.func.id if isinstance(node.func, ast.Name) else node.func.attr
        for node in ast.walk(app)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute)
    }
    assert [job for job, function in done_by.items() if function not in called] == []
