"""What log lines say: the names of their fields."""

import ast
from pathlib import Path

from tether_core.redaction import is_personal

ROOT = Path(__file__).parents[2]
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def test_no_field_of_a_log_line_is_masked_by_its_name() -> None:
    """A field that is personal by its name is written as stars: a run's `state` became useless."""
    masked = [
        f"{path.relative_to(ROOT)}:{call.lineno}: {word.arg} is masked in log lines; give it another name"
        for path in sorted(ROOT.glob("packages/*/src/**/*.py"))
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr in LEVELS
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id in {"_log", "log", "_sampled"}
        for word in call.keywords
        if word.arg is not None and is_personal(word.arg)
    ]
    assert not masked, "\n".join(masked)
