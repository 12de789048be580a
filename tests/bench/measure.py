"""Run programs and see what they cost: time on the wall, time on the processor, memory at the peak."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

ENVIRONMENT = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC", "OPENSSL_CONF": "/dev/null"}


@dataclass(frozen=True, slots=True)
class Cost:
    """What one run of a program took, or the median of several: seconds, and bytes."""

    wall: float
    cpu: float
    memory: int


def run(command: Sequence[str]) -> Cost:
    """Run a program to its end, which must be a good one."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=ENVIRONMENT)
    assert process.stderr is not None
    complaint = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)}:\n{complaint.decode(errors='replace')}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def side_by_side(contenders: Mapping[str, Callable[[int], Sequence[str]]], rounds: int) -> dict[str, Cost]:
    """Run each in turn, round after round, so that a busy moment of the machine meets all of them; give the medians.

    A contender gets the number of the round and returns the command.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name, command in contenders.items():
            costs[name].append(run(command(number)))
    return {name: median(each) for name, each in costs.items()}


def median(costs: Sequence[Cost]) -> Cost:
    """Return the median of each."""
    return Cost(
        statistics.median(cost.wall for cost in costs),
        statistics.median(cost.cpu for cost in costs),
        int(statistics.median(cost.memory for cost in costs)),
    )
