import functools
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError, OutOfMemoryError
from faceveil.transforms.runtime.sandbox import Sandbox
from faceveil.transforms.shard.read import Source
from faceveil.transforms.shard.worker import Anonymization, prepare_sandbox
from tests.transforms.test_anonymize_shards import config


def sandbox_of(config: Anonymization) -> Sandbox[Source]:
    return Sandbox(functools.partial(prepare_sandbox, config, storage.beam_options()), config.limits.image_timeout)


def run(sandbox: Sandbox[Source], source: Source) -> None:
    sandbox.run(source, source.key)


def test_records_good_and_bad_pass_a_sandbox(photos: Path, centerface: str) -> None:
    with sandbox_of(config(centerface)) as sandbox:
        for path in (photos / "people" / "portrait.jpeg", photos / "gone.jpg"):
            run(sandbox, Source(path.name, str(path), None, 0))


def test_a_file_that_was_changed_passes_a_sandbox_for_it_ends_the_job(photos: Path, centerface: str) -> None:
    path = photos / "people" / "portrait.jpeg"
    with sandbox_of(config(centerface)) as sandbox:
        run(sandbox, Source(path.name, str(path), None, 0, version="1.0", size=1))
        run(sandbox, Source(path.name, str(path), None, 0))


def test_a_sandbox_that_cannot_be_held_is_no_record_s_fault(centerface: str, tmp_path: Path) -> None:
    broken = config(centerface)
    broken = replace(broken, detector=replace(broken.detector, model_dirs=(str(tmp_path / "gone"),)))
    with sandbox_of(broken) as sandbox, pytest.raises(AccessError, match="was ended by exit status 1 as it started"):
        run(sandbox, Source("a.jpg", "a.jpg", None, 0))


def test_a_sandbox_that_the_kernel_kills_is_no_record_s_fault(centerface: str, tmp_path: Path) -> None:
    # As where memory runs out. The other process finds a decoder that kills it.
    killer = (
        "import os, signal, simplejpeg; simplejpeg.decode_jpeg = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)"
    )
    (tmp_path / "sitecustomize.py").write_text(killer)
    photo = tmp_path / "a.jpg"
    Image.new("RGB", (64, 64)).save(photo)
    with pytest.MonkeyPatch.context() as patched, sandbox_of(config(centerface)) as sandbox:
        patched.syspath_prepend(str(tmp_path))
        with pytest.raises(OutOfMemoryError, match=r"a\.jpg: the process that tried it was ended by SIGKILL"):
            run(sandbox, Source("a.jpg", str(photo), None, 0))
