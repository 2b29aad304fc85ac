"""What a compiled program says of itself: its memory, and what its devices exchange."""

import math
import re
from dataclasses import dataclass
from typing import Any

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
    "ragged-all-to-all",
)
_BITS = {"pred": 8, "bf16": 16, "token": 0}  # other types have their bits in their name

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*\{$")
_COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(-start)?\((.*)")
_WHILE = re.compile(r" while\(.*?condition=%?([\w.-]+), body=%?([\w.-]+)")
_CALLED = re.compile(r"(?:calls|to_apply|true_computation|false_computation)=%?([\w.-]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_ARRAY = re.compile(r"\b(pred|token|[a-z]+\d\w*)\[([\d,]*)\]")


@dataclass(frozen=True)
class Collective:
    """An exchange between devices.

    Attributes:
      kind: one of `KINDS`.
      bytes: of its result on one device; of a reduce-scatter, of what goes in.
      group: devices that take part in it together.
      times: how often a step runs it.
    """

    kind: str
    bytes: int
    group: int
    times: int = 1

    def sent(self) -> float:
        """Bytes that a device sends in a step, in rings: the least that it can."""
        others = (self.group - 1) / self.group
        share = {"all-reduce": 2 * others, "collective-permute": 1.0}.get(self.kind, others)
        return share * self.bytes * self.times


@dataclass(frozen=True)
class Memory:
    """Bytes of one device.

    Attributes:
      state: what the step is given, batch and parameters, and what it returns beyond them.
      temporary: activations, gradients and all else within the step.
      code: the program.
    """

    state: int
    temporary: int
    code: int

    @property
    def total(self) -> int:
        return self.state + self.temporary + self.code


def memory_of(compiled: Any) -> Memory:
    """Of a compiled program (`jax.stages.Compiled`)."""
    found = compiled.memory_analysis()
    held = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    return Memory(held, found.temp_size_in_bytes, found.generated_code_size_in_bytes)


def collectives(text: str, devices: int) -> list[Collective]:
    """The exchanges of a program.

    Args:
      text: of the optimised HLO.
      devices: of the whole program.
    """
    found = []
    calls: dict[str, list[str]] = {}  # computations that one calls
    bodies: dict[str, list[str]] = {}  # its lines
    trips: dict[str, tuple[str, str]] = {}  # the body of a loop: its line and its condition
    name = ""
    for line in text.splitlines():
        if match := _COMPUTATION.match(line):
            name = match[1]
            calls[name], bodies[name] = [], []
            continue
        bodies.setdefault(name, []).append(line)
        if match := _COLLECTIVE.search(line):
            shape, kind, start, rest = match.groups()
            group = _group(rest, devices)
            found.append((name, kind, _moved(kind, start, shape, group), group))
        if match := _WHILE.search(line):
            calls[name].append(match[2])
            trips[match[2]] = (line, match[1])
        branches = re.findall(r"[\w.-]+", " ".join(_BRANCHES.findall(line)))
        calls.setdefault(name, []).extend(_CALLED.findall(line) + branches)
    callers = {called: caller for caller, names in calls.items() for called in names}

    def times(computation: str) -> int:
        """How often it runs: the loops that it is in."""
        product = 1
        while computation in callers:
            if computation in trips:
                line, condition = trips[computation]
                product *= _trips(line, bodies.get(condition, []))
            computation = callers[computation]
        return product

    return [
        Collective(kind, moved, group, times(computation))
        for computation, kind, moved, group in found
    ]


def _trips(loop: str, condition: list[str]) -> int:
    """Of a loop that counts from 0, as `jax.lax.scan` does; 1 of any other."""
    if known := re.search(r'known_trip_count":\{"n":"(\d+)"', loop):
        return int(known[1])
    bounds = re.findall(r"s32\[\]\S* constant\((\d+)\)", "\n".join(condition))
    return int(bounds[0]) if len(bounds) == 1 else 1


def _moved(kind: str, start: str | None, shape: str, group: int) -> int:
    sizes = [_bytes(*array) for array in _ARRAY.findall(shape)]
    if start and kind in ("all-gather", "collective-permute"):
        # What goes in, then what comes out (then counters).
        sizes = sizes[len(sizes) // 2 :] if kind == "all-gather" else sizes[1:2]
    total = sum(sizes)
    return total * group if kind == "reduce-scatter" else total


def _bytes(kind: str, shape: str) -> int:
    bits = _BITS[kind] if kind in _BITS else int(re.findall(r"\d+", kind)[0])
    return math.prod(map(int, filter(None, shape.split(",")))) * bits // 8


def _group(rest: str, devices: int) -> int:
    """Size of the groups, in any of the ways that HLO writes them; all devices if it says none."""
    if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", rest):
        return listed[1].count(",") + 1
    if tiled := re.search(r"replica_groups=\[\d+,(\d+)\]", rest):
        return int(tiled[1])
    if mesh := re.search(r"replica_groups=\w*mesh\[([^\]]*)\] ?\{([^}]*)\}", rest):
        sizes = dict(re.findall(r"('\w+')=(\d+)", mesh[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'\w+'", mesh[2]))
    return devices
