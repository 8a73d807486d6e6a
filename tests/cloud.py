"""Jobs from bucket to bucket on a bad day, at size: each has to end with the bytes of a local run.

    python -m tests.cloud [--photos FOLDER]

Copies a folder of photos three times over into a bucket of each service, and runs it while every fifth request fails,
is slow or breaks off; after every request that may change something, looks whether a shard's name holds anything but
the whole shard. Then kills a job on Cloud Storage by SIGKILL again and again. Seeded. Prints what it found, and fails
where a promise is broken.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.conftest import ROOT, SHARED_DATA
from tests.faulty_proxy import FaultyProxy
from tests.object_stores import STORES, Server, download
from tests.test_end_to_end import files
from tests.torture import write_photos

SHARDS = 24
COPIES = 3


class Watch:
    """Looks at the shards' names each time that something may have changed, and counts what is not a whole shard."""

    def __init__(self, server: Server, expected: dict[str, int]) -> None:
        self._server, self._expected = server, expected
        self.detection_quality = 0
        self.parts: list[str] = []

    def __call__(self) -> None:
        self.detection_quality += 1
        for name, size in self._server.sizes("outputs").items():
            file = name.rsplit("/", 1)[-1]
            if file.endswith(".tfrecord") and size != self._expected.get(file):
                self.parts.append(f"{name}: {size} bytes")


def start(source: str, output: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    options = ["--num_shards", str(SHARDS), "--quality", "fast", "--max_quarantined", "0"]
    return subprocess.Popen(
        [sys.executable, "-m", "faceveil", "run", "--input", source, "--output", output, *options],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(source: str, output: str, environment: dict[str, str]) -> float:
    """Runs a job to its end; its seconds."""
    begun = time.monotonic()
    process = start(source, output, environment)
    said = process.communicate()[1]
    assert process.returncode == 0, said
    return time.monotonic() - begun


def shards(folder: Path) -> dict[str, str]:
    return {name: checksum for name, checksum in files(folder).items() if name.endswith(".tfrecord")}


def bad_day(server: Server, source: str, local: Path, folder: Path, share: float) -> dict[str, Any]:
    """One job through a proxy that fails."""
    name = f"share-{share}"
    watch = Watch(server, {path.name: path.stat().st_size for path in local.glob("*.tfrecord")})
    with FaultyProxy(server.address, share, page_size=100, after_write=watch) as proxy:
        seconds = run(source, f"{server.scheme}://outputs/{name}", server.environment(proxy.address))
    assert shards(download(server, "outputs", name, folder / name)) == shards(local)
    assert not watch.parts, watch.parts
    return {
        "seconds": round(seconds, 1),
        "requests": proxy.requests,
        "faults": dict(proxy.faults),
        "looks": watch.detection_quality,
    }


def killed(server: Server, source: str, local: Path, folder: Path, kills: int, seconds: float) -> list[int]:
    """A job that is killed at random moments and taken up by the same command; how many shards were there each time."""
    moments = random.Random(0)  # noqa: S311 (no secret)
    watch = Watch(server, {path.name: path.stat().st_size for path in local.glob("*.tfrecord")})
    there = []
    with FaultyProxy(server.address, 0.05, page_size=100, after_write=watch) as proxy:
        environment = server.environment(proxy.address)
        for _ in range(kills):
            process = start(source, "gs://outputs/killed", environment)
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=moments.uniform(0.3, 0.7) * seconds)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            there.append(sum(name.startswith("killed/data") for name in server.sizes("outputs")))
        run(source, "gs://outputs/killed", environment)
    assert shards(download(server, "outputs", "killed", folder / "killed")) == shards(local)
    assert not watch.parts, watch.parts
    return there


def refused(server: Server, options: dict[str, str], environment: dict[str, str], message: str) -> float:
    """A job that cannot work: status 5 and one line; its seconds."""
    given = {
        "--input": f"{server.scheme}://inputs/photos/**",
        "--output": f"{server.scheme}://outputs/refused",
        **options,
    }
    begun = time.monotonic()
    process = subprocess.run(
        [sys.executable, "-m", "faceveil", "run", *(text for pair in given.items() for text in pair)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - begun
    said = [line for line in process.stderr.splitlines() if line.startswith("faceveil: ")]
    assert process.returncode == 5, process.stderr
    assert len(said) == 1, process.stderr
    assert message in said[0], process.stderr
    return round(seconds, 1)


def refusals(server: Server) -> dict[str, float]:
    """Seconds until what is wrong is said."""
    environment = server.environment()
    nowhere = {"--output": f"{server.scheme}://nowhere/out"}
    took = {"missing bucket": refused(server, nowhere, environment, "bucket nowhere does not exist")}
    with FaultyProxy(server.address, refuse=lambda method, path: (403, b"")) as proxy:  # noqa: ARG005
        took["no permission"] = refused(server, {}, server.environment(proxy.address), "inputs/photos")
    with FaultyProxy(server.address, refuse=lambda method, path: (503, b"")) as proxy:  # noqa: ARG005
        took["out of reach"] = refused(server, {}, server.environment(proxy.address), "cannot be listed")
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="by default 200 of WIDER FACE, or made ones where there are none")
    parser.add_argument("--copies", type=int, default=COPIES)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--stores", nargs="+", default=list(STORES), choices=STORES)
    parser.add_argument("--shares", nargs="*", type=float, default=[0.0, 0.2], help="of requests that fail")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="faceveil-cloud-") as name:
        folder = Path(name)
        given_photos = given.photos or SHARED_DATA / "wider-dev"
        if not given_photos.is_dir():
            given_photos = folder / "made"
            write_photos(given_photos, 200, seed=0)
        originals = sorted(given_photos.rglob("*.jpg"))
        photos = folder / "photos"
        photos.mkdir()
        for copy in range(given.copies):
            for original in originals:
                shutil.copy(original, photos / f"{copy}-{original.name}")
        seconds = run(f"{photos}/**", str(folder / "local"), {})
        print(f"{len(originals) * given.copies} photos; on disk: {seconds:.1f} s", flush=True)
        for scheme in given.stores:
            with STORES[scheme]() as server:
                server.make_bucket("inputs")
                server.make_bucket("outputs")
                server.put_folder(photos, "inputs", "photos")
                source = f"{scheme}://inputs/photos/**"
                for share in given.shares:
                    print(scheme, share, bad_day(server, source, folder / "local", folder / scheme, share), flush=True)
                if given.shares:
                    print(scheme, "refused after seconds", refusals(server), flush=True)
                if scheme == "gs" and given.kills:
                    there = killed(server, source, folder / "local", folder, given.kills, seconds)
                    print(scheme, f"killed {given.kills} times; shards there: {there}", flush=True)


if __name__ == "__main__":
    main()
