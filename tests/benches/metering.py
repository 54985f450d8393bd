"""What a load costs in processor time, part by part, and what is the most that could be answered for that.

Client, edge and shards of a bench share the processors, and so does whatever else runs on the machine. How much was
answered says little unless what each call and each refusal cost all of them stands beside it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

CLIENT, EDGE, SHARDS = "client", "edge", "shards"


def processor_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Processor seconds."""

    wall_s: float
    """Seconds that went by."""
    parts: Mapping[str, float]
    machine: float
    """By all that runs on the machine, these parts included."""

    def since(self, before: "Spent") -> "Spent":
        parts = {name: spent - before.parts[name] for name, spent in self.parts.items()}
        return Spent(wall_s=self.wall_s - before.wall_s, parts=parts, machine=self.machine - before.machine)

    def cores(self) -> dict[str, float]:
        """Return how many processors each part had, and all others."""
        cores = {f"{name}_cores": round(part / self.wall_s, 2) for name, part in self.parts.items()}
        return {**cores, "others_cores": round(self.others / self.wall_s, 2)}

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    @property
    def others(self) -> float:
        return max(0.0, self.machine - self.total)


class Meter:
    """Reads the processor time of the parts of a bench; the client is the process that reads."""

    def __init__(self, parts: Mapping[str, Sequence[int]]) -> None:
        """Take the process ids of each part."""
        self._parts = {name: [psutil.Process(pid) for pid in pids] for name, pids in parts.items()}
        self._parts[CLIENT] = [psutil.Process()]

    def read(self) -> Spent:
        times = psutil.cpu_times()
        return Spent(
            wall_s=time.perf_counter(),
            parts={name: sum(map(processor_s, processes)) for name, processes in self._parts.items()},
            machine=sum(times) - times.idle - times.iowait - times.guest - times.guest_nice,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Processor seconds that each part takes for one call, while hardly any is refused."""

    client: float
    edge: float
    shards: float

    @classmethod
    def of(cls, spent: Spent, *, answered: int, sent: int) -> "Prices":
        parts = spent.parts
        return cls(client=parts[CLIENT] / sent, edge=parts[EDGE] / answered, shards=parts[SHARDS] / answered)

    @property
    def served(self) -> float:
        """What edge and shards take for one that they answer."""
        return self.edge + self.shards

    def figures(self) -> dict[str, int]:
        return {f"{name}_us": round(1e6 * price) for name, price in (("edge", self.edge), ("shards", self.shards))}


def limit_per_s(free: float, asked_per_s: float, *, client_s: float, refusal_s: float, served_s: float) -> float:
    """Return how many calls could be answered per second at all, if no processor were ever idle.

    Args:
        free: processors.
        asked_per_s: calls.
        client_s: what each costs the client, answered or not.
        refusal_s: what one costs that is refused.
        served_s: what one costs that is answered.
    """
    left = free - asked_per_s * (client_s + refusal_s)
    return min(asked_per_s, max(0.0, left / (served_s - refusal_s)))
