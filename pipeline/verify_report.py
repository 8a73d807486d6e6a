"""What ``faceveil verify`` tells its user."""

from __future__ import annotations

import io
import shlex
from collections.abc import Sequence
from typing import Any

import pyarrow.parquet as pq

from faceveil.pipeline.report import faces_with_scores
from faceveil.transforms import storage
from faceveil.transforms.inputs.ignored import printable

Residual = tuple[str, list[float]]
"""The key of a record, and the scores of its faces outside their masks."""

_MAX_EXAMPLES = 5


def is_fine(content: dict[str, Any], max_residual: float) -> bool:
    """Whether an output is what a job has written, and no more of its records than allowed have faces outside masks.

    Args:
        content: of the file of results.
        max_residual: the share that is allowed.

    Example usage::

        >>> is_fine({"problems": {}, "residual_share": 0.02}, 0.01)
        False
    """
    mended = content.get("mended", {}).get("records", 0)
    share = content["residual_share"] or 0.0
    if mended:
        share *= 1 - mended / content["totals"]["residual_records"]
    return not content["problems"] and share <= max_residual


def format_findings(content: dict[str, Any], output: str, place: str, examples: Sequence[Residual] = ()) -> str:
    """A few lines about an output that was looked at.

    Args:
        content: of the file of results.
        output: what was looked at.
        place: where the findings are.
        examples: records with faces outside their masks, and the faces' scores.
    """
    totals = content["totals"]
    of = f" of {content['sample']['of']}, chosen at random" if content["sample"] else ""
    lines = [f"{output}: looked again", f"  records: {totals['records']}{of}", f"  images: {totals['images']}"]
    if content["looks_for_faces"]:
        share = content["residual_share"]
        told = "" if share is None else f" ({share:.2%})"
        if share is not None and content["sample"]:
            low, high = content["residual_interval"]
            told += f"; of all records {low:.2%} to {high:.2%}, with 95 % confidence"
        lines.append(f"  faces outside the masks: {totals['residual_faces']}")
        lines.append(f"  records with such faces: {totals['residual_records']}{told}")
    if mended := content.get("mended"):
        done = f"{mended['faces']} faces of {mended['records']} records"
        lines.append(f"  masked: {done}" if mended["action"] == "fix" else f"  taken out: {mended['records']} records")
        if mended["failed"]:
            lines.append(f"  could not be made again, and are as they were: {mended['failed']} records")
    problems = ", ".join(f"{name} {count}" for name, count in content["problems"].items())
    lines.append(f"  problems: {problems or 'none'}")
    lines += [f"  not checked: {why}" for why in content["not_checked"]]
    lines += [f"  {printable(key)}: {faces_with_scores(scores)}" for key, scores in examples]
    if totals["residual_records"] or content["problems"]:
        lines.append(f"each by name in {place}")
    spelt = [key for key, _ in examples if printable(key) == key]  # so that a shell takes it as it is told
    if spelt and not mended:
        key = shlex.quote(spelt[0])
        lines.append(f"`faceveil inspect {output} --key {key} --extract DIR` writes that one to look at")
    if totals["residual_records"] and not mended:
        whole = ", after a look at all records" if content["sample"] else ""
        lines.append(f"`faceveil verify {output} --fix` masks these faces{whole}; --drop takes out their records")
    return "\n".join(lines)


def find_examples(content: dict[str, Any], place: str) -> list[Residual]:
    """The first records with faces outside their masks.

    Args:
        content: of the file of results.
        place: the folder of the findings by name.

    Raises:
        AccessError: storage cannot be reached.
    """
    found: dict[str, list[float]] = {}
    for shard in content["shards"]:
        if not shard["residual_records"] or len(found) >= _MAX_EXAMPLES:
            continue
        data = storage.read_bytes(storage.join(place, f"{shard['name']}.parquet"))
        for row in pq.read_table(io.BytesIO(data), columns=["key", "faces"]).to_pylist():
            if row["faces"]:
                found.setdefault(row["key"], []).extend(face["score"] for face in row["faces"])
    return list(found.items())[:_MAX_EXAMPLES]
