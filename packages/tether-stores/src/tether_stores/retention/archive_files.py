"""The objects of archives."""

import asyncio

from tether_core.retention.archive import Archive, ArchiveUnreadable, checksum, unpack

from tether_stores import objects
from tether_stores.objects import Objects

__all__ = ["fetched"]


async def fetched(store: Objects, key: str, *, sha256: bytes) -> Archive:
    """
    Read an archive from the store.

    Args:
        sha256: The checksum that its row has.

    Raises:
        ObjectMissing: when it is gone.
        ArchiveUnreadable: when it is not what was written.
        StoreUnreachable: when the store does not answer.
    """
    data = b"".join([chunk async for chunk in await objects.get(store, key)])
    if checksum(data) != sha256:
        raise ArchiveUnreadable("its checksum differs from the one in the table archives")
    return await asyncio.to_thread(unpack, data)
