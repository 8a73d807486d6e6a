"""Reads a Dockerfile, and follows it as far as an environment of Python's on this machine can."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    """One instruction (https://docs.docker.com/reference/dockerfile/), with its variables replaced."""

    name: str
    arguments: str


@dataclass
class Image:
    """What stands in for an image: a folder for its files, and an environment with its packages.

    Attributes:
        root: holds what the image has below ``/``, as far as it was copied there.
        variables: its environment variables, with paths of this machine.
    """

    root: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def python(self) -> Path:
        """The interpreter."""
        return self.root / "venv" / "bin" / "python"

    def path(self, path: str) -> Path:
        """Where a path of the image is on this machine."""
        return self.root / path.lstrip("/")

    def environment(self) -> dict[str, str]:
        """The variables that a process in the image has; none of ours but what leads to packages."""
        ours = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_", "SSL_"))}
        caches = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        # uv would trust a list of its own, not whom this machine trusts.
        caches_and_trust = {
            "PIP_CACHE_DIR": str(caches / "pip"),
            "UV_CACHE_DIR": str(caches / "uv"),
            "UV_SYSTEM_CERTS": "1",
        }
        ours = {**caches_and_trust, **ours}
        home = self.path("/root")
        home.mkdir(parents=True, exist_ok=True)
        return {**ours, **self.variables, "HOME": str(home), "PATH": f"{self.python.parent}:/usr/bin:/bin"}


def read_dockerfile(path: Path) -> list[Instruction]:
    """The instructions, in order."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    arguments: dict[str, str] = {}
    instructions = []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if not line.strip():
            continue
        name, _, rest = line.strip().partition(" ")
        rest = re.sub(r"\$\{(\w+)\}", lambda match: arguments.get(match[1], match[0]), rest)
        if name == "ARG":
            variable, _, default = rest.partition("=")
            arguments[variable] = default
        instructions.append(Instruction(name, rest))
    return instructions


def build(instructions: list[Instruction], context: Path, image: Image) -> None:
    """Follows the instructions. What other images would give is left out, also where they are named as stages; RUN has
    to end well, and prints.

    Raises:
        subprocess.CalledProcessError: a command failed.
        ValueError: there is an instruction that this does not know.
    """
    directory = image.root
    for instruction in instructions:
        name, arguments = instruction.name, instruction.arguments
        print(name, arguments, flush=True)
        if name == "FROM" and " AS " not in arguments:
            [version] = re.findall(r"^python:(\d+\.\d+)-slim$", arguments)
            subprocess.run([f"python{version}", "-m", "venv", image.root / "venv"], check=True)
        elif name == "WORKDIR":
            directory = image.path(arguments)
            directory.mkdir(parents=True, exist_ok=True)
        elif name == "COPY" and not arguments.startswith("--from="):
            _copy(*arguments.split(), context, directory)
        elif name == "ENV":
            variable, _, value = arguments.partition("=")
            # A cache of packages would only make an image larger; here it saves a download.
            if variable not in ("PIP_NO_CACHE_DIR", "UV_NO_CACHE"):
                image.variables[variable] = str(image.path(value)) if value.startswith("/opt/") else value
        elif name == "RUN":
            subprocess.run(["bash", "-euc", arguments], cwd=directory, env=image.environment(), check=True)
        elif name not in ("ARG", "COPY", "ENTRYPOINT", "FROM"):
            raise ValueError(f"{name}: an instruction that is not followed")


def _copy(*paths: str | Path) -> None:
    *sources, target, context, directory = paths
    for source in sources:
        found = Path(context, source)
        place = Path(directory, target)
        if found.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(found, place, symlinks=True, ignore=ignored, dirs_exist_ok=True)
        else:
            shutil.copy(found, place / found.name if str(target).endswith("/") else place)
