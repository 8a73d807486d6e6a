"""What a second look at a whole output comes to: totals, shares, and how sure a sample is of them."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterable, Sequence
from typing import Any

from faceveil.transforms.verification.findings import ShardFindings
from faceveil.transforms.verification.reading import WrittenShard

_Z = 1.959963984540054
"""Of the normal distribution, for 95 %."""


def choose_records(shards: Sequence[WrittenShard], count: int, seed: int) -> dict[str, tuple[int, ...]]:
    """A simple random sample of an output's records, the same for the same seed on every machine.

    Args:
        shards: all of them.
        count: of records; all where there are no more.
        seed: of the choice.

    Returns:
        By shards' names, the places of the chosen records, in their order; shards of which none is are not among them.

    Example usage::

        >>> shards = [WrittenShard("a", "data", 3, 0, 0, ""), WrittenShard("b", "data", 5, 0, 0, "")]
        >>> choose_records(shards, 4, seed=0)
        {'a': (2,), 'b': (0, 2, 4)}
    """
    total = sum(shard.records for shard in shards)
    # A generator's floats are the same in every version of Python, what `sample` makes of them need not be.
    generator = random.Random(seed)  # noqa: S311  no secret
    keyed = ((generator.random(), number) for number in range(total))
    places = sorted(number for _, number in heapq.nsmallest(count, keyed))
    chosen: dict[str, tuple[int, ...]] = {}
    first = taken = 0
    for shard in shards:
        end = taken
        while end < len(places) and places[end] < first + shard.records:
            end += 1
        if end > taken:
            chosen[shard.name] = tuple(place - first for place in places[taken:end])
        first, taken = first + shard.records, end
    return chosen


def wilson_interval(found: int, of: int) -> tuple[float, float]:
    """An interval that holds the true share in about 95 of 100 samples.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

    Args:
        found: in the sample.
        of: the size of the sample; of none nothing is known.

    Example usage::

        >>> [round(bound, 4) for bound in wilson_interval(0, 400)]
        [0.0, 0.0095]
        >>> [round(bound, 3) for bound in wilson_interval(10, 400)]
        [0.014, 0.045]
    """
    if not of:
        return 0.0, 1.0
    share, square = found / of, _Z * _Z
    middle = share + square / (2 * of)
    half = _Z * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    low, high = ((middle + sign * half) / (1 + square / of) for sign in (-1, 1))
    return (0.0 if not found else max(0.0, low)), (1.0 if found == of else min(1.0, high))


def sum_findings(results: Iterable[ShardFindings], said: dict[str, Any]) -> dict[str, Any]:
    """The content of the file of results; it depends on the findings alone, not on their order.

    Args:
        results: of all shards.
        said: what is known before any shard is looked at: the settings, and problems of the output as a whole.
    """
    shards = sorted(results, key=lambda shard: shard.name)
    problems: dict[str, int] = dict(said["problems"])
    for shard in shards:
        for problem, count in shard.problems.items():
            problems[problem] = problems.get(problem, 0) + count
    names = ("records", "images", "residual_records", "residual_faces", "problem_records")
    totals = {name: sum(getattr(shard, name) for shard in shards) for name in names}
    looks = said["looks_for_faces"]
    found, of = totals["residual_records"], totals["records"]
    content = {
        "schema": 1,
        **said,
        **{name: ", ".join(sorted({getattr(s, name) for s in shards} - {""})) for name in _MACHINE},
        "totals": totals,
        "residual_share": found / of if looks and of else None,
        "problems": dict(sorted(problems.items())),
    }
    if said["sample"]:
        content["residual_interval"] = list(wilson_interval(found, of)) if looks else None
    content["shards"] = [{"name": shard.name, **{name: getattr(shard, name) for name in names}} for shard in shards]
    return content


_MACHINE = ("engine", "precision", "device")
