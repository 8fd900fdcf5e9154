"""Write deploy/.env.example from the settings themselves: `uv run python tools/make_env_example_doc.py`."""

import inspect
import re
import textwrap
from pathlib import Path

from tether_stores.settings import Settings, described

__all__ = ["PAGE", "text"]

PAGE = Path(__file__).parent.parent / "deploy" / ".env.example"
_WIDTH = 100


def text() -> str:
    """The file: every setting with what it is for, as comments; what is not set keeps its default."""
    groups = _groups()
    lines = [
        "# Settings of Tether, for copying: remove the # in front of what you set. Made from tether_stores.settings.",
        "# Secrets are better kept in files: NAME_FILE=/run/secrets/name in place of NAME.",
    ]
    group = ""
    for setting in described():
        if groups[setting.field] != group:
            group = groups[setting.field]
            lines += ["", f"# ===== {group} ====="]
        about = f"{setting.text}{' Secret.' if setting.secret else ''}"
        lines += ["", *(f"# {line}" for line in textwrap.wrap(about, _WIDTH, break_long_words=False))]
        lines.append(f"#{setting.env}={'' if setting.secret else setting.default}")
    return "\n".join([*lines, ""])


def _groups() -> dict[str, str]:
    """By field, the heading above it in the source."""
    found, group = {}, ""
    for line in inspect.getsource(Settings).splitlines():
        if heading := re.fullmatch(r"\s+# --- (.+) ---", line):
            group = heading[1]
        elif field := re.match(r"    (\w+): Annotated\[", line):
            found[field[1]] = group
    return found


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
    print(f"wrote {PAGE.name}")
