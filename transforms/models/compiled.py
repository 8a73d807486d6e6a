"""Models as OpenVINO has compiled them, kept in the cache: reading and compiling take seconds of each process's start.

What is kept is used by the same release of OpenVINO on the same kind of CPU only, and computes the same to the bit.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import platform
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faceveil.transforms.models.cache import cache_folder

_CPU_INFO = Path("/proc/cpuinfo")
_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Compiled:
    """A model that OpenVINO can run.

    Attributes:
        model: OpenVINO's.
        is_quantised: whether it computes in eight bits.
    """

    model: Any
    is_quantised: bool


class KeptModel:
    """The place of a compiled model in the cache. What cannot be read or written there is done without.

    Args:
        core: OpenVINO's.
        identity: of the model's files, and of all that is done to it before it is compiled.
        config: what it is compiled with; the number of threads does not matter.
    """

    def __init__(self, core: Any, identity: str, config: Mapping[str, Any]) -> None:
        self._core, self._config = core, dict(config)
        precision = config["INFERENCE_PRECISION_HINT"]
        known = "\n".join([identity, precision, core.get_versions("CPU")["CPU"].build_number, _cpu(core)])
        self._name = f"{hashlib.sha256(known.encode()).hexdigest()[:32]}.blob"

    def load(self) -> Compiled | None:
        """The model, if it was kept; None if not, or if what lies there is not what was written."""
        try:
            data = self._path().read_bytes()
        except OSError:
            return None
        digest, content = data[:_DIGEST_BYTES], data[_DIGEST_BYTES:]
        if hashlib.sha256(content).digest() != digest:
            return None
        try:
            return Compiled(self._core.import_model(io.BytesIO(content[1:]), "CPU", self._config), content[:1] == b"8")
        except RuntimeError:  # it will be compiled, and kept anew
            return None

    def keep(self, compiled: Compiled) -> None:
        """Keeps a model; several processes may do so at once."""
        with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: OpenVINO cannot tell what it has compiled
            content = (b"8" if compiled.is_quantised else b"-") + compiled.model.export_model().getvalue()
            path = self._path()
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
            try:
                unfinished.write_bytes(hashlib.sha256(content).digest() + content)
                unfinished.replace(path)
            finally:
                unfinished.unlink(missing_ok=True)

    def _path(self) -> Path:
        return cache_folder() / "compiled" / self._name


def _cpu(core: Any) -> str:
    """The kind of CPU: its name, and since a virtual machine's may be any, what it can do."""
    name = core.get_property("CPU", "FULL_DEVICE_NAME")
    abilities = sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    flags = ""
    with contextlib.suppress(OSError):
        lines = _CPU_INFO.read_text(errors="replace").splitlines()
        flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return " ".join([platform.machine(), name, *abilities, flags])
