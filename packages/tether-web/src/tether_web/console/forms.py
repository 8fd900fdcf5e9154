"""
Forms: what a person typed, read strictly, and kept for the page that says what is wrong with it.

A form that is refused is shown again with its values, and each error beside its field.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from litestar import Request
from litestar.datastructures import UploadFile
from litestar.exceptions import HTTPException
from tether_core import money
from tether_core.errors import InvalidAmount

from tether_web.console.api import Failed

__all__ = ["fields", "fields_and_file", "minor", "names", "of_file", "pairs", "reason", "refused", "whole"]

# Where the scope of a request keeps what was typed; the scope is of one request alone.
_TYPED: Final = "tether.typed"
# A whole account number is on no page.
_NOT_KEPT: Final = frozenset({"iban"})
# A longer value is not written into the page again.
_KEPT_MAX: Final = 2_000


async def pairs(request: Request[Any, Any, Any]) -> list[tuple[str, str]]:
    """The fields of a form without blanks around their values; a field of several choices comes once for each."""
    form = await request.form()
    found = [(name, value.strip()) for name, value in form.multi_items() if isinstance(value, str)]
    typed = {name: value for name, value in found if name not in _NOT_KEPT and len(value) <= _KEPT_MAX}
    request.scope[_TYPED] = typed  # type: ignore[typeddict-unknown-key] # a key of our own
    return found


async def fields(request: Request[Any, Any, Any]) -> dict[str, str]:
    """The fields of a form by name, without blanks around their values."""
    return dict(await pairs(request))


async def fields_and_file(request: Request[Any, Any, Any]) -> tuple[dict[str, str], bytes]:
    """
    The fields of a form with a file, and the contents of the field `file`.

    Raises:
        Failed: when there is no file in it, or the form cannot be read.
    """
    try:
        form = await fields(request)
        file = (await request.form()).get("file")
    except HTTPException as exc:
        raise Failed(
            exc.status_code, "The form could not be read, or is too large; send a smaller file."
        ) from exc
    content = await file.read() if isinstance(file, UploadFile) else b""
    if not content:
        raise _failed("file", "Choose a file that is not empty.")
    return form, content


def of_file(failed: Failed) -> Failed:
    """The same refusal in the words of a form: the API's field is the body, the form's is the file."""
    errors = [{**error, "field": error["field"].replace("body", "file")} for error in failed.errors]
    detail = failed.detail
    return Failed(failed.status, f"The file{detail[4:]}" if detail.startswith("body") else detail, errors)


def refused(request: Request[Any, Any, Any], errors: Sequence[dict[str, str]]) -> dict[str, Any] | None:
    """
    What was typed into a form that is refused, for the templates.

    Args:
        request: Of the form.
        errors: The API's, each with its field: "iban", or "options.notice_days".

    Returns:
        The path of the form, its values and its errors by field; `None` where nothing was typed.
    """
    typed = request.scope.get(_TYPED)
    if not typed:
        return None
    beside = {error["field"].rpartition(".")[2]: error["text"] for error in errors}
    return {"at": request.scope["path"], "typed": typed, "errors": beside}


def whole(text: str, *, field: str) -> int:
    """
    A whole number of a form, such as a limit or the number of a row.

    Raises:
        Failed: when it is none; a limit that is dropped or guessed debits more people than its writer allowed.
    """
    if not (text.isascii() and text.isdigit()):
        raise _failed(field, "Write limits and numbers of rows as whole numbers, e.g. 250.")
    return int(text)


def minor(text: str, *, field: str) -> int:
    """
    An amount of euros, in cents.

    Raises:
        Failed: when it is none. "1.000" is none: it could be one euro or a thousand.
    """
    try:
        return money.parse(text.replace(",", "."), currency="EUR").amount_minor
    except InvalidAmount as exc:
        raise _failed(field, "Write the amount in euros without groups of thousands, e.g. 1000.50.") from exc


def reason(form: Mapping[str, str]) -> str:
    """
    The reason that a person gives for an action.

    Raises:
        Failed: where there is none.
    """
    text = form.get("reason", "")
    if not text:
        raise _failed("reason", "Say why; it is stored.")
    return text


def names(text: str, *, field: str) -> list[str] | None:
    """
    Names with commas between them, such as gateway accounts; `None` for an empty field, which means all.

    Raises:
        Failed: when something was typed and there is no name in it; it must not mean all.
    """
    found = [name.strip() for name in text.split(",") if name.strip()]
    if text.strip() and not found:
        raise _failed(field, "Write names with commas between them, or leave the field empty for all.")
    return found or None


def _failed(field: str, text: str) -> Failed:
    return Failed(422, text, [{"field": field, "text": text}])
