"""Many activities at once, on many machines: an Apache Beam pipeline fills the same folder.

Its workers must see the videos and the folder of finished activities under the same paths as the
machine that starts it: on a shared file system, wherever the pipeline runs.
"""

import functools
import hashlib
import pickle
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mv2mae_jax.errors import InputError
from tfds_builders import encoding
from tfds_builders.manifest import Row

try:
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
except ImportError:
    raise InputError("Apache Beam is not installed; pip install -e '.[beam]'") from None


def parse_options(text: str) -> PipelineOptions:
    """Beam's options from one line, as one would write them in a shell.

    Raises:
      InputError: Beam has no such runner, or the runner misses an option.
      SystemExit: an option has a wrong value; Beam says which.
    """
    try:
        options = PipelineOptions(shlex.split(text))
        options.get_all_options(retain_unknown_options=True)  # reads their values
        beam.Pipeline(options=options)  # looks for the runner
    except (ValueError, ImportError) as error:
        raise InputError(f"Beam options {text!r}: {' '.join(str(error).split())}") from None
    return options


def encode_activities(
    work: Sequence[tuple[Path, Sequence[Row]]],
    raw_dir: Path,
    settings: encoding.Settings,
    *,
    folder: Path,
    options: PipelineOptions,
) -> Iterator[tuple[int, encoding.Encoded]]:
    """Encodes activities wherever the pipeline runs; once it has ended, yields all results.

    Args:
      work: file and rows of each activity.
      raw_dir: where the videos are.
      settings: how frames are stored.
      folder: that the files lie in.
      options: Beam's.

    Yields:
      Position in `work`, and the result.

    Raises:
      InputError: the pipeline failed, or its workers do not see the same files.
    """
    if not work:
        return
    folder = folder.absolute()
    # The list may be larger than a runner's limit for a pipeline, so a file hands it over.
    content = pickle.dumps((folder, raw_dir.absolute(), settings, [rows for _, rows in work]))
    job = folder / f"job-{hashlib.sha256(content).hexdigest()[:32]}"
    job.write_bytes(content)
    pipeline = beam.Pipeline(options=options)
    # `Create` spreads what it makes over the workers.
    _ = pipeline | beam.Create(range(len(work))) | beam.Map(_encode, str(job))
    try:
        state = pipeline.run().wait_until_finish()
    except Exception as error:  # a runner may raise any
        reason = str(error).strip().split("\n")[-1] or repr(error)
        raise InputError(f"the Beam pipeline failed: {reason}") from None
    missing = [path for path, _ in work if not path.exists()]
    if missing:
        raise InputError(
            f"the Beam pipeline ended ({state}) without {len(missing)} of {len(work)} activities; "
            f"its workers must see {raw_dir} and {folder} as this machine does"
        )
    for position, (path, _) in enumerate(work):
        yield position, encoding.load(path)


def _encode(position: int, job: str) -> None:
    folder, raw_dir, settings, activities = _load(job)
    rows = activities[position]
    # Named anew from what this worker sees, so that other videos become another file.
    path = encoding.cache_path(folder, raw_dir, rows, settings)
    # A runner that tries again begins well before what failed. A broken video may be whole now.
    if not path.exists() or encoding.load(path).broken:
        encoding.encode_activity(path, raw_dir, rows, settings)


@functools.lru_cache(maxsize=1)
def _load(job: str) -> Any:
    return pickle.loads(Path(job).read_bytes())
