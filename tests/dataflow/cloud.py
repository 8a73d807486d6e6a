"""Cloud Storage and Dataflow on this machine: servers on loopback, and the environment in which programs use them."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from gcp_storage_emulator.server import create_server
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from faceveil.transforms.formats.layout import PAGE_NAME
from tests.dataflow.service import DataflowService, Job

BUCKET = "bucket"
PROJECT, REGION = "a-project", "europe-west4"


@dataclass(frozen=True)
class Cloud:
    """What was started.

    Attributes:
        dataflow: the service.
        environment: variables with which programs reach both, with credentials of their own.
        bucket: a bucket that exists.
    """

    dataflow: DataflowService
    environment: dict[str, str]
    bucket: storage.Bucket

    def upload(self, folder: Path, prefix: str) -> None:
        """Copies a folder into the bucket."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.bucket.blob(f"{prefix}/{path.relative_to(folder)}").upload_from_filename(path)

    def files(self, prefix: str) -> dict[str, bytes]:
        """What the bucket holds below a prefix, by the name below it; its audit trail with ``.audit/`` before that.

        The page about it is left out, see ``files_of_output``.
        """
        return {
            start + blob.name.removeprefix(folder): blob.download_as_bytes()
            for start, folder in (("", f"{prefix}/"), (".audit/", f"{prefix}.audit/"))
            for blob in self.bucket.list_blobs(prefix=folder)
            if not blob.name.endswith(f"/{PAGE_NAME}")
        }


@contextlib.contextmanager
def running_cloud(folder: Path, work: Callable[[Job], None] | None = None) -> Iterator[Cloud]:
    """Runs both while the block does.

    Args:
        folder: for the credentials.
        work: what becomes of jobs, see `DataflowService`.
    """
    server = create_server("localhost", 0, in_memory=True, default_bucket=BUCKET)
    server.start()
    server._api._httpd.handle_error = _tell_error
    try:
        host = f"http://localhost:{server._api._httpd.server_port}"
        with DataflowService(work) as service:
            credentials = folder / "credentials.json"
            credentials.write_text(json.dumps(_service_account(service.token_uri)))
            environment = {
                **os.environ,
                "STORAGE_EMULATOR_HOST": host,
                "GOOGLE_APPLICATION_CREDENTIALS": str(credentials),
                "NO_GCE_CHECK": "true",
                "HTTPS_PROXY": "http://localhost:9",  # whoever asks a real service meets nobody, at once
            }
            nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]
            client = storage.Client(PROJECT, credentials=nobody, client_options={"api_endpoint": host})
            yield Cloud(service, environment, client.bucket(BUCKET))
    finally:
        server.stop()


def _tell_error(*_: object) -> None:
    """Leaves out readers that have seen enough, of which the emulator would print a trace."""
    if not isinstance(sys.exception(), ConnectionError):
        traceback.print_exc()


def _service_account(token_uri: str) -> dict[str, str]:
    """A key file as https://cloud.google.com/iam/docs/keys-create-delete describes, of an account that is nobody's."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": "key",
        "private_key": private.decode(),
        "client_email": f"launcher@{PROJECT}.iam.gserviceaccount.com",
        "token_uri": token_uri,
    }
