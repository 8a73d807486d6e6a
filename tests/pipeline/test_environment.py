import os

import pytest

from faceveil.pipeline.environment import prepare_environment


@pytest.mark.parametrize(
    ("before", "no_proxy", "for_grpc"),
    [
        ({}, "localhost,127.0.0.1,::1", "localhost,127.0.0.1,::1"),
        ({"NO_PROXY": "corp.example"}, "corp.example,localhost,127.0.0.1,::1", "corp.example,localhost,127.0.0.1,::1"),
        ({"no_proxy": "::1, a", "NO_PROXY": "b"}, "::1,a,localhost,127.0.0.1", "::1,a,localhost,127.0.0.1"),
        ({"no_proxy": "*"}, "*", "*,localhost,127.0.0.1,::1"),
        ({"no_grpc_proxy": "a"}, "localhost,127.0.0.1,::1", "a,localhost,127.0.0.1,::1"),
    ],
)
def test_loopback_is_excepted_from_proxies_beside_what_the_user_excepts(
    before: dict[str, str], no_proxy: str, for_grpc: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.setenv(name, "")  # so that whatever is set is unset afterwards
        monkeypatch.delenv(name)
    for name, value in before.items():
        monkeypatch.setenv(name, value)
    prepare_environment()
    assert (os.environ["no_proxy"], os.environ["no_grpc_proxy"]) == (no_proxy, for_grpc)
