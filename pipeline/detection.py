"""From a job's options to its detector and its generator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from faceveil.pipeline.options import JobOptions
from faceveil.transforms import storage
from faceveil.transforms.anonymizers import SYNTHESIZE
from faceveil.transforms.detectors.detector import DetectorConfig
from faceveil.transforms.detectors.detector_files import detector_digest, local_detector
from faceveil.transforms.detectors.models import resolve_model
from faceveil.transforms.errors import ModelError
from faceveil.transforms.generators.embedded import embedded_generator
from faceveil.transforms.generators.synthesize import SynthesisConfig
from faceveil.transforms.models.saved_model import model_digest


@dataclass(frozen=True)
class ResolvedModel:
    """A model that ``--model`` names.

    Attributes:
        name: its name, or its folder's.
        directory: the SavedModel, or for a detector also an ONNX file, here or in an object store.
        sha256: its identity.
    """

    name: str
    directory: str
    sha256: str


def resolve_models(names: Sequence[str]) -> list[ResolvedModel]:
    """Finds the models, building those that are known by name if need be.

    Raises:
        ModelError: one is neither known nor a SavedModel or an ONNX file.
        AccessError: one cannot be reached.
    """
    found = []
    for name in names:
        directory = str(resolve_model(name)) if storage.is_local(name) else name
        digest = detector_digest(local_detector(directory))
        found.append(ResolvedModel(_name(name), directory, digest))
    return found


def _name(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[-1]


def resolve_generator(options: JobOptions) -> ResolvedModel | None:
    """Finds the generator, building the embedded one if need be; None where the method needs none.

    Raises:
        ModelError: it is no SavedModel, or could not be built.
        AccessError: it cannot be reached.
    """
    return find_generator(options.generator) if options.method == SYNTHESIZE else None


def find_generator(named: str | None) -> ResolvedModel:
    """Finds a generator by its folder; None for the embedded one.

    Raises:
        ModelError: it is no SavedModel, or could not be built.
        AccessError: it cannot be reached.
    """
    directory = named or str(embedded_generator())
    try:
        digest = model_digest(storage.local_copy(directory))
    except ModelError as error:
        raise ModelError(f"--generator: {error}") from error
    return ResolvedModel("embedded" if named is None else _name(directory), directory, digest)


def synthesis_config(options: JobOptions, generator: ResolvedModel | None) -> SynthesisConfig | None:
    """How new faces are made, if any are."""
    salt = options.face_salt
    if generator is None or salt is None:
        return None
    return SynthesisConfig(generator.directory, salt, options.fallback_method, options.engine, options.precision)


def detector_config(
    options: JobOptions, directories: Sequence[str], score_threshold: float, threads: int = 1
) -> DetectorConfig:
    """The detector's configuration, with the models that lie in these folders.

    Args:
        options: the job's.
        directories: the models' folders, or ONNX files.
        score_threshold: least score of a face.
        threads: how many will detect at once; a job's workers find that out themselves.
    """
    choice = options.detector
    return DetectorConfig(
        model_dirs=tuple(directories),
        engine=options.engine,
        precision=options.precision,
        score_threshold=score_threshold,
        quality=choice.quality,
        classes=options.classes,
        threads=threads,
        shares_views=choice.shares_views,
        verifies=choice.verifies,
    )
