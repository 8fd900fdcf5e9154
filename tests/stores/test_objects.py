"""The object store, as a folder and as S3: streams in, streams out, whole or not at all."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

import httpx
import obstore
import pytest
from obstore.store import S3Store
from tether_core.errors import InvalidRequest, StoreUnreachable
from tether_sandbox.services.objects import Objects as Endpoint
from tether_stores import objects
from tether_stores.objects import ObjectMissing, Objects, open_objects
from tether_stores.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tether_sandbox.services.guard import Guard


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory, guard: Guard) -> Iterator[Endpoint]:
    """An S3 endpoint with a bucket."""
    server = Endpoint(tmp_path_factory.mktemp("s3"), guard=guard)
    server.start()
    yield server
    server.drop()


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    """An empty store of either kind."""
    if request.param == "folder":
        return open_objects(Settings.from_env({"TETHER_OBJECTS_DIR": str(tmp_path / "objects")}))
    server: Endpoint = request.getfixturevalue("s3")
    return open_objects(Settings.from_env(server.environment))


@pytest.fixture
def folder() -> str:
    """The name of a folder that no other test uses."""
    return secrets.token_hex(8)


async def pieces(*parts: bytes, then: Exception | None = None) -> AsyncIterator[bytes]:
    """Give some bytes, and perhaps fail."""
    for part in parts:
        yield part
    if then is not None:
        raise then


async def content(chunks: AsyncIterator[bytes]) -> bytes:
    """Take a stream whole."""
    return b"".join([chunk async for chunk in chunks])


async def test_what_was_put_comes_back(store: Objects, folder: str) -> None:
    """A byte changed on the way would be a changed amount or account; many parts must come together in order."""
    key = f"{folder}/a.csv"
    data = os.urandom(12 << 20)
    await objects.put(store, key, pieces(*(data[at : at + 700_000] for at in range(0, len(data), 700_000))))
    assert await content(await objects.get(store, key)) == data
    found = await objects.stat(store, key)
    assert found is not None
    assert (found.key, found.size_bytes) == (key, len(data))


async def test_any_part_can_be_had_alone(store: Objects, folder: str) -> None:
    """A download that broke off is continued by a range; off by one, it would be damaged."""
    key = f"{folder}/b"
    await objects.put(store, key, pieces(b"0123456789"))
    assert await content(await objects.get(store, key, start=3, end=6)) == b"345"
    assert await content(await objects.get(store, key, start=7)) == b"789"


async def test_an_empty_file_is_a_file(store: Objects, folder: str) -> None:
    """Somebody sends an empty export; that must end as a message to them, not as an error of the store."""
    key = f"{folder}/c"
    await objects.put(store, key, pieces())
    assert await content(await objects.get(store, key)) == b""


async def test_a_stream_that_fails_leaves_nothing(
    store: Objects, folder: str, request: pytest.FixtureRequest
) -> None:
    """A sender who goes away half-way would leave a file behind that looks complete, or parts nobody sees and all pay for."""
    with pytest.raises(LookupError, match="gone"):
        await objects.put(store, f"{folder}/d", pieces(bytes(8 << 20), then=LookupError("gone")))
    assert [stored async for stored in objects.listed(store, folder)] == []
    if isinstance(store, S3Store):
        server: Endpoint = request.getfixturevalue("s3")
        # What is not finished lies where only the store's own interface shows it.
        files = f"http://127.0.0.1:{server._own_ports['filer.port']}/buckets/tether"
        async with httpx.AsyncClient(
            headers={"accept": "application/json"}, trust_env=False, timeout=60
        ) as client:
            assert (await client.get(f"{files}/")).is_success
            unfinished = await client.get(f"{files}/.uploads/")
        assert unfinished.status_code == 404 or not unfinished.json()["Entries"]


async def test_a_store_that_is_real_refuses_a_wrong_secret_and_a_link_that_was_changed(s3: Endpoint) -> None:
    """A store that takes any secret would hide that ours are not sent, and let a link of one file open all others."""
    mine, other = s3.environment, {**s3.environment, "AWS_SECRET_ACCESS_KEY": "another-secret"}
    store = open_objects(Settings.from_env(mine))
    await objects.put(store, "linked/a", pieces(b"a"))
    await objects.put(store, "linked/b", pieces(b"b"))
    stranger = open_objects(Settings.from_env(other))
    assert not await objects.answers(stranger)
    with pytest.raises(StoreUnreachable):
        await objects.put(stranger, "linked/c", pieces(b"c"))
    assert await objects.stat(store, "linked/c") is None
    assert isinstance(store, S3Store)
    link = await obstore.sign_async(store, "GET", "linked/a", timedelta(minutes=1))
    async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
        assert (await client.get(link)).content == b"a"
        assert (await client.get(link.replace("linked/a", "linked/b"))).status_code == 403


async def test_what_is_deleted_is_gone_and_may_be_deleted_again(store: Objects, folder: str) -> None:
    """Cleaning up after a failure may run twice; the second time must not fail."""
    key = f"{folder}/e"
    await objects.put(store, key, pieces(b"x"))
    await objects.delete(store, key)
    await objects.delete(store, key)
    assert await objects.stat(store, key) is None
    with pytest.raises(ObjectMissing, match=key):
        await objects.get(store, key)


async def test_a_folder_is_listed_whole(store: Objects, folder: str) -> None:
    """What the listing leaves out is never swept, and what it adds might be swept by mistake."""
    for name in ("f/1", "f/2", "g/1"):
        await objects.put(store, f"{folder}/{name}", pieces(b"abc"))
    found = [stored async for stored in objects.listed(store, f"{folder}/f")]
    assert sorted(item.key for item in found) == [f"{folder}/f/1", f"{folder}/f/2"]
    assert {item.size_bytes for item in found} == {3}


async def test_a_store_that_answers_says_so(store: Objects) -> None:
    """Operators go by this when they look for why uploads fail."""
    assert await objects.answers(store)


async def test_an_unreachable_store_is_unavailable_and_shows_no_address() -> None:
    """The web must answer "later" and the worker try again; the message goes to people who need not know our hosts."""
    settings = {"AWS_BUCKET": "b", "AWS_ENDPOINT": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a"}
    away = open_objects(Settings.from_env({**settings, "AWS_SECRET_ACCESS_KEY": "s3cret"}))
    assert not await objects.answers(away)
    for call in (
        objects.put(away, "k", pieces(b"x")),
        objects.get(away, "k"),
        objects.stat(away, "k"),
        objects.delete(away, "k"),
    ):
        with pytest.raises(StoreUnreachable) as failed:
            await call
        assert "127.0.0.1" not in str(failed.value)
        assert "s3cret" not in repr(failed.value)


async def test_a_bucket_that_does_not_exist_does_not_answer(s3: Endpoint) -> None:
    """A misspelt bucket is noticed when the node starts, not when the first customer uploads."""
    assert not await objects.answers(
        open_objects(Settings.from_env({**s3.environment, "AWS_BUCKET": "no-such-bucket"}))
    )


@pytest.mark.parametrize("environ", [{}, {"AWS_BUCKET": "b", "TETHER_OBJECTS_DIR": "d"}])
def test_exactly_one_store_must_be_named(environ: dict[str, str]) -> None:
    """With two of them, nodes that are set up differently would look for files in different places."""
    with pytest.raises(InvalidRequest, match="not both"):
        open_objects(Settings.from_env(environ))


def test_missing_certificates_are_named() -> None:
    """The client of the store says "builder error", and every program ends with a traceback that names nothing to change."""
    program = (
        "from tether_stores.objects import open_objects\nfrom tether_stores.settings import Settings\n"
        "try:\n    open_objects(Settings(aws_bucket='b', aws_endpoint='https://objects.example', aws_access_key_id='k', aws_secret_access_key='k'))\n"
        "except Exception as exc:\n    print(type(exc).__name__, exc)"
    )
    # In a process of its own: the client reads the certificates once.
    environ = {"SSL_CERT_FILE": "/nowhere/certificates.pem", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("InvalidRequest AWS_ENDPOINT cannot be used: no certificates"), done
