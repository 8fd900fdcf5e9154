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
        "A secret may come from a file: `EMP_API_PASSWORD_FILE=/run/secrets/emp_api_password` in place of `EMP_API_PASSWORD`, and so",
        "on for every setting marked as a secret. Blanks and line ends around the content are dropped.",
        "",
    ]
    for setting in described():
        default = (
            "never shown"
            if setting.secret and setting.default
            else f"`{setting.default}`"
            if setting.default
            else "not set"
        )
        lines += [
            f"## {setting.env}",
            "",
            setting.text,
            "",
            f"Default: {default}.{' Secret.' if setting.secret else ''}",
            "",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
    print(f"wrote {PAGE.name}")
