"""How long a job takes, and what it costs, worked out from a model of it: 10^6 to 10^9 images on 10 to 1,000 machines.

    python -m benchmarks.simulation [--images N …] [--machines N …] [--rate R] [--price P] [--preemptions P]

The model: the launcher lists the inputs, the machines start, one of them lists again and plans, then each machine takes
shards, some at once, which share its cores; what it holds begins anew when it is taken away; one machine adds all up.
`benchmarks.simulation_check` fits it to measured runs of this machine and compares it with others.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from faceveil.transforms.inputs.plan import MAX_IMAGES, SHARD_BYTES

_PAGE = 1000
"""Objects in an answer of Cloud Storage or S3 to a request for a listing."""


@dataclass(frozen=True)
class Work:
    """What there is to do.

    Attributes:
        images: their number.
        image_bytes: of one, on average.
        files: image files or TFRecord files that hold them.
        shards: None for as many as a job has by default.
    """

    images: int
    image_bytes: int = 110_000
    files: int = 0
    shards: int | None = None

    @property
    def shard_count(self) -> int:
        """The number of shards."""
        if self.shards:
            return self.shards
        in_files = -(-self.images // MAX_IMAGES) if self.files >= self.images else 0
        return max(1, -(-self.images * self.image_bytes // SHARD_BYTES), in_files, min(16, self.images // 2))


@dataclass(frozen=True)
class Costs:
    """What the parts of a job take on one kind of machine; all in seconds but for rates.

    Attributes:
        launch: from the command to the listing, and from the manifest to the end.
        file: to list and plan one file, without requests.
        request: that storage takes to answer.
        listers: requests for listings that are made at once.
        machine_start: until a machine takes its first shard.
        rate: images a second of a machine that has enough to do.
        shard: what each shard takes beside its images, while which others may be worked on.
        shards_at_once: of a machine.
        shard_sum: to add up one shard at the end.
        speed_spread: of machines, as the deviation of the logarithm.
        shard_spread: of shards of as many images.
        preemptions: of a machine, in an hour.
        storage_rate: requests a second that a bucket answers at most.
    """

    launch: float = 10.0
    file: float = 50e-6
    request: float = 0.05
    listers: int = 16
    machine_start: float = 180.0
    rate: float = 90.0
    shard: float = 1.0
    shards_at_once: int = 2
    shard_sum: float = 1e-4
    speed_spread: float = 0.05
    shard_spread: float = 0.1
    preemptions: float = 0.0
    storage_rate: float = 5000.0


@dataclass(frozen=True)
class Prediction:
    """What a job takes.

    Attributes:
        seconds: from the command to its end.
        listing: of these, to list and plan.
        machine_hours: of all machines, from the first listing on workers to the end.
        redone: the share of the images that was made more than once.
        waiting: the share of the machines' time that they had no shard.
    """

    seconds: float
    listing: float
    machine_hours: float
    redone: float
    waiting: float


@dataclass
class _Machine:
    speed: float
    lost_at: float
    now: float
    left: list[float] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)
    busy: float = 0.0


def simulate(work: Work, machines: int, costs: Costs, seed: int = 0) -> Prediction:
    """Plays a job through, shard by shard.

    Example usage::

        >>> costs = Costs(launch=0, machine_start=0, rate=10, shard=0, shards_at_once=1, shard_sum=0, speed_spread=0,
        ...     shard_spread=0, file=0, request=0)
        >>> simulate(Work(1000, shards=10), 2, costs).seconds
        50.0
        >>> simulate(Work(1000, shards=10), 4, costs).seconds
        30.0
    """
    chance = random.Random(seed)  # noqa: S311
    files = work.files or work.images
    listing = files * costs.file + math.ceil(files / _PAGE) * costs.request / costs.listers
    begun = costs.launch + listing + costs.machine_start + listing
    count = work.shard_count
    # A bucket that is asked too often slows all machines alike.
    requests = costs.rate * machines * (files / work.images + 12 * count / work.images)
    rate = costs.rate * min(1.0, costs.storage_rate / requests)
    sizes = [work.images / count * math.exp(chance.gauss(0, costs.shard_spread)) for _ in range(count)]
    scale = work.images / sum(sizes)
    waiting = [size * scale for size in reversed(sizes)]
    pool: dict[int, _Machine] = {}
    heap: list[tuple[float, int]] = []
    redone = busy = 0.0

    def start(number: int, now: float) -> None:
        lost = chance.expovariate(costs.preemptions / 3600) if costs.preemptions else math.inf
        pool[number] = _Machine(math.exp(chance.gauss(0, costs.speed_spread)), now + lost, now)
        take(number)

    def take(number: int) -> None:
        machine = pool[number]
        while waiting and len(machine.left) < costs.shards_at_once:
            size = waiting.pop()
            machine.sizes.append(size)
            machine.left.append(size + costs.shard * rate / costs.shards_at_once)
        if machine.left:
            end = machine.now + min(machine.left) * len(machine.left) / (rate * machine.speed)
            heapq.heappush(heap, (min(end, machine.lost_at), number))

    ended = begun
    for number in range(min(machines, count)):
        start(number, begun)
    while heap:
        now, number = heapq.heappop(heap)
        machine = pool[number]
        done = (now - machine.now) * rate * machine.speed / len(machine.left)
        busy += now - machine.now
        machine.left = [left - done for left in machine.left]
        machine.now = now
        if now >= machine.lost_at:
            redone += sum(max(0.0, size - left) for size, left in zip(machine.sizes, machine.left, strict=True))
            waiting.extend(machine.sizes)
            start(number, now + costs.machine_start)
            continue
        least = min(range(len(machine.left)), key=machine.left.__getitem__)
        del machine.left[least], machine.sizes[least]
        ended = max(ended, now)
        take(number)
    working = ended - begun
    total = ended + count * costs.shard_sum
    return Prediction(
        seconds=total,
        listing=2 * listing,
        machine_hours=machines * (total - costs.launch - listing) / 3600,
        redone=redone / work.images,
        waiting=1 - busy / (machines * working) if working else 0.0,
    )


def table(images: Sequence[int], machines: Sequence[int], costs: Costs, price: float, records_in_file: int) -> str:
    """A Markdown table of predictions, for image files and for TFRecord files that hold so many of them."""
    lines = [
        "| images | in | machines | hours | of which listing | waiting | made twice | machine hours | price |",
        "|--:|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for count in images:
        for name, files in (("files", count), ("TFRecords", -(-count // records_in_file))):
            for number in machines:
                found = simulate(Work(count, files=files), number, costs)
                lines.append(
                    f"| {count:,} | {name} | {number:,} | {found.seconds / 3600:.2f} | {found.listing / 3600:.2f} | "
                    f"{found.waiting:.1%} | {found.redone:.2%} | {found.machine_hours:,.1f} | "
                    f"{found.machine_hours * price:,.0f} |"
                )
    return "\n".join(lines)


def main() -> None:
    """Prints the table."""
    usual = Costs()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[10**6, 10**7, 10**8, 10**9])
    parser.add_argument("--machines", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--rate", type=float, default=usual.rate, help="images a second of a machine (%(default)s)")
    parser.add_argument("--price", type=float, default=0.40, help="of a machine hour (%(default)s)")
    parser.add_argument("--preemptions", type=float, default=0.0, help="of a machine, in an hour (%(default)s)")
    parser.add_argument("--listers", type=int, default=usual.listers, help="listing requests at once (%(default)s)")
    parser.add_argument("--records_in_file", type=int, default=10_000)
    given = parser.parse_args()
    costs = replace(usual, rate=given.rate, preemptions=given.preemptions, listers=given.listers)
    print(table(given.images, given.machines, costs, given.price, given.records_in_file))


if __name__ == "__main__":
    main()
