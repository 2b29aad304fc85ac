"""Records of a bucket are copied to this machine once, and read from the copy.

The reader can fetch single ones, but asks for each over a connection of its own and is sent
megabytes beyond it, at every epoch.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
from etils import epath

from mv2mae_jax.errors import InputError, one_line
from mv2mae_jax.processes import take_lock
from mv2mae_jax.storage import is_local, user_cache

log = logging.getLogger(__name__)

AT_ONCE = 8  # files that are copied


def staged(shards: Sequence[epath.Path]) -> list[Path]:
    """The files themselves, or local copies with the same names, in the same order.

    Copies are in $XDG_CACHE_HOME/mv2mae-jax (~/.cache/mv2mae-jax), in a folder of this content's
    own. The first process of a machine copies, others wait for it. After a kill, files that were
    complete are not copied again.

    Args:
      shards: of one folder.

    Raises:
      InputError: there is no room for them, or they cannot be copied.
    """
    if all(is_local(shard) for shard in shards):
        return [Path(shard) for shard in shards]
    source = shards[0].parent
    bucket, _ = fsspec.core.url_to_fs(os.fspath(source))
    cache = user_cache()
    try:
        found = [bucket.info(os.fspath(shard)) for shard in shards]
        content = [(about["name"], about["size"], about["generation"]) for about in found]
        fingerprint = hashlib.sha256(repr(content).encode()).hexdigest()[:12]
        folder = cache / f"{source.parent.name}-{source.name}-{fingerprint}"
        folder.mkdir(parents=True, exist_ok=True)
        copies = [folder / shard.name for shard in shards]
        with (folder / "lock").open("w") as lock:
            take_lock(lock, wait=True)
            _copy(bucket, dict(zip(copies, found, strict=True)), source)
    except InputError:
        raise
    except Exception as error:  # the disk's, gcsfs's, aiohttp's and Google's, of many types
        raise InputError(f"{source} cannot be copied to {cache} ({one_line(error)})") from error
    return copies


def _copy(bucket: Any, wanted: dict[Path, dict[str, Any]], source: epath.Path) -> None:
    """Copies what is not there yet; a file has its name when it is complete."""
    missing = {copy: about for copy, about in wanted.items() if not copy.exists()}
    if not missing:
        return

    def copy_one(copy: Path) -> None:
        partial = copy.with_name(f"{copy.name}.part")
        bucket.get_file(missing[copy]["name"], str(partial))
        if partial.stat().st_size != int(missing[copy]["size"]):
            raise InputError(f"{source} changes while it is copied; start again when it is whole")
        partial.replace(copy)

    folder = next(iter(missing)).parent
    for partial in folder.glob("*.part"):
        partial.unlink()
    size = sum(int(about["size"]) for about in missing.values())
    free = shutil.disk_usage(folder).free
    if size > free:
        raise InputError(
            f"{source} is copied to this machine, {size / 1e9:.1f} GB, but {folder} has "
            f"{free / 1e9:.1f} GB free; set XDG_CACHE_HOME to a folder of a larger disk"
        )
    log.info("copying %s, %.1f GB, once to %s", source, size / 1e9, folder)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(copy_one, missing))
