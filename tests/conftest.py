"""What many tests need: real photographs, the default detector, and development data where it exists."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import skimage
from apache_beam.io.filesystems import FileSystems
from PIL import Image

from faceveil.pipeline.options import JobOptions
from faceveil.transforms import storage
from faceveil.transforms.detectors.models import known_model
from faceveil.transforms.formats.layout import PAGE_NAME
from tests.faulty_proxy import FaultyProxy
from tests.object_stores import STORES, Server

ROOT = Path(__file__).parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"
SKIMAGE_DATA = Path(skimage.__file__).parent / "data"

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

collect_ignore = ["clusters/dag_run.py", "readers/read_back.py", "tfio/files.py", "tfio/whole_formats.py"]
"""What runs in other environments alone."""


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Names a test of bytes by its argument, not by the bytes: those of gzip tell the time.

    Every process has to give the same names, or pytest-xdist runs no test at all.
    """
    return argname if isinstance(val, bytes) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what needs an object store, which ``make test`` leaves to ``make test-cloud``."""
    for item in items:
        if "object_store" in getattr(item, "fixturenames", ()):
            item.add_marker("buckets")


@pytest.fixture(scope="session")
def centerface() -> str:
    """CenterFace's SavedModel in floats."""
    return str(known_model("centerface"))


@pytest.fixture(scope="session")
def centerface_int8() -> str:
    """CenterFace's SavedModel in eight bits."""
    return str(known_model("centerface-int8"))


@pytest.fixture(scope="session")
def default_detector() -> tuple[str, ...]:
    """The SavedModels that find faces at default options."""
    return tuple(str(known_model(name)) for name in JobOptions().detector.models)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of real photographs, with faces and without, nested, as JPEG and PNG."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "people" / "space").mkdir(parents=True)
    (folder / "things").mkdir()
    astronaut = Image.open(SKIMAGE_DATA / "astronaut.png")
    shutil.copy(SKIMAGE_DATA / "astronaut.png", folder / "people" / "space" / "astronaut.png")
    astronaut.save(folder / "people" / "astronaut.JPG", quality=90, subsampling="4:2:0")
    astronaut.crop((60, 0, 400, 300)).save(folder / "people" / "portrait.jpeg", quality=85, subsampling="4:4:4")
    for name in ("coffee.png", "chelsea.png"):
        Image.open(SKIMAGE_DATA / name).convert("RGB").save(folder / "things" / f"{name[:-4]}.jpg", quality=88)
    shutil.copy(SKIMAGE_DATA / "rocket.jpg", folder / "things" / "rocket.jpg")
    return folder


def audit_of(output: Path) -> Path:
    """The folder of an output's audit trail."""
    return output.with_name(f"{output.name}.audit")


def files_of_output(output: Path) -> dict[str, Path]:
    """Every file of an output by its path below it, and of its audit trail with ``.audit/`` before that.

    The page about it is left out: it tells the time, so it is the only one that no two jobs have alike.
    """
    return {
        f"{start}{path.relative_to(folder)}": path
        for start, folder in (("", output), (".audit/", audit_of(output)))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != PAGE_NAME
    }


def copy_output(output: Path, target: Path) -> None:
    """Copies an output and its audit trail."""
    shutil.copytree(output, target)
    shutil.copytree(audit_of(output), audit_of(target))


def missing(what: str) -> NoReturn:
    """Skips a test that needs what is not here; in CI, which has all of it, that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}; CI has to have it")
    pytest.skip(what)


NOBODY = 65534


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """An empty folder that every user may enter; pytest's own are for one alone."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)  # noqa: S103
        yield Path(name)


@contextmanager
def as_nobody() -> Iterator[None]:
    """Lets this process have no more rights than any user, where it is the super-user's."""
    if os.geteuid() != 0:
        yield
        return
    groups, group = os.getgroups(), os.getegid()
    try:
        os.setgroups([])
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
    except PermissionError:
        pytest.skip("this process may not change its user")
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def shared_data(name: str) -> Path:
    """A set of the development data; the test is skipped where it does not exist."""
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"needs the development data set {name}, which does not exist here")
    return path


@pytest.fixture(scope="session")
def exiftool() -> str:
    """The command that reads and writes what images carry beside their pixels."""
    return shutil.which("exiftool") or missing("needs exiftool: apt-get install libimage-exiftool-perl")


@pytest.fixture(scope="session")
def wider_dev() -> Path:
    """200 photos of WIDER FACE's training split."""
    return shared_data("wider-dev")


@pytest.fixture(scope="session")
def wider_unseen() -> Path:
    """259 photos of WIDER FACE's validation split, which no detector was trained on."""
    return shared_data("wider-unseen")


@pytest.fixture(scope="session")
def efficientdet(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Exports of ``object_detection_api.export`` by its options, each made once."""
    from tests.transforms.detectors import object_detection_api

    folder = tmp_path_factory.mktemp("efficientdet")
    made: dict[str, str] = {}

    def export(**options: Any) -> str:
        name = "-".join(f"{key}={value}" for key, value in sorted(options.items())) or "plain"
        if name not in made:
            made[name] = object_detection_api.export(folder / name, **options)
        return made[name]

    return export


def annotated_images(folder: Path) -> list[dict[str, Any]]:
    """The annotated images of a development data set."""
    return [json.loads(line) for line in (folder / "annotations.jsonl").read_text().splitlines()]


@pytest.fixture
def hangs_up() -> Iterator[None]:
    """Has children end when their terminal goes, also where these tests were started by nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def noise_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture of random colours, float-free and the same everywhere."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=["gs", "s3"])
def object_store(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of each kind, with the buckets inputs and outputs."""
    with STORES[request.param]() as server:
        for bucket in ("inputs", "outputs"):
            server.make_bucket(bucket)
        yield server


@pytest.fixture
def connect(object_store: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FaultyProxy]]:
    """Leads this process to the object store through a proxy with the given faults."""
    with ExitStack() as stack:

        def connect(**faults: Any) -> FaultyProxy:
            proxy = stack.enter_context(FaultyProxy(object_store.address, **faults))
            for name, value in object_store.environment(proxy.address).items():
                monkeypatch.setenv(name, value)
            forget_stores()
            return proxy

        yield connect
    forget_stores()


def forget_stores() -> None:
    """Makes storage connect anew, with the environment as it is now."""
    storage._connect.cache_clear()
    FileSystems.set_options(None)
