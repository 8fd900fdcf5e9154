"""
The object store: complete files, each under a key that is used once.

A store is an S3 bucket (AWS, SeaweedFS, MinIO and the like, through `AWS_*`) or, on a single machine, a folder
(`TETHER_OBJECTS_DIR`). Nothing here ever holds a file in memory: both upload and download are streams of chunks. An object becomes visible
only when it is complete: a stream that fails half-way leaves none.

```python
store = open_objects(settings)
await put(store, key, chunks)              # to abort, raise inside of `chunks`
async for chunk in await get(store, key, start=0, end=100):
    ...
```
"""

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store
from tether_core.errors import Contradicted, InvalidRequest, StoreUnreachable

from tether_stores.settings import Settings

__all__ = [
    "ObjectMissing",
    "Objects",
    "Stored",
    "answers",
    "delete",
    "get",
    "listed",
    "open_objects",
    "put",
    "stat",
]

Objects: TypeAlias = S3Store | LocalStore

# Parts in flight, 5 MiB each: with 3 a put stays within some 25 MB and a slow store still sees parallel parts.
_PARTS_IN_FLIGHT: Final = 3
# Each chunk handed on costs a change of threads; a megabyte makes that cheap.
_PUT_CHUNK_BYTES: Final = 1 << 20
_GET_CHUNK_BYTES: Final = 1 << 18


class ObjectMissing(Contradicted):
    """
    A row names an object that the store does not have; a person must look.

    Attributes:
        key: The object's key.
    """

    code = "object_missing"

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return f"The object store has no object {self.key}, although a row names it; its operator must check AWS_BUCKET, or restore the object."


class Stored(msgspec.Struct, frozen=True):
    """
    Metadata of an object in the store.

    Attributes:
        key: Its key.
        size_bytes: Its size.
        modified_at: When it was put.
        is_versioned: Whether the bucket keeps former versions of it, and so what is deleted; `False` in lists, which do not say it.
    """

    key: str
    size_bytes: int
    modified_at: datetime
    is_versioned: bool = False


def open_objects(settings: Settings) -> Objects:
    """
    The store that the settings name; connects when first used.

    Args:
        settings: A bucket in `AWS_BUCKET`, or a folder in `TETHER_OBJECTS_DIR`, which is made where it is missing.

    Returns:
        The store; one per process, made after any fork.

    Raises:
        InvalidRequest: when neither is named, or both are; or when nothing can be made of the settings.
    """
    if bool(settings.aws_bucket) == bool(settings.objects_dir):
        raise InvalidRequest(
            "set AWS_BUCKET for an object store, or TETHER_OBJECTS_DIR for a folder on a single machine, "
            "and not both",
            field="AWS_BUCKET",
        )
    if settings.objects_dir:
        return LocalStore(Path(settings.objects_dir).absolute(), mkdir=True, automatic_cleanup=True)
    named: Any = {
        "region": settings.aws_default_region,
        "virtual_hosted_style_request": not settings.aws_endpoint,
    }
    if settings.aws_endpoint:
        named["endpoint"] = settings.aws_endpoint
    if (
        settings.aws_access_key_id
    ):  # without it the chain of AWS applies: instance role, web identity and so on
        named["access_key_id"] = settings.aws_access_key_id
        named["secret_access_key"] = settings.aws_secret_access_key
    try:
        return S3Store(
            settings.aws_bucket,
            config=named,
            client_options={
                "allow_http": settings.aws_endpoint.startswith("http://"),
                "connect_timeout": "3s",
                "read_timeout": "30s",
                "timeout": "1h",  # of a whole request with its body; the default of 30 s cuts slow downloads off
            },
            retry_config={
                "max_retries": 3,
                "retry_timeout": timedelta(seconds=20),
                "backoff": {
                    "init_backoff": timedelta(milliseconds=50),
                    "max_backoff": timedelta(seconds=2),
                    "base": 2,
                },
            },
        )
    except BaseError as exc:
        raise InvalidRequest(
            "cannot be used: no certificates of authorities are found, or the address or the region is wrong; install ca-certificates, "
            "or correct SSL_CERT_FILE, AWS_ENDPOINT and AWS_DEFAULT_REGION",
            field="AWS_ENDPOINT",
        ) from exc


async def put(store: Objects, key: str, chunks: AsyncIterable[bytes]) -> None:
    """
    Store a stream as one object.

    Args:
        store: From `open_objects`.
        key: Not in use.
        chunks: The content. An exception from it aborts the object and is raised by this call; cancelling the
            task instead would leave parts behind in the store.

    Raises:
        StoreUnreachable: when the store fails.
    """
    try:
        await obstore.put_async(store, key, _coalesced(chunks), max_concurrency=_PARTS_IN_FLIGHT)
    except BaseError as exc:
        raise _unreachable(exc) from None


async def _coalesced(chunks: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    held = bytearray()
    async for chunk in chunks:
        held += chunk
        if len(held) >= _PUT_CHUNK_BYTES:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


async def get(store: Objects, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
    """
    Stream an object or a part of it.

    Args:
        store: From `open_objects`.
        key: Of the object.
        start: First byte, below the object's size unless that is 0.
        end: The byte after the last, or `None` for the rest.

    Returns:
        Its bytes in chunks; reading the next chunk may raise `StoreUnreachable` too.

    Raises:
        ObjectMissing: when there is none.
        StoreUnreachable: when the store fails.
    """
    with _translated(key):
        if end is not None:
            found = await obstore.get_async(store, key, options={"range": (start, end)})
        elif start:
            found = await obstore.get_async(store, key, options={"range": {"offset": start}})
        else:
            found = await obstore.get_async(store, key)
    return _chunks(found.stream(min_chunk_size=_GET_CHUNK_BYTES), key)


async def _chunks(stream: AsyncIterable[bytes], key: str) -> AsyncIterator[bytes]:
    with _translated(key):
        async for chunk in stream:
            yield chunk


async def stat(store: Objects, key: str) -> Stored | None:
    """
    What the store says of an object.

    Args:
        store: From `open_objects`.
        key: Of the object.

    Returns:
        Size and time, or `None` when there is none.

    Raises:
        StoreUnreachable: when the store fails.
    """
    try:
        with _translated(key):
            result = await obstore.head_async(store, key)
    except ObjectMissing:
        return None
    # A bucket whose versioning was suspended names the version "null".
    is_versioned = result["version"] not in {None, "", "null"}
    return Stored(result["path"], result["size"], result["last_modified"], is_versioned)


async def delete(store: Objects, key: str) -> None:
    """
    Remove an object; none there is as good.

    Args:
        store: From `open_objects`.
        key: Of the object.

    Raises:
        StoreUnreachable: when the store fails.
    """
    try:
        with _translated(key):
            await obstore.delete_async(store, key)
    except ObjectMissing:
        return


async def listed(store: Objects, prefix: str) -> AsyncIterator[Stored]:
    """
    All objects of a folder, in no certain order.

    Args:
        store: From `open_objects`.
        prefix: The folder, without a slash at its end.

    Yields:
        One object after the other; the listing is fetched in pages.

    Raises:
        StoreUnreachable: when the store fails.
    """
    with _translated(prefix):
        async for page in obstore.list(store, prefix, chunk_size=1000):
            for item in page:
                yield Stored(item["path"], item["size"], item["last_modified"])


async def answers(store: Objects) -> bool:
    """Whether the store answers within two seconds; a bucket that does not exist does not."""
    try:
        async with asyncio.timeout(2):
            async for _ in listed(store, "health"):
                break
    except (StoreUnreachable, TimeoutError):
        return False
    return True


@contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as exc:
        raise ObjectMissing(key) from exc
    except (BaseError, OSError) as exc:
        raise _unreachable(exc) from None


def _unreachable(exc: Exception) -> StoreUnreachable:
    # The message of the library holds addresses and, for some failures, headers; its class is enough.
    return StoreUnreachable("objects", why=type(exc).__name__)
