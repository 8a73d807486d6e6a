"""Jobs from bucket to bucket, as users run them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.conftest import audit_of
from tests.faulty_proxy import FaultyProxy
from tests.object_stores import Server, download
from tests.test_end_to_end import FAST, faceveil, files

pytestmark = pytest.mark.usefixtures("centerface")
Connect = Callable[..., FaultyProxy]
JOB = ("--num_shards", 2, *FAST)


@pytest.fixture(scope="module")
def local(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The checksums of a local run's shards."""
    output = tmp_path_factory.mktemp("local") / "out"
    assert faceveil("run", "--input", f"{photos}/**", "--output", output, *JOB) == 0
    return shards(output)


@pytest.fixture(scope="module")
def bucket(object_store: Server, photos: Path) -> str:
    """The photos, in a bucket."""
    object_store.put_folder(photos, "inputs", "photos")
    return f"{object_store.scheme}://inputs/photos/**"


def shards(output: Path) -> dict[str, str]:
    return {name: checksum for name, checksum in files(output).items() if name.endswith(".tfrecord")}


def only_line(text: str) -> str:
    lines = text.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_a_bad_day_changes_nothing(
    connect: Connect,
    object_store: Server,
    bucket: str,
    photos: Path,
    local: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    proxy = connect(share=0.2, page_size=3)
    output = f"{object_store.scheme}://outputs/bad-day"
    config = f"{object_store.scheme}://inputs/job.yaml"
    object_store.put("inputs", "job.yaml", json.dumps({"input": bucket, "output": output}).encode())
    assert faceveil("run", "--config", config, *JOB) == 0
    assert proxy.faults.total()
    whole = download(object_store, "outputs", "bad-day", tmp_path / "out")
    assert shards(whole) == local
    download(object_store, "outputs", "bad-day.audit", audit_of(whole))
    trail = {f".audit/{name.replace('.tfrecord', '.parquet')}" for name in local}
    assert set(files(whole)) == {"manifest.json", ".audit/_ignored.json", *local, *trail}
    assert "portrait.jpeg" in (audit_of(whole) / "_report.html").read_text()
    capsys.readouterr()
    named = "--key", "people/portrait.jpeg", "--extract", tmp_path / "seen"
    assert faceveil("inspect", output, *named) == 0
    assert f"written:   {output}/data-0000" in capsys.readouterr().out
    assert (tmp_path / "seen" / "people" / "portrait.jpeg").stat().st_size > 1000
    assert faceveil("report", output) == 0
    # What is complete is left alone; a photo that was replaced is noticed, though its size is the same.
    assert faceveil("run", "--config", config, *JOB) == 0
    photo = (photos / "people" / "portrait.jpeg").read_bytes()
    object_store.put("inputs", "photos/people/portrait.jpeg", photo[:-2] + bytes(2))
    capsys.readouterr()
    assert faceveil("run", "--config", config, *JOB) == 4
    assert "people/portrait.jpeg: was changed" in capsys.readouterr().err
    assert download(object_store, "outputs", "bad-day", tmp_path / "again")
    download(object_store, "outputs", "bad-day.audit", audit_of(tmp_path / "again"))
    assert files(tmp_path / "again") == files(whole)


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"--input": "{scheme}://nowhere/**"}, "{scheme}://nowhere/"),
        ({"--output": "{scheme}://nowhere/out"}, "{scheme}://nowhere/out"),
        ({"--records_output": "{scheme}://nowhere/records"}, "{scheme}://nowhere/records"),
        ({"--model": "{scheme}://nowhere/model"}, "{scheme}://nowhere/model"),
    ],
)
def test_a_bucket_that_is_not_there(
    connect: Connect,
    object_store: Server,
    bucket: str,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, str],
    place: str,
) -> None:
    connect()
    scheme = object_store.scheme
    given = {"--input": bucket, "--output": f"{scheme}://outputs/missing", **options}
    assert faceveil("run", *(text.format(scheme=scheme) for pair in given.items() for text in pair)) == 5
    line = only_line(capsys.readouterr().err)
    assert line.startswith(f"faceveil: {place.format(scheme=scheme)}")
    assert "bucket nowhere does not exist" in line
    assert not any(name.startswith("missing/") for name in object_store.sizes("outputs"))


@pytest.mark.parametrize(
    ("method", "place"),
    [("GET", "/inputs"), ("POST", "outputs"), ("PUT", "outputs"), ("DELETE", "outputs")],
)
def test_a_permission_that_is_missing(
    connect: Connect,
    object_store: Server,
    bucket: str,
    capsys: pytest.CaptureFixture[str],
    method: str,
    place: str,
) -> None:
    message = f"account does not have access to {method}"
    body = (
        json.dumps({"error": {"code": 403, "message": message}})
        if object_store.scheme == "gs"
        else f"<Error><Code>AccessDenied</Code><Message>{message}</Message></Error>"
    )
    if method == {"gs": "PUT", "s3": "POST"}[object_store.scheme]:
        pytest.skip("not how this service is written to")
    connect(refuse=lambda verb, path: (403, body.encode()) if verb == method and place in path.split("?")[0] else None)
    scheme = object_store.scheme
    assert faceveil("run", "--input", bucket, "--output", f"{scheme}://outputs/refused") == 5
    line = only_line(capsys.readouterr().err)
    assert f"{scheme}://{place.strip('/')}/" in line
    assert message in line


def test_a_shard_is_sent_while_the_next_one_is_made(
    connect: Connect, object_store: Server, bucket: str, local: dict[str, str]
) -> None:
    if object_store.scheme == "gs":
        pytest.skip("its uploads do not name the object in their address")
    sending, reading_next = threading.Event(), threading.Event()

    def hold_first_shard(method: str, path: str) -> None:
        if method == "GET" and "photos/" in path and sending.is_set():
            reading_next.set()
        if method == "PUT" and path.endswith(".tfrecord") and not sending.is_set():
            sending.set()
            reading_next.wait(60)

    connect(refuse=hold_first_shard)
    assert faceveil("run", "--input", bucket, "--output", "s3://outputs/ahead", *JOB) == 0
    assert reading_next.is_set()
    sent = {name.partition("/")[2] for name in object_store.sizes("outputs") if name.startswith("ahead/data")}
    assert sent == set(local)


@pytest.mark.parametrize("given", ["none", "wrong"])
def test_credentials_that_are_missing_or_wrong(
    connect: Connect,
    object_store: Server,
    bucket: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    given: str,
) -> None:
    if object_store.scheme == "gs":
        refusal = (401, b'{"error": {"code": 401, "message": "Anonymous caller"}}')
        if given == "wrong":
            # The account's own file names who is asked for a token: here a server that knows no such account.
            token_server = connect(refuse=lambda method, path: (400, b'{"error": "invalid_grant"}'))  # noqa: ARG005
            key = write_service_account(tmp_path / "key.json", token_server.address)
            monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    else:
        code = {"none": "AccessDenied", "wrong": "InvalidAccessKeyId"}[given]
        refusal = (403, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())
    connect(refuse=lambda method, path: refusal)  # noqa: ARG005
    if given == "none":
        monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    assert faceveil("run", "--input", bucket, "--output", f"{object_store.scheme}://outputs/refused") == 5
    line = only_line(capsys.readouterr().err)
    assert {"none": "credentials were found, and it is not public", "wrong": "refuses the credentials"}[given] in line


def write_service_account(path: Path, token_server: str) -> Path:
    """A key file that is right in itself, of an account that nobody knows."""
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {"client_email": "a@b.iam.gserviceaccount.com", "token_uri": f"{token_server}/token", "private_key": pem}
    path.write_text(json.dumps({"type": "service_account", "project_id": "p", "private_key_id": "1", **account}))
    return path


def test_boxes_may_be_in_a_bucket(
    connect: Connect, object_store: Server, bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    connect()
    table = "key,xmin,ymin,xmax,ymax\npeople/portrait.jpeg,1,2,30,40\nthings/coffee.jpg,,,,\n"
    object_store.put("inputs", "boxes.csv", table.encode())
    boxes = f"{object_store.scheme}://inputs/boxes.csv"
    job = ("run", "--input", bucket, "--max_quarantined", 1, "--boxes_mode", "replace")
    assert faceveil(*job, "--output", tmp_path / "out", "--boxes", boxes) == 0
    totals = json.loads((tmp_path / "out" / "manifest.json").read_text())["totals"]
    assert (totals["anonymized"], totals["no_faces"], totals["quarantined"], totals["given_faces"]) == (1, 1, 4, 1)
    capsys.readouterr()
    assert faceveil(*job, "--output", tmp_path / "none", "--boxes", boxes.replace("boxes", "gone")) == 5
    told = only_line(capsys.readouterr().err)
    assert told.startswith("faceveil: --boxes ")
    assert "gone.csv: cannot be read: " in told
