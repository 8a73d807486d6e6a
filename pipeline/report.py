"""What a finished job tells its user."""

from __future__ import annotations

from typing import Any


def format_report(manifest: dict[str, Any], output: str, records_output: str) -> str:
    """A few lines about a job's manifest.

    Example usage::

        >>> totals = {"records": 3, "anonymized": 1, "no_faces": 1, "quarantined": 1, "faces": 4, "ignored": 0}
        >>> manifest = {"totals": totals, "quarantined_for": {"truncated": 1}, "shards": [{}]}
        >>> print(format_report(manifest, "out", "out/records"))
        3 records: 1 anonymized (4 faces), 1 without faces, 1 quarantined
          quarantined for: truncated 1; by name in out/records, column `reason`
        1 shard and manifest.json in out
    """
    totals = manifest["totals"]
    lines = [
        f"{totals['records']} records: {totals['anonymized']} anonymized ({totals['faces']} faces), "
        f"{totals['no_faces']} without faces, {totals['quarantined']} quarantined"
    ]
    if totals["quarantined"]:
        reasons = ", ".join(f"{reason} {count}" for reason, count in manifest["quarantined_for"].items())
        lines.append(f"  quarantined for: {reasons}; by name in {records_output}, column `reason`")
    if totals["ignored"]:
        files = f"{totals['ignored']} file{'' if totals['ignored'] == 1 else 's'}"
        lines.append(f"  {files} ignored as no images and no TFRecords; by ending in manifest.json, key `ignored`")
    shards = len(manifest["shards"])
    lines.append(f"{shards} shard{'' if shards == 1 else 's'} and manifest.json in {output}")
    return "\n".join(lines)


def quarantined_share(manifest: dict[str, Any]) -> float:
    """The share of the records that were quarantined, 0 to 1.

    Example usage::

        >>> quarantined_share({"totals": {"records": 8, "quarantined": 2}})
        0.25
    """
    totals = manifest["totals"]
    return float(totals["quarantined"] / totals["records"]) if totals["records"] else 0.0
