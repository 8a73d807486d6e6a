"""Training the same detector on photos anonymized in each way, and telling which of them spoils them least."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faceveil
from faceveil.evaluation.anonymizers import NONE, compare_methods
from faceveil.evaluation.anonymizers_report import comparison_page, describe_comparison, format_comparison
from faceveil.pipeline.anonymized_photos import LABEL, AnonymizedSet, anonymize_all, in_all, job_options
from faceveil.pipeline.console import say, say_result
from faceveil.pipeline.option_values import OptionError, Range
from faceveil.pipeline.report import clock
from faceveil.pipeline.training_options import (
    annotated_photos,
    checked_number,
    local_file,
    local_path,
    model_options,
    tell_left_out,
)
from faceveil.training.checkpoint import read_checkpoint
from faceveil.training.photos import AnnotatedPhoto, labels_of, merge_labels, photos_digest, without_copies
from faceveil.training.results import read_results, write_results
from faceveil.training.settings import TrainingFolder, TrainingSettings, claim_folder, locked_folder
from faceveil.transforms import storage
from faceveil.transforms.anonymizers import METHOD_NAMES, SYNTHESIZE

_SCHEMA = 1
_COMPARISON = "comparison of anonymizers"
_JSON, _PAGE = "anonymizers.json", "anonymizers.html"
_LEARNING_RATE = 0.001
"""As ``train-detector`` has it."""


@dataclass(frozen=True)
class _Trial:
    """One training: on which photos, how, from which seed, and where."""

    method: str
    settings: TrainingSettings
    folder: TrainingFolder

    @property
    def results(self) -> Path:
        """What its detector finds on the test photos; once that is there, all is done."""
        return self.folder.root / "test.npz"

    def __str__(self) -> str:
        return f"{self.method}, seed {self.settings.seed}"


def evaluate_anonymizers(given: argparse.Namespace) -> None:
    """Compares anonymizers as the sub-command's arguments say, and reports.

    Raises:
        OptionError: an option's value is not allowed, or annotations do not fit their format or the photos.
        OutputError: the output holds another comparison, or one is writing there.
        AccessError: photos or annotations cannot be read, or the output not be written.
        ModelError: a model cannot be loaded, weights do not fit, or a training failed.
    """
    if not importlib.util.find_spec("matplotlib"):
        raise OptionError(f"{_PAGE} needs matplotlib; run `pip install 'faceveil[evaluate]'`")
    methods = _methods(given)
    seeds = checked_number(given, "seeds", int, Range(2, 100))
    model = {**model_options(given), "init": local_file(given, "init")}
    # Absolute, so that a folder's name is taken for nothing else where the job gets it.
    root = Path(local_path(given.output, "--output")).resolve()
    jobs = {name: job_options(name, root / "photos", given.salt_file) for name in methods if name != NONE}
    photos, test, left_out = _photos(given)
    identity = _identity(model, photos, test)
    with locked_folder(root, _COMPARISON):
        claim_folder(root / "experiment.json", identity, _COMPARISON)
        tell_left_out(left_out, _JSON)
        sets = list(anonymize_all(photos, jobs, root / "photos"))
        places = in_all(sets)
        _check_left(sets, places, len(photos))
        learnt = {each.method: [each.photos[place] for place in places] for each in sets}
        trials = [
            _Trial(method, _settings(model, seed), TrainingFolder(root / "trainings" / f"{method}-{seed}"))
            for seed in range(seeds)
            for method in methods
        ]
        seconds = _train_all(trials, learnt, test)
        results = {
            method: [read_results(trial.results) for trial in trials if trial.method == method] for method in methods
        }
        if not results[NONE][0]:
            raise OptionError(f"--test {' '.join(given.test)}: none of its photos can be decoded")
        content = {
            "schema": _SCHEMA,
            "version": faceveil.__version__,
            "settings": {**model, "init": model["init"] and Path(model["init"]).name, "learning_rate": _LEARNING_RATE},
            "seeds": seeds,
            "training": _counted(learnt[NONE]),
            "test": _counted(test),
            "left_out": left_out,
            "methods": [{"method": each.method, **each.counts} for each in sets],
            "bands": describe_comparison(compare_methods(results)),
        }
        storage.write_bytes(str(root / _JSON), json.dumps(content, indent=1).encode())
        storage.write_bytes(str(root / _PAGE), comparison_page(content).encode())
    told = f"{len(trials)} trainings" if not seconds else f"{len(trials)} trainings, {clock(seconds)} for this run's"
    say_result(f"{format_comparison(content['bands'])}\n\n{told}; {_JSON} and {_PAGE} in {root}")


def _methods(given: argparse.Namespace) -> list[str]:
    """The methods in the order in which they are given, ``NONE`` first."""
    known = (NONE, *METHOD_NAMES, SYNTHESIZE)
    named = [name for text in given.methods for name in text.split(",")]
    for name in named:
        if name not in known:
            raise OptionError(f"--methods {name}: must be one of {', '.join(known)}")
    methods = list(dict.fromkeys([NONE, *named]))
    if len(methods) == 1:
        raise OptionError(f"--methods {NONE}: leaves nothing to compare with it; name another method, too")
    if given.salt_file and SYNTHESIZE not in methods:
        raise OptionError(f"--salt_file: is for --methods {SYNTHESIZE}, not {' '.join(methods)}")
    return methods


def _photos(given: argparse.Namespace) -> tuple[list[AnnotatedPhoto], list[AnnotatedPhoto], dict[str, str]]:
    """The photos to train on, those to test on, and why others are left out."""
    photos, left_out = annotated_photos(given.data, given.images, "--data")
    test, more_left_out = annotated_photos(given.test, given.test_images, "--test")
    apart = without_copies(photos, test)
    if len(apart) < len(photos):
        say(f"faceveil: photos of --data that --test has, too, are not trained on: {len(photos) - len(apart)}")
    apart, test = (merge_labels(some, LABEL) for some in (apart, test))
    for option, some in (("--data", apart), ("--test", test)):
        if not labels_of(some):
            what = "train" if option == "--data" else "test"
            raise OptionError(
                f"{option} {' '.join(getattr(given, option[2:]))}: leaves no photo with a face to {what} on"
            )
    return apart, test, left_out | more_left_out


def _identity(
    model: dict[str, Any], photos: Sequence[AnnotatedPhoto], test: Sequence[AnnotatedPhoto]
) -> dict[str, Any]:
    """What makes two comparisons the same; methods and seeds may be added to one."""
    init = model["init"]
    if init:
        read_checkpoint(Path(init))
    return {
        "schema": _SCHEMA,
        **model,
        "init": init and hashlib.sha256(Path(init).read_bytes()).hexdigest(),
        "data": {"count": len(photos), "sha256": photos_digest(photos)},
        "test": {"count": len(test), "sha256": photos_digest(test)},
    }


def _settings(model: dict[str, Any], seed: int) -> TrainingSettings:
    # Nothing is measured on the way: the last weights count, so that no photo chooses among them.
    return TrainingSettings(
        **model, labels=(LABEL,), learning_rate=_LEARNING_RATE, seed=seed, validate_every=model["epochs"]
    )


def _check_left(sets: Sequence[AnonymizedSet], places: Sequence[int], count: int) -> None:
    if len(places) < count:
        lost = ", ".join(f"{each.method} {count - len(each.photos)}" for each in sets if len(each.photos) < count)
        say(f"faceveil: {count - len(places)} of {count} photos are trained on by none, for jobs quarantined: {lost}")
    if not places or not labels_of([sets[0].photos[place] for place in places]):
        raise OptionError("--data: leaves no photo with a face that all methods could anonymize")


def _counted(photos: Sequence[AnnotatedPhoto]) -> dict[str, int]:
    return {"photos": len(photos), "faces": sum(int((~photo.annotated.ignored).sum()) for photo in photos)}


def _train_all(
    trials: Sequence[_Trial], learnt: dict[str, list[AnnotatedPhoto]], test: Sequence[AnnotatedPhoto]
) -> float:
    """Trains and tests what is not done yet; the seconds that took."""
    began = time.monotonic()
    for trial in trials:
        # Finished ones, too: a method that is added may have cost photos that they have learnt from.
        photos = learnt[trial.method]
        with trial.folder.locked():
            trial.folder.claim(trial.settings, {"photos": {"count": len(photos), "sha256": photos_digest(photos)}})
    waiting = [trial for trial in trials if not trial.results.exists()]
    if len(waiting) < len(trials):
        say(f"resuming: {len(trials) - len(waiting)} of {len(trials)} trainings are done")
    for number, trial in enumerate(waiting):
        left = f"; {clock((time.monotonic() - began) / number * (len(waiting) - number))} left" if number else ""
        say(f"training {len(trials) - len(waiting) + number + 1} of {len(trials)}: {trial}{left}")
        with trial.folder.locked():
            _train(trial, learnt[trial.method], test)
    return time.monotonic() - began if waiting else 0


def _train(trial: _Trial, photos: Sequence[AnnotatedPhoto], test: Sequence[AnnotatedPhoto]) -> None:
    """Trains from the seed or from where it was interrupted, without a look at the test photos, and then tests."""
    from faceveil.training.detections import detect_with  # these load TensorFlow
    from faceveil.training.fit import train

    train(trial.settings, photos, [], trial.folder, lambda line: say(f"  {line}"))
    write_results(trial.results, detect_with(trial.folder.best, trial.settings, test))
