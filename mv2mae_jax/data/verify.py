"""Reads a built data set back, every record of it, and names what is damaged."""

from collections.abc import Iterator

import numpy as np
from grain.sources import ArrayRecordDataSource
from tqdm import tqdm

from mv2mae_jax.data.decode import decode_frames
from mv2mae_jax.data.records import Activity, Index, Record, parse_record, shards
from mv2mae_jax.data.staging import staged

FRAMES = 3  # decoded of every view: the first, the middle one, the last


def verify(index: Index) -> list[str]:
    """Compares all records with the index and decodes some frames of every view.

    Returns:
      What is wrong, one finding a line, each naming its file, record or view; empty if nothing is.
    """
    ids = [activity.id for activity in index.activities]
    twice = len(ids) - len(set(ids))
    findings = [f"index.json: {twice} activities have the name of another"] if twice else []
    position = 0
    with tqdm(
        total=len(index.activities), desc=f"verifying {index.dataset}", unit="activity"
    ) as bar:
        for shard in staged(shards(index.folder)):
            try:
                source = ArrayRecordDataSource([str(shard)])
                stored = len(source)
            except (RuntimeError, ValueError) as error:
                findings.append(f"{shard.name}: cannot be opened: {_first_line(error)}")
                findings.append(f"{shard.name}: the records after it cannot be told apart")
                return findings
            for number in range(min(stored, len(index.activities) - position)):
                activity = index.activities[position + number]
                where = f"{shard.name}, record {number} ({activity.id})"
                try:
                    record = parse_record(source[number])
                except Exception as error:  # the reader's and protobuf's own, of many types
                    findings.append(f"{where}: cannot be read: {_first_line(error)}")
                else:
                    findings += [f"{where}: {f}" for f in record_findings(index, activity, record)]
                bar.update()
            position += stored
    if position != len(index.activities):
        findings.append(f"{position} records, but index.json lists {len(index.activities)}")
    return findings


def record_findings(index: Index, activity: Activity, record: Record) -> Iterator[str]:
    """What is wrong with one record, given what the index says of it."""
    if record.id != activity.id:
        yield f"it is activity {record.id}"
    if record.label != activity.label:
        yield f"its label is {record.label}, the index says {activity.label}"
    lengths = {view: len(frames) for view, frames in record.views.items()}
    if lengths != dict(activity.views):
        yield f"its views are {lengths}, the index says {dict(activity.views)}"
    for view, frames in record.views.items():
        times = np.unique(np.linspace(0, len(frames) - 1, FRAMES).round().astype(int))
        try:
            height, width = decode_frames(frames, times).shape[1:3]
        except (ValueError, IndexError) as error:
            yield f"view {view}: a frame among {times.tolist()} is damaged: {_first_line(error)}"
            continue
        if min(height, width) > index.short_side:
            yield f"view {view}: {width} x {height}, more than the short side {index.short_side}"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
