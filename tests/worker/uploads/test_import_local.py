"""Moving an old installation's files: verified before anything is removed, and the same however often it is run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec
import pytest
from tether_core.errors import InvalidRequest, StoreUnreachable
from tether_stores import objects
from tether_stores.objects import Objects, open_objects
from tether_stores.settings import Settings
from tether_worker.__main__ import main
from tether_worker.uploads.import_local import FileImportReport, ImportedFile, import_local

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

FILES = {"uploads/a.csv": b"Name;IBAN\n", "uploads/2024/b.xlsx": os.urandom(3 << 20), "c é.csv": b""}


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """The disk of an old installation."""
    folder = tmp_path / "disk"
    for name, data in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


@pytest.fixture
def store(objects_dir: Path) -> Objects:
    """An empty object store."""
    return open_objects(Settings.from_env({"TETHER_OBJECTS_DIR": str(objects_dir)}))


def names(folder: Path) -> set[str]:
    """Every file below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


async def test_files_are_moved_and_keep_their_paths(disk: Path, store: Objects, objects_dir: Path) -> None:
    """Rows of the old database name files by these paths; a byte changed on the way would be found years later."""
    report = await import_local(disk, store=store, dry_run=False)
    assert report == FileImportReport({"moved": 3}, sum(map(len, FILES.values())), [])
    assert {name: (objects_dir / name).read_bytes() for name in names(objects_dir)} == FILES
    assert names(disk) == set()
    assert await import_local(disk, store=store, dry_run=False) == FileImportReport({}, 0, [])


async def test_a_dry_run_says_the_same_and_does_nothing(
    disk: Path, store: Objects, objects_dir: Path
) -> None:
    """People want to know how long it will take and what will be in the way, before."""
    (disk / "uploads/d.csv").write_bytes(b"other")
    (objects_dir / "uploads").mkdir()
    (objects_dir / "uploads/d.csv").write_bytes(b"there")
    before = names(disk)
    report = await import_local(disk, store=store, dry_run=True)
    assert report.counts == {"moved": 3, "conflicting": 1}
    assert names(disk) == before
    assert names(objects_dir) == {"uploads/d.csv"}


async def test_a_run_that_was_cut_off_is_continued(
    disk: Path, store: Objects, objects_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take a night; after any interruption no file may be lost, and none be moved twice under two names."""
    put = objects.put
    puts = 0

    async def dying(store: Objects, key: str, chunks: AsyncIterator[bytes]) -> None:
        nonlocal puts
        await put(store, key, chunks)
        puts += 1
        if puts == 2:  # the object is there, the file too
            raise KeyboardInterrupt

    monkeypatch.setattr(objects, "put", dying)
    with pytest.raises(KeyboardInterrupt):
        await import_local(disk, store=store, dry_run=False)
    monkeypatch.undo()
    assert len(names(disk)) == 2
    report = await import_local(disk, store=store, dry_run=False)
    assert report.counts == {"moved": 1, "there already": 1}
    assert {name: (objects_dir / name).read_bytes() for name in names(objects_dir)} == FILES
    assert names(disk) == set()


async def test_another_file_under_the_same_path_is_left_alone(
    disk: Path, store: Objects, objects_dir: Path
) -> None:
    """Two files claim one name: overwriting either loses a list of debtors."""
    (objects_dir / "uploads").mkdir()
    (objects_dir / "uploads/a.csv").write_bytes(b"Name;Iban\n")
    report = await import_local(disk, store=store, dry_run=False)
    assert report.counts == {"moved": 2, "conflicting": 1}
    assert report.here == [
        ImportedFile("uploads/a.csv", "conflicting", why="the store has another file under this path")
    ]
    assert not report.done
    assert names(disk) == {"uploads/a.csv"}
    assert (objects_dir / "uploads/a.csv").read_bytes() == b"Name;Iban\n"


async def test_what_was_stored_wrong_is_taken_back_and_the_file_stays(
    disk: Path, store: Objects, objects_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that loses bytes is the one thing the digest is for."""
    put = objects.put

    async def lossy(store: Objects, key: str, chunks: AsyncIterator[bytes]) -> None:
        async def cut() -> AsyncIterator[bytes]:
            async for chunk in chunks:
                yield chunk[:-1]

        await put(store, key, cut() if key.endswith("a.csv") else chunks)

    monkeypatch.setattr(objects, "put", lossy)
    report = await import_local(disk, store=store, dry_run=False)
    assert [(moved.path, moved.outcome) for moved in report.here] == [("uploads/a.csv", "failed")]
    assert names(disk) == {"uploads/a.csv"}
    assert "uploads/a.csv" not in names(objects_dir)


async def test_links_and_hidden_files_are_left_alone(disk: Path, store: Objects, objects_dir: Path) -> None:
    """A link may lead anywhere, and what begins with a dot belongs to the old installation itself."""
    (disk / "link.csv").symlink_to(disk / "uploads/a.csv")
    (disk / ".gitignore").write_text("*")
    (disk / "uploads/zeile\n.csv").write_text("x")
    report = await import_local(disk, store=store, dry_run=False)
    assert report.counts == {"moved": 3, "left alone": 2, "failed": 1}
    assert names(disk) == {"link.csv", ".gitignore", "uploads/zeile\n.csv"}
    assert names(objects_dir) == set(FILES)


async def test_without_a_folder_or_a_store_nothing_is_moved(disk: Path, tmp_path: Path) -> None:
    """A typing error in the path must not read as "all done"."""
    away = {"AWS_BUCKET": "b", "AWS_ENDPOINT": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a"}
    store = open_objects(Settings.from_env({**away, "AWS_SECRET_ACCESS_KEY": "a"}))
    with pytest.raises(InvalidRequest, match="is not a folder"):
        await import_local(tmp_path / "dsik", store=store, dry_run=False)
    with pytest.raises(StoreUnreachable):
        await import_local(disk, store=store, dry_run=False)
    assert names(disk) == set(FILES)


def test_the_command_reports_and_its_exit_code_tells(
    disk: Path, objects_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script that removes the old server goes by the exit code."""
    monkeypatch.setenv("TETHER_OBJECTS_DIR", str(objects_dir))
    (objects_dir / "c é.csv").write_bytes(b"other")
    assert main(["files", "import-local", str(disk), "--dry-run"]) == 1
    output = capsys.readouterr().out
    assert "conflicting: c é.csv (the store has another file under this path)\n" in output
    assert output.endswith(
        "would be done: conflicting 1, moved 2; 3,145,738 bytes in the store and verified\n"
    )
    (objects_dir / "c é.csv").unlink()
    assert main(["files", "import-local", str(disk), "--json"]) == 0
    assert msgspec.json.decode(capsys.readouterr().out, type=FileImportReport).counts == {"moved": 3}
    assert main(["files", "import-local", str(disk / "nowhere")]) == 2
