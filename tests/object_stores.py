"""Servers that stand in for object stores, started by tests on ports of their own, and what they hold."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import requests
from gcp_storage_emulator.server import create_server
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from moto.server import ThreadedMotoServer

FAKE_GCS_SERVER = "FACEVEIL_FAKE_GCS_SERVER"
"""Names https://github.com/fsouza/fake-gcs-server, whose preconditions and pages are the service's; `make test` does
with a simpler emulator."""
KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        scheme: ``gs`` or ``s3``.
        address: of its HTTP endpoint.
        has_versions: whether it tells versions apart when objects are read and replaced.
        has_pages: whether it lists in pages.
    """

    scheme: str
    address: str
    has_versions: bool
    has_pages: bool = True

    def environment(self, address: str | None = None) -> dict[str, str]:
        """What leads a client there, or to a proxy before it."""
        if self.scheme == "gs":
            return {"STORAGE_EMULATOR_HOST": address or self.address, "NO_GCE_CHECK": "true"}
        return {"AWS_ENDPOINT_URL_S3": address or self.address, **KEYS}

    def make_bucket(self, name: str) -> None:
        if self.scheme == "gs":
            self._gcs().create_bucket(name)
        else:
            self._s3().create_bucket(Bucket=name)

    def put(self, bucket: str, name: str, data: bytes) -> None:
        if self.scheme == "gs":
            self._gcs().bucket(bucket).blob(name).upload_from_string(data)
        else:
            self._s3().put_object(Bucket=bucket, Key=name, Body=data)

    def put_folder(self, folder: Path, bucket: str, prefix: str) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(bucket, f"{prefix}/{path.relative_to(folder)}", path.read_bytes())

    def sizes(self, bucket: str) -> dict[str, int]:
        """Every object that can be seen, with its size."""
        if self.scheme == "gs":
            return {blob.name: blob.size for blob in self._gcs().list_blobs(bucket)}
        pages = self._s3().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {found["Key"]: found["Size"] for page in pages for found in page.get("Contents", ())}

    def get(self, bucket: str, name: str) -> bytes:
        if self.scheme == "gs":
            return bytes(self._gcs().bucket(bucket).blob(name).download_as_bytes())
        return bytes(self._s3().get_object(Bucket=bucket, Key=name)["Body"].read())

    def unfinished_uploads(self, bucket: str) -> list[str]:
        """Names of S3's multipart uploads that were neither completed nor aborted."""
        return [upload["Key"] for upload in self._s3().list_multipart_uploads(Bucket=bucket).get("Uploads", ())]

    def _gcs(self) -> storage.Client:
        options = {"api_endpoint": self.address}
        nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]
        return storage.Client(project="test", credentials=nobody, client_options=options)

    def _s3(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.address,
            aws_access_key_id="id",
            aws_secret_access_key="secret",  # noqa: S106
            region_name="us-east-1",
        )


@contextlib.contextmanager
def cloud_storage() -> Iterator[Server]:
    """Google Cloud Storage."""
    program = os.environ.get(FAKE_GCS_SERVER)
    port = _free_port()
    address = f"http://127.0.0.1:{port}"
    if program:
        command = [program, "-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
        process = subprocess.Popen([*command, "-log-level", "error"])
        try:
            _wait_for(f"{address}/storage/v1/b?project=test")
            yield Server("gs", address, has_versions=True)
        finally:
            process.kill()
            process.wait()
    else:
        logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
        server = create_server("127.0.0.1", port, in_memory=True)
        server.start()
        try:
            yield Server("gs", address, has_versions=False, has_pages=False)
        finally:
            server.stop()


@contextlib.contextmanager
def simple_storage_service() -> Iterator[Server]:
    """Amazon S3."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield Server("s3", f"http://{host}:{port}", has_versions=True)
    finally:
        server.stop()


STORES = {"gs": cloud_storage, "s3": simple_storage_service}


def download(server: Server, bucket: str, prefix: str, folder: Path) -> Path:
    """Copies the objects below a prefix to disk, where they can be compared with a local run's."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in server.sizes(bucket):
        if name.startswith(f"{prefix}/"):
            target = folder / name.removeprefix(f"{prefix}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(server.get(bucket, name))
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(url: str) -> None:
    for _ in range(100):
        with contextlib.suppress(requests.ConnectionError):
            requests.get(url, timeout=5)
            return
        time.sleep(0.1)
    raise TimeoutError(url)
