"""Single images in Python programs: for notebooks, and for what loads data for a training."""

from __future__ import annotations

import ctypes
import functools
import math
import os
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import count, zip_longest
from typing import Any, TypeVar, cast

import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.utils.shared import Shared
from PIL import ImageFile

from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import JobOptions
from faceveil.pipeline.prepare import prepare_images
from faceveil.transforms.anonymizers import SYNTHESIZE
from faceveil.transforms.arrays import RGB
from faceveil.transforms.errors import Error
from faceveil.transforms.faces import Faces
from faceveil.transforms.quarantine import Quarantine
from faceveil.transforms.shard.read import Source, array_of, array_source, image_source
from faceveil.transforms.shard.record import Outcome, quarantine_of
from faceveil.transforms.shard.worker import Worker, anonymize_in_memory, detect_in_memory

Image = TypeVar("Image", bytes, RGB)
"""An encoded image, or uint8 ``[H, W, 3]`` of RGB, upright."""


class Anonymizer:
    """Anonymizes images one by one or many at once: encoded ones as bytes, decoded ones as arrays.

    It may be called by several threads, and be pickled for other processes. Each process loads the model once, when
    the first image comes, and keeps it; so make one and keep it, too. Native code that crashes or hangs at an image
    does so in this process: for images from strangers, take ``run``.

    Args:
        options: how images are anonymized. Options about data sets, such as ``output``, have to be left out.
        threads: how many images are worked on at once; None for one on every core.
        named: the options, or some of them, by name.

    Raises:
        OptionError: an option's value does not fit, or is about data sets.
        AccessError: a model cannot be reached.
        ModelError: a model cannot be found.
        TypeError: an option is unknown.

    Example usage::

        anonymizer = Anonymizer(method="pixelate")
        anonymized = anonymizer.anonymize(Path("photo.jpg").read_bytes())
        anonymizer.find_faces(photo).boxes
    """

    def __init__(self, options: JobOptions | None = None, *, threads: int | None = None, **named: Any) -> None:
        self._options = replace(options or JobOptions(), **named)
        if threads is not None and threads < 1:
            raise OptionError(f"threads {threads}: must be at least 1")
        if self._options.image_timeout != JobOptions.image_timeout:
            raise OptionError("--image_timeout: has no effect here, for it would end this process")
        self._threads = threads
        self._shared = Shared()
        self._loaded: tuple[int, Worker] | None = None
        prepare_images(self._options, PipelineOptions([]))  # to be told here what is wrong, not by another process

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_loaded": None}

    def anonymize(self, image: Image, key: str | None = None) -> Image:
        """Anonymizes an image.

        Args:
            image: encoded, in any format that is read from files; or uint8 ``[H, W, 3]``, RGB and upright.
            key: with ``synthesize``: the image's name, which together with the salt decides how the new faces look.

        Returns:
            An encoded image as a job writes it for a file of that key. Or a new array, of which no pixel outside the
            masks has changed.

        Raises:
            Quarantine: the image cannot be anonymized; ``reason`` says why.
            ValueError: an array is of another kind, or the key is missing.
            TypeError: the image is neither.
            ModelError: the model cannot be loaded.
            OutOfMemoryError: memory ran out.
        """
        [made] = self.anonymize_all([image], None if key is None else [key])
        if isinstance(made, Quarantine):
            raise made
        return made

    def anonymize_all(self, images: Iterable[Image], keys: Iterable[str] | None = None) -> Iterator[Image | Quarantine]:
        """Anonymizes images, several at once, and yields them in their order.

        A few images are taken ahead, so that all threads have something to do, never all of them.

        Args:
            images: as ``anonymize`` takes them.
            keys: of each image, as there.

        Returns:
            For each image what ``anonymize`` returns, or the Quarantine that it would raise.

        Raises:
            ValueError: an array is of another kind; keys are missing, or there are more or fewer.
            TypeError: an image is neither bytes nor an array.
            ModelError: the model cannot be loaded.
            OutOfMemoryError: memory ran out, with one image at a time too.
        """
        if keys is None and self._options.method == SYNTHESIZE:
            raise ValueError(f"key: with {SYNTHESIZE}, the image's name is needed, by which the new faces are drawn")
        return self._anonymized(zip(map(str, count()), images, strict=False) if keys is None else _zip(keys, images))

    def outcomes(self, images: Iterable[bytes], keys: Iterable[str]) -> Iterator[Outcome]:
        """What a job makes of images: the rows of its audit trail, with faces and scores, and what it writes.

        Args:
            images: encoded.
            keys: of each image.

        Raises:
            ValueError: there are more or fewer keys than images.
            TypeError: an image is not bytes.
            ModelError: the model cannot be loaded.
            OutOfMemoryError: memory ran out, with one image at a time too.
        """
        sources = (self._source(key, image) for key, image in _zip(keys, images))
        return anonymize_in_memory(sources, self._worker())

    def _anonymized(self, keyed: Iterable[tuple[str, Image]]) -> Iterator[Image | Quarantine]:
        shapes: deque[tuple[int, ...]] = deque()  # of the images on their way; none of encoded ones

        def sources() -> Iterator[Source | Outcome]:
            for key, image in keyed:
                source = self._source(key, image)
                shapes.append(image.shape if isinstance(image, np.ndarray) else ())
                yield source

        for outcome in anonymize_in_memory(sources(), self._worker()):
            shape = shapes.popleft()
            if outcome.serialized is None:
                yield quarantine_of(outcome.row)
            else:
                made = outcome.serialized
                yield cast("Image", array_of(made, shape) if shape else made)

    def find_faces(self, image: bytes | RGB) -> Faces:
        """The faces that ``anonymize`` masks, as they are found: best score first, in pixels of the upright image.

        Raises:
            Quarantine: the image cannot be read.
            ValueError: an array is of another kind.
            TypeError: the image is neither bytes nor an array.
            ModelError: the model cannot be loaded.
            OutOfMemoryError: memory ran out.
        """
        return detect_in_memory(self._source("", image), self._worker())

    def _source(self, key: str, image: bytes | RGB) -> Source | Outcome:
        if isinstance(image, bytes):
            return image_source(key, image)
        if not isinstance(image, np.ndarray):
            raise TypeError(f"an image is bytes or an array, not {type(image).__name__}")
        return array_source(key, image, self._options.max_image_bytes)

    def _worker(self) -> Worker:
        """This process's."""
        if ImageFile.LOAD_TRUNCATED_IMAGES:
            raise Error("PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set, so damaged images would pass for whole ones")
        process = os.getpid()
        if self._loaded is None or self._loaded[0] != process:
            load = functools.partial(_load, self._options, self._threads)
            self._loaded = process, self._shared.acquire(load, tag=process)
        return self._loaded[1]


def _zip(keys: Iterable[str], images: Iterable[Image]) -> Iterator[tuple[str, Image]]:
    end: Any = object()
    for key, image in zip_longest(keys, images, fillvalue=end):
        if key is end or image is end:
            raise ValueError("keys: there are more or fewer than images")
        yield key, image


def _load(options: JobOptions, threads: int | None) -> Worker:
    config = prepare_images(options, PipelineOptions([]))
    # What ends a process that hangs is not for a process of others.
    config = replace(config, limits=replace(config.limits, image_timeout=math.inf))
    worker = Worker(config, threads, guest=True)
    _workers.add(worker)
    return worker


_workers: weakref.WeakSet[Worker] = weakref.WeakSet()
"""All of this process that are in use, and of the one that it was forked from."""


def _keep_inherited() -> None:
    """Has no model freed that a forked process has inherited: OpenVINO would wait for its threads for ever."""
    for worker in _workers:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(worker))


os.register_at_fork(after_in_child=_keep_inherited)
