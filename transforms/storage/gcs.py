"""Google Cloud Storage, through its own client library.

Beam's GCSFileSystem is not used: it makes a client, and so a connection, for every object, and knows neither
generations nor preconditions. Its options count all the same (``--impersonate_service_account``, …).
"""

from __future__ import annotations

import base64
import io
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

import google.auth
import google_crc32c
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from google.api_core import exceptions
from google.auth import impersonated_credentials
from google.auth.credentials import AnonymousCredentials, Credentials
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption, InvalidResponse
from google.cloud.storage.retry import DEFAULT_RETRY

from faceveil.transforms.errors import AccessError
from faceveil.transforms.storage.base import PIECE, Page, StoredFile, one_line, split_path

_LOGIN = "`gcloud auth application-default login`, or GOOGLE_APPLICATION_CREDENTIALS"
_SENT_AT_ONCE = 2 * PIECE
"""Bytes of an upload in a request, each of which waits for an answer."""
_LISTED = "items(name,size,generation),prefixes,nextPageToken"


class GoogleCloudStorage:
    """The ``ObjectStore`` of ``gs://`` paths.

    Args:
        options: the job's; of Beam's ``GoogleCloudOptions`` project, scopes and impersonation count.
        patience: seconds for which a request is repeated.
    """

    def __init__(self, options: PipelineOptions, patience: float) -> None:
        self._options = options.view_as(GoogleCloudOptions)
        self._retry = DEFAULT_RETRY.with_delay(0.5, 20, 2).with_timeout(patience)
        self._timeout = min(10.0, patience / 2), min(60.0, patience)  # to connect, and between two bytes
        # An upload whose session was lost, or that arrived damaged, begins anew.
        self._begin_anew = self._retry.with_predicate(_is_lost_upload)
        self._credentials: Credentials | None = None
        self._lock = threading.Lock()
        # A client's session is not made to be shared by threads. One that no thread uses keeps its connections.
        self._idle: deque[storage.Client] = deque()

    def pages(self, prefix: str, after: str = "", before: str = "", *, one_level: bool = False) -> Iterator[Page]:
        """See ``ObjectStore``."""
        bucket, name = split_path(prefix)
        place = f"gs://{bucket}/"
        last = ""
        with self._explained(prefix, "cannot be listed"), self._client() as client:
            found = client.list_blobs(
                bucket,
                prefix=name,
                delimiter="/" if one_level else None,
                start_offset=after.removeprefix(place) or None,
                end_offset=before.removeprefix(place) or None,
                fields=_LISTED,
                retry=self._retry,
                timeout=self._timeout,
            )
            for page in found.pages:
                files = [_stored(bucket, blob) for blob in page if not blob.name.endswith("/")]
                files = [file for file in files if file.path > after and (not before or file.path < before)]
                # Another service of this protocol might name all of them on every page.
                folders = sorted(place + folder for folder in page.prefixes if place + folder > last)
                last = folders[-1] if folders else last
                yield Page(files, folders, found.next_page_token is None)

    def stat(self, path: str) -> StoredFile | None:
        """See ``ObjectStore``."""
        with self._explained(path, "cannot be reached"), self._blob(path) as blob:
            try:
                blob.reload(retry=self._retry, timeout=self._timeout)
            except exceptions.NotFound:
                return None
            return _stored(blob.bucket.name, blob)

    def read(self, path: str, limit: int, version: str | None) -> bytes:
        """See ``ObjectStore``; the checksum is verified where all bytes are read."""
        buffer = _LimitedBuffer(limit)
        with suppress(_EnoughError):
            self._download(path, buffer, version)
        return buffer.getvalue()

    def read_range(self, path: str, start: int, end: int, version: str | None) -> bytes:
        """See ``ObjectStore``."""
        buffer = io.BytesIO()
        self._download(path, buffer, version, start=start, end=end - 1, checksum=None)
        return buffer.getvalue()

    def _download(self, path: str, target: BinaryIO, version: str | None, **arguments: Any) -> None:
        with self._explained(path, "cannot be read"), self._blob(path, version) as blob:
            try:
                blob.download_to_file(target, raw_download=True, retry=self._retry, timeout=self._timeout, **arguments)
            except exceptions.NotFound as error:
                if version and self.stat(path):
                    raise AccessError(f"{path}: was changed while the job ran") from error
                raise FileNotFoundError(f"{path}: does not exist") from error
            except exceptions.Forbidden as error:
                raise PermissionError(f"{path}: {_said(error)}") from error

    def publish(self, path: str, file: BinaryIO) -> None:
        """See ``ObjectStore``; the service compares the checksum before the object can be seen."""
        checksum = google_crc32c.Checksum()
        file.seek(0)
        while piece := file.read(PIECE):
            checksum.update(piece)
        self._upload(path, file, file.tell(), base64.b64encode(checksum.digest()).decode())

    def compare_and_swap(self, path: str, data: bytes, version: str | None) -> bool:
        """See ``ObjectStore``."""
        checksum = base64.b64encode(google_crc32c.Checksum(data).digest()).decode()
        try:
            self._upload(path, io.BytesIO(data), len(data), checksum, if_generation_match=int(version or 0))
        except exceptions.PreconditionFailed:
            # Perhaps by this very request, whose answer got lost before it was repeated.
            with suppress(FileNotFoundError):
                return self.read(path, -1, None) == data
            return False
        return True

    def _upload(self, path: str, file: BinaryIO, size: int, checksum: str, **condition: int) -> None:
        def upload() -> None:
            with self._blob(path) as blob:
                blob.chunk_size = _SENT_AT_ONCE
                blob.upload_from_file(
                    file,
                    rewind=True,
                    size=size,
                    crc32c_checksum_value=checksum,
                    retry=self._retry,
                    timeout=self._timeout,
                    **condition,
                )

        with self._explained(path, "cannot be written"):
            self._begin_anew(upload)()

    def delete(self, path: str) -> None:
        """See ``ObjectStore``."""
        with self._explained(path, "cannot be removed"), self._blob(path) as blob, suppress(exceptions.NotFound):
            blob.delete(retry=self._retry, timeout=self._timeout)

    @contextmanager
    def _blob(self, path: str, version: str | None = None) -> Iterator[storage.Blob]:
        bucket, name = split_path(path)
        with self._client() as client:
            yield client.bucket(bucket).blob(name, generation=int(version) if version else None)

    @contextmanager
    def _client(self) -> Iterator[storage.Client]:
        """A client for one thread alone while the block runs."""
        try:
            client = self._idle.pop()
        except IndexError:
            with self._lock:
                self._credentials = self._credentials or _find_credentials(self._options)
            # Without a project the client would look for one.
            client = storage.Client(project=self._options.project or "<none>", credentials=self._credentials)
        try:
            yield client
        finally:
            self._idle.append(client)

    @contextmanager
    def _explained(self, path: str, what: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, PermissionError, exceptions.PreconditionFailed):
            raise
        except (exceptions.GoogleAPIError, GoogleAuthError, InvalidResponse, OSError, ValueError) as error:
            raise AccessError(f"{path}: {what}: {self._why(path, error)}") from error

    def _why(self, path: str, error: Exception) -> str:
        anonymous = isinstance(self._credentials, AnonymousCredentials)
        if anonymous and isinstance(error, (exceptions.Unauthorized, exceptions.Forbidden, GoogleAuthError)):
            return f"no Google credentials were found, and it is not public ({_LOGIN}): {_said(error)}"
        if isinstance(error, (exceptions.Unauthorized, GoogleAuthError)):
            return f"Google refuses the credentials ({_LOGIN}): {_said(error)}"
        if isinstance(error, exceptions.NotFound):
            return f"bucket {split_path(path)[0]} does not exist"
        if isinstance(error, exceptions.RetryError):
            return f"no good answer in {self._retry.timeout:g} s: {_said(error.cause or error)}"
        return _said(error)


def _find_credentials(options: GoogleCloudOptions) -> Credentials:
    try:
        credentials, _ = google.auth.default(scopes=options.gcp_oauth_scopes)
    except DefaultCredentialsError as error:
        if "default credentials were not found" not in str(error):
            raise  # a file that cannot be read, or is none
        return AnonymousCredentials()  # type: ignore[no-untyped-call]  # enough for public buckets
    if options.impersonate_service_account:
        [*delegates, principal] = options.impersonate_service_account.split(",")
        return impersonated_credentials.Credentials(  # type: ignore[no-untyped-call]
            credentials, principal, target_scopes=options.gcp_oauth_scopes, delegates=delegates
        )
    return credentials


def _stored(bucket: str, blob: storage.Blob) -> StoredFile:
    return StoredFile(f"gs://{bucket}/{blob.name}", blob.size, str(blob.generation))


def _said(error: BaseException) -> str:
    return one_line(getattr(error, "message", None) or error)


def _is_lost_upload(error: BaseException) -> bool:
    """Whether pieces were sent to a session that is no more: https://cloud.google.com/storage/docs/resumable-uploads."""
    if isinstance(error, exceptions.GoogleAPICallError) and error.code in (404, 410):
        return getattr(getattr(error.response, "request", None), "method", None) == "PUT"
    return isinstance(error, DataCorruption)


class _EnoughError(Exception):
    """As many bytes were read as were wanted."""


class _LimitedBuffer(io.BytesIO):
    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def write(self, data: Any) -> int:
        left = self._limit - self.tell() if self._limit >= 0 else len(data)
        super().write(data[:left])
        if left <= len(data) and self._limit >= 0:
            raise _EnoughError
        return len(data)
