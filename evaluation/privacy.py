"""How many persons are still recognised once their faces are anonymized."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faceveil.evaluation.attackers import ATTACKS, Persons, Views, attempts, view
from faceveil.evaluation.bootstrap import CONFIDENCE, Interval, interval_of_share, resampled_counts
from faceveil.evaluation.pictures import FRAME, FacePicture, changed, copied
from faceveil.transforms.arrays import FloatArray

SETTINGS = ("same_photo", "another_photo", "averaged_frames")
"""What the attacker compares an anonymized photo with: a copy of the same photo, other photos of everybody; and the
same with the average of several anonymized frames."""

FRAMES_AVERAGED = 10
"""That are averaged."""

AROUND = 1.0
"""How much of its surroundings a face is cut out with, in sides of its box: as much as any method looks at."""
LARGEST_SIDE = 64
"""Pixels that larger faces are reduced to: attackers see half of that, and thousands of frames take minutes."""

MIN_PERSONS = 10
"""Among fewer, guessing is too often right."""
MIN_PHOTOS = 3
"""Of each person: two to learn from, one to recognise."""

_PROBE_SHARE = 1 / 3
_COPY_SCALE, _COPY_QUALITY = 0.8, 75
SURROUNDINGS = 0.5
"""How much of them the control without a face sees, in sides of the box."""

Release = Callable[[Sequence[FacePicture], str], list[FacePicture]]
"""Anonymizes pictures; the second argument tells one release from another, as another salt would."""


@dataclass(frozen=True)
class Experiment:
    """Photos of persons, divided.

    Attributes:
        known: what the attacker has; of every person.
        known_persons: whose.
        probes: what is anonymized and published; of every person, too.
        probe_persons: whose.
    """

    known: list[FacePicture]
    known_persons: Persons
    probes: list[FacePicture]
    probe_persons: Persons

    @property
    def persons(self) -> int:
        """How many there are."""
        return len(np.unique(self.probe_persons))


def divide(photos: Mapping[str, Sequence[FacePicture]]) -> Experiment:
    """Gives the first two thirds of each person's photos to the attacker, and anonymizes the others.

    Args:
        photos: of each person, in order; those with fewer than ``MIN_PHOTOS`` are left out.

    Raises:
        ValueError: fewer than ``MIN_PERSONS`` are left.
    """
    enough = [pictures for _, pictures in sorted(photos.items()) if len(pictures) >= MIN_PHOTOS]
    if len(enough) < MIN_PERSONS:
        raise ValueError(
            f"{len(enough)} persons have {MIN_PHOTOS} photos with a face or more; {MIN_PERSONS} persons are needed"
        )
    known: list[tuple[FacePicture, int]] = []
    probes: list[tuple[FacePicture, int]] = []
    for person, pictures in enumerate(enough):
        first = len(pictures) - max(1, int(len(pictures) * _PROBE_SHARE))
        known += [(picture, person) for picture in pictures[:first]]
        probes += [(picture, person) for picture in pictures[first:]]
    return Experiment(
        *([picture for picture, _ in known], np.array([person for _, person in known])),
        *([picture for picture, _ in probes], np.array([person for _, person in probes])),
    )


@dataclass(frozen=True)
class Recognition:
    """How many persons one attack recognises in one setting.

    Attributes:
        setting: one of ``SETTINGS``.
        attack: one of ``attackers.ATTACKS``.
        variant: of the attack, the best.
        variants: how many were tried.
        share: of the persons; one of whom some photos are recognised counts in part.
        interval: of the share, by resampling persons.
    """

    setting: str
    attack: str
    variant: str
    variants: int
    share: float
    interval: Interval


def recognise(experiment: Experiment, release: Release, around: float = 0) -> list[Recognition]:
    """Has all attacks try to recognise the persons in all settings.

    Args:
        experiment: the photos.
        release: anonymizes them, for those who publish and for the attacker alike.
        around: how much of the surroundings attackers see, in sides of the face's box; 0 for the face alone.
    """

    def seen(pictures: Sequence[FacePicture], name: str) -> FloatArray:
        return np.stack([view(picture, around) for picture in release(pictures, name)])

    def seen_on_average(number: int, picture: FacePicture) -> FloatArray:
        random = np.random.default_rng((0, number))
        frames = [
            FacePicture(changed(picture.image, picture.box, FRAME, random), picture.faces)
            for _ in range(FRAMES_AVERAGED)
        ]
        average: FloatArray = seen(frames, f"frames of {number}").mean(axis=0)
        return average

    copies = [copied(picture, _COPY_SCALE, _COPY_QUALITY) for picture in experiment.probes]
    persons = experiment.probe_persons
    known = Views(seen(experiment.known, "known"), experiment.known_persons)
    published = Views(seen(experiment.probes, "published"), persons)
    averaged = Views(np.stack(list(map(seen_on_average, range(len(persons)), experiment.probes))), persons)
    tries = {
        "same_photo": (Views(seen(copies, "copies"), persons), published),
        "another_photo": (known, published),
        "averaged_frames": (known, averaged),
    }
    found = []
    for attack, learn in ATTACKS.items():
        compare = learn(known)
        for setting, (references, unknown) in tries.items():
            recognised = attempts(compare, references, unknown)
            variant = max(recognised, key=lambda name: recognised[name].mean())
            share, interval = share_of_persons(recognised[variant], unknown.persons)
            found.append(Recognition(setting, attack, variant, len(recognised), share, interval))
    return found


def share_of_persons(recognised: NDArray[np.float64], persons: Persons) -> tuple[float, Interval]:
    """The mean over persons of the share of their photos that are recognised, and its interval.

    Args:
        recognised: ``[N]``, 0 to 1, which photos are.
        persons: ``[N]``, whose they are.
    """
    numbers = np.unique(persons, return_inverse=True)[1]
    each = np.bincount(numbers, recognised) / np.bincount(numbers)
    share = float(each.mean())
    return share, interval_of_share(share, len(each), resampled_counts(len(each)) @ each / len(each))


def guessed(persons: int, probes: int, tries: int) -> float:
    """The share that the best of many attackers who only guess stays below, with ``CONFIDENCE``.

    Each of them is right in one of so many persons, for every photo by itself (Bonferroni's bound).

    Args:
        persons: how many there are to choose from.
        probes: how many photos are guessed at.
        tries: how many attackers guess.

    Example usage::

        >>> guessed(persons=100, probes=100, tries=1), guessed(persons=100, probes=100, tries=50)
        (0.03, 0.05)
    """
    beyond = (1 - CONFIDENCE) / tries
    tail, hits = 1.0, -1
    while tail > beyond:
        hits += 1
        ways = math.lgamma(probes + 1) - math.lgamma(hits + 1) - math.lgamma(probes - hits + 1)
        tail -= math.exp(ways - hits * math.log(persons) + (probes - hits) * math.log1p(-1 / persons))
    return hits / probes
