"""What a job ignores: files that are no inputs, counted by ending, with reasons and examples."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from faceveil.transforms.formats.kinds import NO_ENDING, is_known_ending

_MAX_ENDINGS = 1000  # counted one by one; names that end in numbers have no end of them
_MAX_TOLD = 50
_EXAMPLES = 3
_IN_A_LINE = 10
OTHER = "other"


@dataclass(frozen=True)
class IgnoredFile:
    """One file that is no input.

    Attributes:
        key: as that of an input.
        ending: under which it is counted.
        reason: why it is ignored.
    """

    key: str
    ending: str
    reason: str


@dataclass
class _Counted:
    """Files of one ending that are ignored for one reason, and the first of them by key."""

    files: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, files: int, examples: Iterable[str]) -> None:
        self.files += files
        self.examples = sorted([*self.examples, *examples])[:_EXAMPLES]


class IgnoredFiles:
    """Adds up ignored files, in a size that does not grow with them; their order does not matter.

    Example usage::

        >>> ignored = IgnoredFiles()
        >>> for key, ending in (("b.json", ".json"), ("a.json", ".json"), ("notes.txt", ".txt")):
        ...     ignored.add(IgnoredFile(key, ending, "no image"))
        >>> ignored.told()[".json"]
        {'files': 2, 'reasons': {'no image': 2}, 'examples': ['a.json', 'b.json']}
        >>> ignored.in_words()
        '2 .json (no image; such as a.json), 1 .txt (no image; such as notes.txt)'
    """

    def __init__(self) -> None:
        self.files = 0
        self._endings: dict[str, dict[str, _Counted]] = {}
        self._ranked: list[tuple[bool, int, str]] = []

    def add(self, file: IgnoredFile) -> None:
        """Counts a file."""
        self.files += 1
        ending = file.ending
        if ending not in self._endings:
            # Which are kept does not depend on their order: the first by their rank.
            insort(self._ranked, _rank(ending))
            self._endings[ending] = {}
            if len(self._ranked) > _MAX_ENDINGS:
                last = self._ranked.pop()[-1]
                self._merge(self._endings.pop(last))
                ending = ending if ending in self._endings else OTHER
        self._endings.setdefault(ending, {}).setdefault(file.reason, _Counted()).add(1, [file.key])

    def _merge(self, reasons: dict[str, _Counted]) -> None:
        """Counts files among the others."""
        others = self._endings.setdefault(OTHER, {})
        for reason, counted in reasons.items():
            others.setdefault(reason, _Counted()).add(counted.files, counted.examples)

    def told(self) -> dict[str, dict[str, Any]]:
        """``{ending: {"files": …, "reasons": {reason: files}, "examples": [key, …]}}``, for the audit trail."""
        told = {}
        for ending, reasons in self._merged().items():
            total = _Counted()
            for counted in reasons.values():
                total.add(counted.files, counted.examples)
            files = {reason: counted.files for reason, counted in sorted(reasons.items())}
            told[ending] = {"files": total.files, "reasons": files, "examples": total.examples}
        return dict(sorted(told.items()))

    def in_words(self) -> str:
        """How many files of which ending for which reason, with an example; the most frequent first."""
        counted = [
            (-counted.files, f"{ending} ({reason}; such as {printable(counted.examples[0])})")
            for ending, reasons in self._merged().items()
            for reason, counted in reasons.items()
        ]
        words = [f"{-files} {text}" for files, text in sorted(counted)]
        return ", ".join(words[:_IN_A_LINE]) + (", …" if len(words) > _IN_A_LINE else "")

    def _merged(self) -> dict[str, dict[str, _Counted]]:
        """By ending and reason; beyond the most frequent endings as others."""

        def rank(ending: str) -> tuple[bool, int, str]:
            return ending == OTHER, -sum(counted.files for counted in self._endings[ending].values()), ending

        merged: dict[str, dict[str, _Counted]] = {}
        for place, ending in enumerate(sorted(self._endings, key=rank)):
            into = merged.setdefault(ending if place < _MAX_TOLD else OTHER, {})
            for reason, counted in self._endings[ending].items():
                into.setdefault(reason, _Counted()).add(counted.files, counted.examples)
        return merged


def without_names(told: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What ``IgnoredFiles.told`` says, for publication: no examples, and endings that nobody knows put together.

    What stands behind the last dot of a name may be a part of it.

    Example usage::

        >>> told = {".json": {"files": 1, "reasons": {"no image": 1}, "examples": ["a.json"]}}
        >>> without_names({**told, ".weber": {"files": 1, "reasons": {"no image": 1}, "examples": ["anna.weber"]}})
        {'.json': {'files': 1, 'reasons': {'no image': 1}}, 'other': {'files': 1, 'reasons': {'no image': 1}}}
    """
    counted: dict[str, Counter[str]] = {}
    for ending, each in told.items():
        shown = ending if ending == NO_ENDING or is_known_ending(ending) else OTHER
        counted.setdefault(shown, Counter()).update(each["reasons"])
    return {
        ending: {"files": reasons.total(), "reasons": dict(sorted(reasons.items()))}
        for ending, reasons in sorted(counted.items())
    }


def _rank(ending: str) -> tuple[bool, int, str]:
    """Others first, then short ones without digits, for those of numbered names say nothing."""
    return any(map(str.isdigit, ending)), 0 if ending == OTHER else len(ending), ending


def printable(text: str) -> str:
    """A name without what would break a line or move the cursor.

    Example usage::

        >>> printable("Icon\\r"), printable("café")
        ('Icon\\\\r', 'café')
    """
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
