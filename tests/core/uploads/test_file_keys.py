from datetime import UTC, datetime, timedelta, timezone

from tether_core.spreadsheet import Answers
from tether_core.uploads.file_keys import content_key, object_key


def test_object_keys_hold_the_day_in_utc_and_nothing_of_the_name_but_a_known_ending() -> None:
    """File names hold people's names and paths; neither may reach the object store's keys."""
    late = datetime(2026, 3, 2, 23, 30, tzinfo=timezone(timedelta(hours=-2)))
    assert (
        object_key("0b9d-1", received_at=late, name="Müller & Söhne.csv") == "uploads/2026/03/03/0b9d-1.csv"
    )
    morning = datetime(2026, 3, 2, 8, tzinfo=UTC)
    assert object_key("0b9d", received_at=morning, name="../../etc/passwd") == "uploads/2026/03/02/0b9d.bin"
    assert object_key("0b9d", received_at=morning) == "uploads/2026/03/02/0b9d.bin"


def test_the_same_bytes_with_other_answers_are_another_upload() -> None:
    """Sending a file again with a corrected mapping must not be answered with the earlier, wrong reading."""
    digest = bytes(32)
    plain = content_key(digest, answers=Answers())
    mapped = content_key(digest, answers=Answers(columns={"iban": 1, "name": 2}))
    assert plain == content_key(digest, answers=Answers(columns={}))
    assert mapped == content_key(digest, answers=Answers(columns={"name": 2, "iban": 1}))
    assert len({plain, mapped, content_key(bytes([1] * 32), answers=Answers())}) == 3
