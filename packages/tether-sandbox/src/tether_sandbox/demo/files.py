"""Files, the first part of the demo: spreadsheets of every kind are imported."""

from importlib import resources
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from tether_sandbox.demo.stage import Stage
from tether_sandbox.services.waiting import until

__all__ = ["EXAMPLES", "run", "upload_file"]

EXAMPLES = ("verein_de.csv", "list.xlsx", "list.xls", "list.xlsb", "list.ods", "broken_rows.csv")
_ENDED = {"completed", "failed", "needs_answer"}


def run(stage: Stage, *, console: Console) -> bool:
    """
    Upload the example files and print the results of their rows.

    Returns:
        Whether every row of every file is accounted for.
    """
    # Narrow enough for a terminal of 80 columns; details follow below the table.
    table = Table("file", title="Imported files: every row is accounted for", title_justify="left")
    for column in ("rows", "debtors", "excluded", "errors", "blank"):
        table.add_column(column, justify="right")
    balanced = True
    below = []
    for name in track(EXAMPLES, "reading spreadsheets", console=console, transient=True):
        content = resources.files("tether_sandbox").joinpath("examples", name).read_bytes()
        detail = upload_file(stage, name, content)
        row_counts = detail["upload"]["row_counts"]
        counts = [row_counts[column] for column in ("rows", "stored", "excluded", "refused", "skipped")]
        balanced &= detail["upload"]["state"] == "completed" and counts[0] == sum(counts[1:])
        table.add_row(name, *(str(count) for count in counts))
        below.append(f"{name}: {_layout(detail['plan'])}")
        # The examples share their debtors, so screening excludes rows of later files.
        below += [
            f"  excluded by screening ({rule}): {count}" for rule, count in row_counts["verdicts"].items()
        ]
        problem = f"  {_problem(stage, detail['upload']['id'])}"
        below += [problem] if problem.strip() and problem not in below else []
    console.print(table)
    for line in below:
        console.print(line, style="dim", highlight=False, markup=False)
    return balanced


def upload_file(stage: Stage, name: str, content: bytes) -> dict[str, Any]:
    """
    Upload a file and wait until it has been read.

    Returns:
        The response of `GET /api/uploads/{id}`.
    """
    answer = stage.api.post("/api/uploads", files={"file": (name, content)})
    answer.raise_for_status()
    upload_id = answer.json()["id"]

    def ended() -> dict[str, Any] | None:
        payload: dict[str, Any] = stage.api.get(f"/api/uploads/{upload_id}").json()
        return payload if payload["upload"]["state"] in _ENDED else None

    result = until(ended, what=f"the end of {name}", timeout_s=30)
    assert result is not None
    questions = [item["code"] for item in (result["plan"] or {}).get("questions", ())]
    if result["upload"]["state"] == "needs_answer" and result["repeats"]:
        # The examples share their debtors, so later files may repeat debits of earlier ones; exclude those.
        decided = {"screening": dict.fromkeys(questions, "exclude")}
        stage.api.post(f"/api/uploads/{upload_id}/answers", json=decided).raise_for_status()

        def resolved() -> dict[str, Any] | None:
            again: dict[str, Any] = stage.api.get(f"/api/uploads/{upload_id}").json()
            return again if again["upload"]["state"] == "completed" else None

        result = until(resolved, what=f"{name} to be completed", timeout_s=30)
        assert result is not None
    return result


def _layout(plan: dict[str, Any] | None) -> str:
    if plan is None:
        return "-"
    sheet = (
        f"sheet {plan['sheet']}"
        if plan.get("sheet")
        else f"{plan.get('encoding')}, {plan.get('delimiter')!r}"
    )
    return f"{plan['kind']}, {sheet}, header in row {plan['header_row']}"


def _problem(stage: Stage, upload_id: int) -> str:
    items = stage.api.get(f"/api/uploads/{upload_id}/problems", params={"limit": 1}).json()["items"]
    return f"row {items[0]['row']}: {items[0]['note']}" if items else ""
