"""Write docs/reference/settings.md from the settings themselves: `uv run python tools/make_settings_doc.py`."""

from pathlib import Path

from tether_stores.settings import described

__all__ = ["PAGE", "text"]

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "settings.md"


def text() -> str:
    """The page."""
    lines = [
        "# Settings",
        "",
        "Everything comes from the environment, is read once when a program starts, and is checked then: a value that cannot be",
        "read is named, never shown, and the program does not start. Empty values count as not set. This page is made from",
        "`tether_stores.settings` by `tools/make_settings_doc.py`.",
        "",
    ]
    for one in described():
        default = (
            "never shown" if one.secret and one.default else f"`{one.default}`" if one.default else "not set"
        )
        lines += [
            f"## {one.env}",
            "",
            one.text,
            "",
            f"Default: {default}.{' Secret.' if one.secret else ''}",
            "",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
    print(f"wrote {PAGE.name}")
