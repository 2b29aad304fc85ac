"""Reads a built data set back, every record of it, and names what is damaged."""

from collections.abc import Iterator

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from tqdm import tqdm

from mv2mae_jax.data.decode import decode_frames
from mv2mae_jax.data.records import (
    Activity,
    Index,
    Record,
    differences,
    missing_shards,
    parse_record,
    shards,
)
from mv2mae_jax.data.staging import staged
from mv2mae_jax.errors import reason


def verify(index: Index) -> list[str]:
    """Compares all records with the index and decodes the first and the last frame of each.

    Returns:
      What is wrong, one finding a line, each naming its file, record or view; empty if nothing is.
    """
    ids = [activity.id for activity in index.activities]
    twice = len(ids) - len(set(ids))
    findings = [f"index.json: {twice} activities have the name of another"] if twice else []
    files = shards(index.folder)
    if missing := missing_shards(files):
        return [*findings, *(f"{name}: it is missing" for name in missing)]
    expected, position = list(index.records()), 0
    with tqdm(total=len(expected), desc=f"verifying {index.dataset}", unit="record") as bar:
        for shard in staged(files):
            try:
                source = ArrayRecordDataSource([str(shard)])
                stored = len(source)
            except (RuntimeError, ValueError) as error:
                findings.append(f"{shard.name}: cannot be opened: {reason(error)}")
                findings.append(f"{shard.name}: the records after it cannot be told apart")
                return findings
            for number, of in enumerate(expected[position : position + stored]):
                activity, view, first = of
                where = f"{shard.name}, record {number} ({activity.id}, view {view})"
                try:
                    record = parse_record(source[number])
                except Exception as error:  # the reader's and protobuf's own, of many types
                    findings.append(f"{where}: cannot be read: {reason(error)}")
                else:
                    found = record_findings(index, activity, view, first, record)
                    findings += [f"{where}: {finding}" for finding in found]
                bar.update()
            position += stored
    if position != len(expected):
        findings.append(f"{position} records, but index.json lists {len(expected)}")
    return findings


def record_findings(
    index: Index, activity: Activity, view: str, first: int, record: Record
) -> Iterator[str]:
    """What is wrong with one record, given what the index says of it."""
    yield from differences(index, activity, view, first, record)
    times = np.unique([0, len(record.frames) - 1])
    try:
        height, width = decode_frames(record.frames, times).shape[1:3]
    except (ValueError, IndexError) as error:
        yield f"its first frame or its last is damaged: {reason(error)}"
        return
    if min(height, width) > index.short_side:
        yield f"frames of {width} x {height}, more than the short side {index.short_side}"
