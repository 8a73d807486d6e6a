"""What a finished job tells its user."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_MAX_SCORES = 12
"""Of a photo's faces."""


def format_report(
    manifest: dict[str, Any],
    output: str,
    audit_directory: str,
    seconds: float | None = None,
    made: int | None = None,
    page: str | None = None,
) -> str:
    """A few lines about a finished job.

    Args:
        manifest: the job's.
        output: where it has written.
        audit_directory: where its audit trail is.
        seconds: that this run took; None if it had nothing to do.
        made: records that this run has made; None if unknown.
        page: the path of the page about it; None where there is none.

    Example usage::

        >>> totals = {"records": 3, "anonymized": 1, "no_faces": 1, "quarantined": 1, "faces": 4, "ignored": 0}
        >>> manifest = {"totals": totals, "quarantined_for": {"truncated": 1}, "shards": [{}]}
        >>> print(format_report(manifest, "out", "out.audit", 75.0, 3))
        3 records: 1 anonymized (4 faces), 1 without faces, 1 quarantined
          quarantined for: truncated 1; by name in out.audit, column `reason`
        1 shard and manifest.json in out
        3 records made in 1:15, 0.04 images/s
    """
    totals = manifest["totals"]
    given = f", {totals['given_faces']} of them given" if "given_faces" in totals else ""
    lines = [
        f"{counted(totals['records'], 'record')}: {totals['anonymized']} anonymized "
        f"({counted(totals['faces'], 'face')}{given}), "
        f"{totals['no_faces']} without faces, {totals['quarantined']} quarantined"
    ]
    if totals["quarantined"]:
        reasons = ", ".join(f"{reason} {count}" for reason, count in manifest["quarantined_for"].items())
        lines.append(f"  quarantined for: {reasons}; by name in {audit_directory}, column `reason`")
    if totals["ignored"]:
        ignored = counted(totals["ignored"], "file")
        lines.append(f"  {ignored} ignored as no images and no TFRecords; by ending in manifest.json, key `ignored`")
    lines.append(f"{_written(manifest)} and manifest.json in {output}")
    if seconds is not None:
        took = clock(seconds)
        rate = "" if not made else f", {made / seconds:.{1 if made >= seconds else 2}f} images/s"
        lines.append(f"took {took}" if made is None else f"{counted(made, 'record')} made in {took}{rate}")
    if page:
        lines.append(f"see {page}")
    return "\n".join(lines)


def _written(manifest: dict[str, Any]) -> str:
    """What lies in the output beside the manifest."""
    totals = manifest["totals"]
    if manifest.get("job", {}).get("format") != "images":
        return counted(len(manifest["shards"]), "shard")
    copied = f", {counted(totals['copied'], 'copied file')}" if "copied" in totals else ""
    return counted(totals["anonymized"] + totals["no_faces"], "image") + copied


def clock(seconds: float) -> str:
    """A span of time as people read it.

    Example usage::

        >>> clock(75.2), clock(7384)
        ('1:15', '2:03:04')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def counted(number: int, thing: str) -> str:
    """A number of things.

    Example usage::

        >>> counted(1, "record"), counted(0, "record")
        ('1 record', '0 records')
    """
    return f"{number} {thing}{'' if number == 1 else 's'}"


def faces_with_scores(scores: Sequence[float]) -> str:
    """How many faces there are, and the scores of the first.

    Example usage::

        >>> faces_with_scores([0.5]), faces_with_scores([0.75, 0.5])
        ('1 face, score 0.50', '2 faces, scores 0.75, 0.50')
    """
    shown = ", ".join(f"{score:.2f}" for score in scores[:_MAX_SCORES])
    more = ", …" if len(scores) > _MAX_SCORES else ""
    return f"{counted(len(scores), 'face')}, {'scores' if len(scores) > 1 else 'score'} {shown}{more}"


def quarantined_share(manifest: dict[str, Any]) -> float:
    """The share of the records that were quarantined, 0 to 1.

    Example usage::

        >>> quarantined_share({"totals": {"records": 8, "quarantined": 2}})
        0.25
    """
    totals = manifest["totals"]
    return float(totals["quarantined"] / totals["records"]) if totals["records"] else 0.0
