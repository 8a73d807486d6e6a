"""What of faceveil works on this machine, and what is missing: each thing is tried, none is assumed."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import io
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import faceveil
from faceveil.pipeline.options import JobOptions
from faceveil.pipeline.salt import SALT
from faceveil.transforms.codecs.converted import is_installed
from faceveil.transforms.detectors.models import KNOWN_MODELS
from faceveil.transforms.models.cache import cache_folder, find_built
from faceveil.transforms.runtime.child_process import child_environment
from faceveil.transforms.runtime.pool import usable_cores

_State = Literal["ok", "missing", "failed"]

_GPUS = "TensorFlow on GPUs"
_OF_TFIO = "DICOM, OpenEXR, JPEG 2000, HDR"
_LOAD_TENSORFLOW = "from faceveil.transforms.models.frameworks import load_tensorflow as load; load()"
_DECODE_HDR = """
from faceveil.transforms.models.frameworks import load_tensorflow_io
tensorflow_io = load_tensorflow_io()
tensorflow_io.experimental.image.decode_hdr(b"#?RADIANCE\\nFORMAT=32-bit_rle_rgbe\\n\\n-Y 1 +X 1\\n1234").numpy()
print(tensorflow_io.__version__)
"""
_LIBRARIES = {
    "apache-beam": "import apache_beam",
    "tensorflow": _LOAD_TENSORFLOW,
    "openvino": "from faceveil.transforms.models.frameworks import load_openvino as load; load().Core()",
    "opencv-python-headless": "import cv2",
    "pillow": "import PIL.Image",
    "pyarrow": "import pyarrow.parquet",
    "pyjpegio": "import jpegio",
    "simplejpeg": "import simplejpeg",
    "google-cloud-storage": "import google.cloud.storage",
}
"""What is to be imported of each package without which there is no job."""

_PILLOW_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
_LEAST_FREE = 2 * 2**30
"""Bytes of a temporary folder: shards are written there before they go to a bucket, some 64 MiB for each worker."""


@dataclass(frozen=True)
class Finding:
    """One thing that was tried.

    Attributes:
        what: its name.
        state: whether it works; what is ``missing`` is not needed by all jobs, without what ``failed`` there are none.
        told: what was found, and for what does not work, what to do.
    """

    what: str
    state: _State
    told: str


def diagnose() -> Iterator[Finding]:
    """Tries everything, one after the other; nothing is built, and no server is asked."""
    machine = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    yield Finding("faceveil", "ok", f"{faceveil.__version__}, {machine}, in {Path(faceveil.__file__).parent}")
    for package, statement in _LIBRARIES.items():
        yield _library(package, statement)
    yield _tried("OpenVINO", _openvino)
    yield _tried(_GPUS, _tensorflow_gpus)
    for name in JobOptions().detector.models:
        yield _tried(f"detector {name}", partial(_detector, name))
    for image_format in _PILLOW_FORMATS:
        yield _tried(image_format, partial(_image_format, image_format))
    yield _extra("HEIC", "pillow_heif", "heic")
    yield _tried(_OF_TFIO, _tensorflow_io)
    yield _extra("curves of `faceveil evaluate`", "matplotlib", "evaluate")
    yield _tried("gs://", _google)
    yield _tried("s3://", _amazon)
    yield _tried("cache", _cache)
    yield _tried("temporary folder", _temporary)
    yield Finding("cores", "ok", f"{usable_cores()} of {os.cpu_count()} may be used")
    yield _salt()


def _tried(what: str, attempt: Callable[[], Finding | str]) -> Finding:
    """What an attempt finds; what it raises is a failure."""
    try:
        found = attempt()
    except Exception as error:  # noqa: BLE001  whatever it is, the user has to be told
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return Finding(what, "failed", lines[0])
    return Finding(what, "ok", found) if isinstance(found, str) else found


def _library(package: str, statement: str) -> Finding:
    """A package's version, and whether it can be imported."""
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return Finding(package, "failed", "is not installed; install faceveil again, in a fresh virtual environment")
    status, _, said = _python(statement)
    if not status:
        return Finding(package, "ok", version)
    return Finding(package, "failed", f"{version} cannot be imported: {said or f'status {status}'}")


def _python(statements: str) -> tuple[int, str, str]:
    """Runs Python in a process of its own, as some libraries end it: exit status, output, last line of errors."""
    command = [sys.executable, "-c", statements]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False)  # noqa: S603
    return done.returncode, done.stdout.strip(), (done.stderr.strip().splitlines() or [""])[-1]


def _openvino() -> str:
    from faceveil.transforms.models.frameworks import load_openvino

    core = load_openvino().Core()
    name = str(core.get_property("CPU", "FULL_DEVICE_NAME")).strip()
    capabilities = set(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    precisions = [known for known in ("FP32", "BF16", "INT8") if known in capabilities]
    return f"{name}: {', '.join(precisions)}"


def _tensorflow_gpus() -> Finding:
    listed = "print(*(device.name for device in load().config.list_physical_devices('GPU')))"
    status, names, said = _python(f"{_LOAD_TENSORFLOW}; {listed}")
    if names:
        return Finding(_GPUS, "ok", names)
    why = said if status else "none is seen; with NVIDIA's driver: pip install 'faceveil[gpu]'"
    return Finding(_GPUS, "missing", why)


def _detector(name: str) -> str:
    from faceveil.transforms.detectors.engine import load_detector

    folder = find_built(KNOWN_MODELS[name].build)
    if folder is None:
        return "is built when first needed, some ten seconds; `faceveil models build` does it now"
    engine = load_detector(str(folder)).engine
    return f"runs on {engine.name}, in {engine.precision}"


def _image_format(image_format: str) -> Finding | str:
    from PIL import Image, features

    from faceveil.transforms.codecs import decode_pixels, probe

    if image_format == "AVIF" and not features.check("avif"):
        return Finding(image_format, "missing", "this build of Pillow does not read it; its own wheels do")
    encoded = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 100, 50)).save(encoded, image_format)
    data = encoded.getvalue()
    decode_pixels(data, probe(data))
    return "is read"


def _extra(what: str, module: str, extra: str) -> Finding:
    if importlib.util.find_spec(module):
        return Finding(what, "ok", f"by {module}")
    return Finding(what, "missing", f"needs {module}: pip install 'faceveil[{extra}]'")


def _tensorflow_io() -> Finding | str:
    if not is_installed():
        told = "needs tensorflow-io, which works with one TensorFlow alone: pip install 'faceveil[tfio]' in an "
        return Finding(_OF_TFIO, "missing", f"{told}environment of its own, with Python 3.11 or 3.12")
    status, version, said = _python(_DECODE_HDR)
    if status:
        told = f"tensorflow-io is there and does not work ({said or f'status {status}'}): pip install 'faceveil[tfio]'"
        return Finding(_OF_TFIO, "missing", f"{told} again, in an environment of its own")
    return f"by tensorflow-io {version}"


def _google() -> Finding | str:
    import google.auth
    from google.auth import environment_vars, exceptions

    before = os.environ.get(environment_vars.NO_GCE_CHECK)
    os.environ[environment_vars.NO_GCE_CHECK] = "true"  # else it would look for a server of Google's machines
    try:
        credentials, project = google.auth.default()
    except exceptions.DefaultCredentialsError:
        hint = "no credentials in files; on Google's machines those of the machine count, elsewhere: gcloud auth "
        return Finding("gs://", "missing", hint + "application-default login")
    finally:
        if before is None:
            del os.environ[environment_vars.NO_GCE_CHECK]
        else:
            os.environ[environment_vars.NO_GCE_CHECK] = before
    return f"credentials are there ({type(credentials).__module__}), of project {project or 'none'}"


def _amazon() -> Finding | str:
    if not importlib.util.find_spec("boto3"):
        return Finding("s3://", "missing", "needs boto3: pip install 'faceveil[s3]'")
    import botocore.session

    session = botocore.session.get_session()
    providers = session.get_component("credential_provider").providers
    # Those that ask servers are the machine's own.
    asked = {"iam-role", "container-role"}
    found = next((each.METHOD for each in providers if each.METHOD not in asked and each.load()), None)
    if found is None:
        return Finding("s3://", "missing", "no credentials in files or variables; on Amazon's machines theirs count")
    return f"credentials are there ({found})"


def _cache() -> Finding | str:
    try:
        folder = cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return str(folder)
    except OSError as error:
        told = f"cannot be written: {error}; each run builds the detectors anew; FACEVEIL_CACHE names another folder"
        return Finding("cache", "failed", told)


def _temporary() -> Finding | str:
    folder = tempfile.gettempdir()
    with tempfile.TemporaryFile():
        free = shutil.disk_usage(folder).free
    told = f"{folder}, {free / 2**30:.1f} GiB free"
    if free < _LEAST_FREE:
        return Finding("temporary folder", "failed", f"{told}, less than a job may need; TMPDIR names another")
    return told


def _salt() -> Finding:
    if os.environ.get(SALT):
        return Finding("salt", "ok", f"{SALT} is set")
    told = f"{SALT} is not set; --hash_keys and --method synthesize need it, or --salt_file"
    return Finding("salt", "missing", told)
