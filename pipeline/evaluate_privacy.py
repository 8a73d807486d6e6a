"""Measuring how many persons are recognised after each way to anonymize, and telling what came of it."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import importlib.util
import itertools
import json
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from tqdm import tqdm

import faceveil
from faceveil.evaluation.detect import find_faces
from faceveil.evaluation.pictures import FacePicture, cut_out
from faceveil.evaluation.privacy import AROUND, LARGEST_SIDE, SURROUNDINGS, Experiment, divide, guessed, recognise
from faceveil.evaluation.privacy_report import describe_recognition, draw_recognition, format_recognition
from faceveil.evaluation.release import anonymized
from faceveil.pipeline.console import say, say_result
from faceveil.pipeline.detection import ResolvedModel, detector_config, find_generator, resolve_models
from faceveil.pipeline.identities import IdentityPhoto, read_identities
from faceveil.pipeline.option_parsing import check_flags
from faceveil.pipeline.option_values import OptionError, parse_path
from faceveil.pipeline.options import FIELDS, JobOptions
from faceveil.transforms import storage
from faceveil.transforms.anonymizers import SYNTHESIZE, WITH_STRENGTH
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.codecs import decode_for_detection, probe
from faceveil.transforms.detectors.detector import Detector
from faceveil.transforms.detectors.detector_files import local_detector
from faceveil.transforms.errors import AccessError
from faceveil.transforms.generators.synthesize import SynthesisConfig, Synthesizer
from faceveil.transforms.quarantine import Quarantine
from faceveil.transforms.runtime.pool import usable_cores
from faceveil.transforms.shard.anonymize import Masking

_FILE = "privacy.json"
_PHOTOS_AT_ONCE = 32
_SALT = bytes(32)
"""Chance enough here: what is drawn is published nowhere."""


@dataclass(frozen=True)
class _Way:
    """One row of the table.

    Attributes:
        label: its name.
        settings: what makes it the same in another run.
        masking: how faces are masked; None for not at all.
        around: how much attackers see beside the face.
    """

    label: str
    settings: dict[str, Any]
    masking: Masking | None
    around: float = 0


def evaluate_privacy(given: argparse.Namespace) -> None:
    """Measures recognition as the sub-command's arguments say, and reports.

    Raises:
        OptionError: an option's value is not allowed, or there are not enough persons.
        AccessError: a photo cannot be read, or the output cannot be written.
        ModelError: a model cannot be loaded.
    """
    # This output is another one than a job's.
    flags = {name: value for name, value in vars(given).items() if name in FIELDS and name != "output"}
    options = JobOptions(**check_flags(flags))
    methods = tuple(dict.fromkeys(given.methods))
    _check(given, flags.keys(), methods)
    output = parse_path(given.output) if given.output else None
    before = _read_before(output)
    threads = usable_cores()
    generator = find_generator(options.generator) if SYNTHESIZE in methods else None
    photos = read_identities(given.identities, given.identity_feature, options.image_feature[0])
    people, faceless = _find_people(photos, _load_detector(options, threads), threads)
    try:
        experiment = divide(people)
    except ValueError as error:
        raise OptionError(f"--identities {given.identities}: {error}") from error
    content: dict[str, Any] = {
        "schema": 1,
        "identities": given.identities,
        "persons": experiment.persons,
        "photos_known": len(experiment.known),
        "photos_published": len(experiment.probes),
        "photos_without_face": faceless,
        "chance": 1 / experiment.persons,
        "data_sha256": _digest(experiment),
        "version": faceveil.__version__,
    }
    same = all(before.get(name) == content[name] for name in ("data_sha256", "version"))
    if before and not same:
        say(f"--output {output}: {_FILE} is of other photos or another version; starting anew")
    results: list[dict[str, Any]] = before["results"] if before and same else []
    ways = [way for way in _ways(options, methods, generator, threads) if not _is_done(way, results)]
    if ways:
        _write(output, content, results)  # what cannot be written is known before the work is done
    if results:
        say(f"resuming: {len(results)} ways to anonymize are done")
    for way in tqdm(ways, unit=" methods", disable=not sys.stderr.isatty()):
        release = partial(anonymized, masking=way.masking, threads=threads)
        found = describe_recognition(recognise(experiment, release, way.around))
        results.append({"label": way.label, "how": way.settings, "settings": found})
        _write(output, content, results)
    _report(content, results, output)


def _check(given: argparse.Namespace, named: Collection[str], methods: Sequence[str]) -> None:
    """Refuses what would do nothing, and what cannot be drawn in the end."""
    if given.output and not importlib.util.find_spec("matplotlib"):
        raise OptionError("--output: privacy.png needs matplotlib; run `pip install 'faceveil[evaluate]'`")
    for name in ("generator", "fallback_method"):
        if name in named and SYNTHESIZE not in methods:
            raise OptionError(f"--{name}: is for --methods {SYNTHESIZE}, not {' '.join(methods)}")
    if "strength" in named and not {*WITH_STRENGTH, SYNTHESIZE} & set(methods):
        raise OptionError(f"--strength: is for {' and '.join(WITH_STRENGTH)}; --methods {' '.join(methods)} have none")
    if "image_feature" in named and given.identity_feature is None:
        raise OptionError("--image_feature: is for Examples, which need --identity_feature, too")


def _read_before(output: str | None) -> dict[str, Any]:
    """What an earlier run has found."""
    path = storage.join(output, _FILE) if output else None
    if path is None or not storage.exists(path):
        return {}
    try:
        content: dict[str, Any] = json.loads(storage.read_bytes(path))
        format_recognition(content["results"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise OptionError(f"--output {output}: {path} is no result of faceveil evaluate privacy: {error}") from error
    return content


def _load_detector(options: JobOptions, threads: int) -> Detector:
    directories = [local_detector(model.directory) for model in resolve_models(options.detector.models)]
    return Detector(detector_config(options, directories, options.score_threshold, threads))


def _find_people(
    photos: Iterable[IdentityPhoto], detector: Detector, threads: int
) -> tuple[dict[str, list[FacePicture]], int]:
    """The largest face of each photo, by person, and in how many photos there is none."""
    people: dict[str, list[FacePicture]] = {}
    faceless = 0
    waiting = iter(tqdm(photos, unit=" photos", disable=not sys.stderr.isatty()))
    with ThreadPoolExecutor(threads) as pool:
        # The pool takes all that it is given at once, and photos are large.
        while some := list(itertools.islice(waiting, _PHOTOS_AT_ONCE)):
            for photo, picture in zip(some, pool.map(partial(_find_person, detector), some), strict=True):
                if picture is None:
                    faceless += 1
                else:
                    people.setdefault(photo.person, []).append(picture)
    return people, faceless


def _find_person(detector: Detector, photo: IdentityPhoto) -> FacePicture | None:
    try:
        info = probe(photo.data)
        faces = find_faces(detector, photo.data, info)
        shown = next(iter(decode_for_detection(photo.data, info, max(info.width, info.height)).renderings()))
    except Quarantine as error:
        raise AccessError(f"--identities: {photo.key}: cannot be decoded: {error}; take it out") from error
    if not len(faces):
        return None
    sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
    return cut_out(shown.rgb, faces, int(sides.prod(axis=1).argmax()), AROUND, LARGEST_SIDE)


def _ways(options: JobOptions, methods: Sequence[str], generator: ResolvedModel | None, threads: int) -> Iterator[_Way]:
    """Every row of the table; a generator is loaded when its turn comes."""
    yield _Way("none", {"method": "none"}, None)
    hidden = Masking("solid", Style(), allow_label_maps=True)
    yield _Way("surroundings", {"method": "surroundings"}, hidden, SURROUNDINGS)
    for method in methods:
        geometry = options.geometry_of(method)
        settings: dict[str, Any] = {"method": method, **dataclasses.asdict(geometry)}
        changes = [name for name in ("coverage", "margin", "shape") if getattr(options, name) != FIELDS[name].default]
        if method in WITH_STRENGTH or (method == SYNTHESIZE and options.fallback_method in WITH_STRENGTH):
            settings["strength"] = options.strength
            changes += ["strength"] if options.strength != FIELDS["strength"].default else []
        synthesizer = None
        if method == SYNTHESIZE and generator:
            settings |= {"generator": generator.sha256, "fallback_method": options.fallback_method}
            # Nobody who attacks knows the salt: releases of other names are drawn as by another one.
            config = SynthesisConfig(
                storage.local_copy(generator.directory), _SALT, options.fallback_method, threads=threads
            )
            synthesizer = Synthesizer(config)
        label = ", ".join([method, *(f"{name} {settings[name]:g}" for name in changes if name != "shape")])
        label += f", {options.shape}" if "shape" in changes else ""
        yield _Way(label, settings, Masking(method, Style(geometry, options.strength), synthesizer, True))


def _is_done(way: _Way, results: Sequence[Mapping[str, Any]]) -> bool:
    return any(result.get("how") == way.settings for result in results)


def _digest(experiment: Experiment) -> str:
    """Of all pixels, boxes and persons."""
    digest = hashlib.sha256()
    for pictures, persons in (
        (experiment.known, experiment.known_persons),
        (experiment.probes, experiment.probe_persons),
    ):
        for picture, person in zip(pictures, persons.tolist(), strict=True):
            digest.update(f"{person} {picture.image.shape} {picture.faces.boxes.tolist()}".encode())
            digest.update(picture.image.tobytes())
    return digest.hexdigest()


def _write(output: str | None, content: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> None:
    if output:
        data = json.dumps({**content, "results": results}, indent=1).encode()
        storage.write_bytes(storage.join(output, _FILE), data)


def _report(content: Mapping[str, Any], results: Sequence[Mapping[str, Any]], output: str | None) -> None:
    """Prints the table, and draws the plot if there is an output."""
    tries = sum(attack["variants"] for attack in results[0]["settings"]["same_photo"]["attacks"])
    beyond = guessed(content["persons"], content["photos_published"], tries)
    say_result(
        f"{content['persons']} persons, {content['photos_known']} photos that the attacker has, "
        f"{content['photos_published']} published ({content['photos_without_face']} without a face left out)\n"
        f"chance {content['chance']:.4f}; the best of {tries} attackers who guess stays at or below {beyond:.4f}\n\n"
        f"{format_recognition(results)}"
    )
    if output:
        storage.write_bytes(storage.join(output, "privacy.png"), draw_recognition(results, content["chance"]))
        say_result(f"\n{_FILE} and privacy.png in {output}")
