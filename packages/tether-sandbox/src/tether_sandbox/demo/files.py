"""The first act: a spreadsheet of each kind becomes debtors, or says what is wrong with which row."""

from importlib import resources
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from tether_sandbox.demo.stage import Stage
from tether_sandbox.services.waiting import until

__all__ = ["EXAMPLES", "act", "handed_in"]

EXAMPLES = ("verein_de.csv", "list.xlsx", "list.xls", "list.xlsb", "list.ods", "broken_rows.csv")
_ENDED = {"completed", "failed", "needs_answer"}


def act(stage: Stage, *, console: Console) -> bool:
    """
    Hand the example files in and show what became of them.

    Args:
        stage: Where.
        console: Likewise.

    Returns:
        Whether every row of every file is accounted for.
    """
    # Narrow enough for a terminal of 80 columns; what does not fit into cells follows below.
    table = Table("file", title="Files", title_justify="left")
    for column in ("rows", "debtors", "excluded", "refused", "skipped"):
        table.add_column(column, justify="right")
    balanced = True
    below = []
    for name in track(EXAMPLES, "reading spreadsheets", console=console, transient=True):
        content = resources.files("tether_sandbox").joinpath("examples", name).read_bytes()
        detail = handed_in(stage, name, content)
        row_counts = detail["upload"]["row_counts"]
        counts = [row_counts[column] for column in ("rows", "stored", "excluded", "refused", "skipped")]
        balanced &= detail["upload"]["state"] == "completed" and counts[0] == sum(counts[1:])
        table.add_row(name, *(str(count) for count in counts))
        below.append(f"{name} was read as {_understood(detail['plan'])}")
        # The examples share their debtors, so later files show what screening says of debtors we have.
        below += [f"  excluded, {count} x: {rule}" for rule, count in row_counts["verdicts"].items()]
        problem = f"  {_problem(stage, detail['upload']['id'])}"
        below += [problem] if problem.strip() and problem not in below else []
    console.print(table)
    for line in below:
        console.print(line, style="dim", highlight=False, markup=False)
    return balanced


def handed_in(stage: Stage, name: str, content: bytes) -> dict[str, Any]:
    """
    Hand a file in and wait until it was read.

    Args:
        stage: Where.
        name: What we call it.
        content: Its bytes.

    Returns:
        What `GET /api/uploads/{id}` says then.
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
        # The examples share their debtors, so later files may hold debits of earlier ones; nobody shall pay twice.
        decided = {"screening": dict.fromkeys(questions, "exclude")}
        stage.api.post(f"/api/uploads/{upload_id}/answers", json=decided).raise_for_status()

        def resolved() -> dict[str, Any] | None:
            again: dict[str, Any] = stage.api.get(f"/api/uploads/{upload_id}").json()
            return again if again["upload"]["state"] == "completed" else None

        result = until(resolved, what=f"{name} to be settled", timeout_s=30)
        assert result is not None
    return result


def _understood(plan: dict[str, Any] | None) -> str:
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
