"""Amazon S3 and what speaks its protocol (MinIO, Ceph, R2, …), through boto3, which the extra ``s3`` installs.

Beam's S3FileSystem is not used: it publishes what was written so far when writing fails, and knows no ETags. Its
options count all the same (``--s3_endpoint_url``, ``--s3_region_name``, …).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, BinaryIO, TypeVar

import boto3
import botocore.exceptions
import urllib3.exceptions
from apache_beam.options.pipeline_options import PipelineOptions, S3Options
from boto3.s3.transfer import TransferConfig
from botocore import UNSIGNED
from botocore.config import Config
from google.api_core.exceptions import RetryError
from google.api_core.retry import Retry

from faceveil.transforms.errors import AccessError
from faceveil.transforms.runtime.pool import usable_cores
from faceveil.transforms.storage.base import (
    CHECK_SECONDS,
    LISTINGS_AT_ONCE,
    PIECE,
    REQUESTS_AT_ONCE,
    Page,
    StoredFile,
    one_line,
    split_path,
)

_BROKEN_OFF = (
    botocore.exceptions.HTTPClientError,
    botocore.exceptions.IncompleteReadError,
    botocore.exceptions.ResponseStreamingError,
    urllib3.exceptions.HTTPError,
    ConnectionError,
)
_BUSY = {"ConditionalRequestConflict", "RequestTimeout", "SlowDown", "Throttling", "TooManyRequestsException"}
_REFUSED_CREDENTIALS = {"ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "401"}
_LOGIN = "`aws configure`, AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_TRANSFER = TransferConfig(multipart_threshold=PIECE, multipart_chunksize=PIECE, max_concurrency=2)
_TRANSFER.max_in_memory_upload_chunks = 2  # its default of ten would hold 80 MiB for every shard that is sent

Result = TypeVar("Result")


class S3:
    """The ``ObjectStore`` of ``s3://`` paths.

    Args:
        options: the job's; Beam's ``S3Options`` count.
        patience: seconds for which a request is repeated.
    """

    def __init__(self, options: PipelineOptions, patience: float) -> None:
        try:
            self._client, self._anonymous = _connect(options.view_as(S3Options), patience)
        except (botocore.exceptions.BotoCoreError, ValueError) as error:
            raise AccessError(f"s3://: the settings of AWS do not work: {one_line(error)}") from error
        self._retry = Retry(predicate=_is_passing, initial=0.5, maximum=20, multiplier=2, timeout=patience)

    def pages(self, prefix: str, after: str = "", before: str = "", *, one_level: bool = False) -> Iterator[Page]:
        """See ``ObjectStore``."""
        bucket, name = split_path(prefix)
        place = f"s3://{bucket}/"
        arguments = {"Bucket": bucket, "Prefix": name}
        if one_level:
            arguments["Delimiter"] = "/"
        if after:
            arguments["StartAfter"] = after.removeprefix(place)
        while True:
            with self._explained(prefix, "cannot be listed"):
                page = self._again(self._client.list_objects_v2, **arguments)
            files = [
                StoredFile(place + found["Key"], found["Size"], found["ETag"].strip('"'))
                for found in page.get("Contents", ())
                if not found["Key"].endswith("/")
            ]
            wanted = [file for file in files if file.path > after and (not before or file.path < before)]
            folders = [place + found["Prefix"] for found in page.get("CommonPrefixes", ())]
            is_past = bool(before and files and files[-1].path >= before)  # it takes no end
            is_last = is_past or not page["IsTruncated"]
            yield Page(wanted, folders, is_last)
            if is_last:
                return
            arguments["ContinuationToken"] = page["NextContinuationToken"]

    def stat(self, path: str) -> StoredFile | None:
        """See ``ObjectStore``."""
        with self._explained(path, "cannot be reached"):
            try:
                found = self._again(self._client.head_object, **_place(path))
            except botocore.exceptions.ClientError as error:
                if _status(error) == 404:
                    return None
                raise
            return StoredFile(path, found["ContentLength"], found["ETag"].strip('"'))

    def read(self, path: str, limit: int, version: str | None) -> bytes:
        """See ``ObjectStore``; where the object has a checksum and all bytes are read, it is verified."""
        return self._get(path, version, limit)

    def read_range(self, path: str, start: int, end: int, version: str | None) -> bytes:
        """See ``ObjectStore``."""
        return self._get(path, version, end - start, Range=f"bytes={start}-{end - 1}")

    def _get(self, path: str, version: str | None, limit: int, **arguments: str) -> bytes:
        if version:
            arguments["IfMatch"] = f'"{version}"'

        def get() -> bytes:
            # Its own context gives the stream below it, which does not notice where it breaks off.
            with closing(self._client.get_object(**_place(path), **arguments)["Body"]) as body:
                if limit < 0:
                    return bytes(body.read())
                data = bytearray()
                while len(data) < limit and (piece := body.read(limit - len(data))):
                    data += piece
                return bytes(data)

        with self._explained(path, "cannot be read"):
            try:
                return self._again(get)
            except botocore.exceptions.ClientError as error:
                if _status(error) == 404:
                    raise FileNotFoundError(f"{path}: does not exist") from error
                if _code(error) == "AccessDenied" and not self._anonymous:
                    raise PermissionError(f"{path}: {one_line(error)}") from error
                if _status(error) == 412:
                    raise AccessError(f"{path}: was changed while the job ran") from error
                raise

    def publish(self, path: str, file: BinaryIO) -> None:
        """See ``ObjectStore``; every piece has a checksum, and an upload that fails is aborted."""

        def upload() -> None:
            file.seek(0)
            # It closes what it is given.
            self._client.upload_fileobj(_Unclosed(file), *split_path(path), Config=_TRANSFER)

        with self._explained(path, "cannot be written"):
            self._again(upload)

    def compare_and_swap(self, path: str, data: bytes, version: str | None) -> bool:
        """See ``ObjectStore``."""
        condition = {"IfMatch": f'"{version}"'} if version else {"IfNoneMatch": "*"}
        with self._explained(path, "cannot be written"):
            try:
                self._again(self._client.put_object, **_place(path), Body=data, **condition)
            except botocore.exceptions.ClientError as error:
                if _status(error) not in (404, 412) or _code(error) == "NoSuchBucket":
                    raise
                # Perhaps by this very request, whose answer got lost before it was repeated.
                with suppress(FileNotFoundError):
                    return self.read(path, -1, None) == data
                return False
        return True

    def delete(self, path: str) -> None:
        """See ``ObjectStore``."""
        with self._explained(path, "cannot be removed"):
            self._again(self._client.delete_object, **_place(path))

    def _again(self, request: Callable[..., Result], **arguments: Any) -> Result:
        return self._retry(request)(**arguments)

    @contextmanager
    def _explained(self, path: str, what: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, PermissionError):
            raise
        except (RetryError, botocore.exceptions.BotoCoreError, OSError) as error:
            raise AccessError(f"{path}: {what}: {self._why(path, error.__cause__ or error)}") from error
        except botocore.exceptions.ClientError as error:
            raise AccessError(f"{path}: {what}: {self._why(path, error)}") from error

    def _why(self, path: str, error: BaseException) -> str:
        if isinstance(error, botocore.exceptions.ClientError):
            code = _code(error)
            if self._anonymous and _status(error) in (401, 403):
                return f"no AWS credentials were found, and it is not public ({_LOGIN}): {one_line(error)}"
            if code in _REFUSED_CREDENTIALS:
                return f"the service refuses the credentials ({_LOGIN}): {one_line(error)}"
            if code == "NoSuchBucket" or _status(error) == 404:
                return f"bucket {split_path(path)[0]} does not exist"
            if code in ("PermanentRedirect", "AuthorizationHeaderMalformed"):
                return f"the bucket is in another region (--s3_region_name, AWS_REGION): {one_line(error)}"
        if isinstance(error, _BROKEN_OFF):
            return f"no good answer in {self._retry.timeout:g} s: {one_line(error)}"
        return one_line(error)


def _connect(options: S3Options, patience: float) -> tuple[Any, bool]:
    """A client, and whether it is without credentials, which is enough for public buckets."""
    session = boto3.Session(
        options.s3_access_key_id, options.s3_secret_access_key, options.s3_session_token, options.s3_region_name
    )
    anonymous = session.get_credentials() is None
    config = Config(
        connect_timeout=min(10, patience / 2),
        read_timeout=min(60, patience),
        retries={"mode": "standard", "total_max_attempts": 2 if patience <= CHECK_SECONDS else 8},
        # A pool's thread reads while shards are sent in two pieces each.
        max_pool_connections=REQUESTS_AT_ONCE + LISTINGS_AT_ONCE + 3 * usable_cores() + 7,
        signature_version=UNSIGNED if anonymous else None,
    )
    client = session.client(
        "s3",
        endpoint_url=options.s3_endpoint_url,
        use_ssl=not options.s3_disable_ssl,
        verify=options.s3_verify,
        api_version=options.s3_api_version,
        config=config,
    )
    return client, anonymous


class _Unclosed(io.RawIOBase):
    """A file that stays open when this is closed."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self.read = file.read  # type: ignore[method-assign]
        self.seek = file.seek  # type: ignore[method-assign]
        self.tell = file.tell  # type: ignore[method-assign]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def _place(path: str) -> dict[str, str]:
    bucket, key = split_path(path)
    return {"Bucket": bucket, "Key": key}


def _status(error: botocore.exceptions.ClientError) -> int:
    status: int = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status


def _code(error: botocore.exceptions.ClientError) -> str:
    code: str = error.response.get("Error", {}).get("Code", "")
    return code


def _is_passing(error: BaseException) -> bool:
    """Whether the same request may well succeed soon."""
    if isinstance(error, botocore.exceptions.ClientError):
        return _status(error) in (429, 500, 502, 503, 504) or _code(error) in _BUSY
    return isinstance(error, _BROKEN_OFF)
