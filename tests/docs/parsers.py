"""Commands against the programs that they name: parsed by the real parsers, in this process, without any work."""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import importlib.util
import io
import itertools
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Collection, Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

from faceveil.pipeline import cli
from faceveil.pipeline.beam_options import beam_option_names
from faceveil.pipeline.option_parsing import build_options, check_flags
from faceveil.pipeline.options import FIELDS
from faceveil.pipeline.training_options import model_options
from faceveil.pipeline.verify_options import VerifyOptions
from faceveil.transforms.errors import Error
from tests.conftest import ROOT
from tests.docs.shell import Command

NOT_RUN = {
    "pip": "make test-install installs the package",
    "make": "CI runs the targets themselves",
    "python -m benchmarks": "measures for minutes or hours, often on photos that are not in the repository",
    "python -m faceveil.training.shipped": "trains for hours, on photos that are not in the repository",
    ".venv/bin/pre-commit": "changes the clone",
    "airflow": "needs a server; make test-airflow runs the DAG",
    "docker": "needs a daemon and a registry",
    "ffmpeg": "need not be here",
    "gcloud": "needs Google Cloud",
    "go": "downloads and compiles",
    "open": "needs a screen",
    "yolo": "need not be here",
}
"""Why some commands are never run, by how they begin. What they name in this repository has to be there."""
_MENTIONED = frozenset({"aws", "flink", "mvn", "source", "tensorboard", "uv"})
"""Other programs that pages speak of, whose options nobody here can check."""

_OURS = ("benchmarks", "demo", "faceveil", "tests")
_IN_REPOSITORY = re.compile(
    r"(?:\.\./)?(?P<path>(?:benchmarks|configs|demo|docs|evaluation|pipeline|tests|training|transforms)/[\w./*-]+\.\w+"
    r"|(?:configs|tests|transforms)/[\w/]*|requirements[\w-]*\.\w+)"
)
_SALT = {"FACEVEIL_SALT": "0" * 64}


class _ParsedError(Exception):
    """Arguments were accepted."""


def problem(command: Command, whole: bool = True) -> str:
    """What is wrong with a command; empty if nothing is.

    Args:
        command: as a page has it.
        whole: whether all that it needs is there; else it is a mention of some of it, as ``faceveil evaluate``.
    """
    whole = whole and "…" not in command.words
    words = list(command.words) if whole else _filled(command.words)
    try:
        _check(command, words, whole)
    except (Error, ValueError, SystemExit) as error:
        return str(error)
    return missing_paths(command.words)


def _filled(words: Sequence[str]) -> list[str]:
    """Words of a mention, without its brackets; dots that stand for a value become one, others nothing."""
    filled = []
    for before, word in zip(("", *words), words, strict=False):
        if word != "…" or before.startswith("--"):
            filled.append("x" if word == "…" else word.strip("[]"))
    return filled


def missing_paths(words: Sequence[str]) -> str:
    """Which files of the repository words name that are not there; empty if none is."""
    named = [found["path"] for word in words for found in [_IN_REPOSITORY.fullmatch(word)] if found]
    return ", ".join(f"{name} is not there" for name in named if not list(ROOT.glob(name)))


def is_run(command: Command) -> bool:
    """Whether the tests run a command as a page has it, unless its block says otherwise."""
    return command.words[:1] == ("faceveil",)


def why_not_run(command: Command) -> str | None:
    """Why commands of this kind are not run, if nobody has to say so on the page."""
    line = " ".join(command.words)
    return next((why for begin, why in NOT_RUN.items() if re.match(rf"{re.escape(begin)}\b", line)), None)


def examples() -> str:
    """The commands that the help of ``faceveil`` and its sub-commands ends with, and those in configurations."""
    epilogs = [parser.epilog or "" for parser in _all_parsers(cli._parser())]
    configurations = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "configs").glob("*.yaml"))]
    remarks = [re.sub(r"^# ", "", text, flags=re.MULTILINE) for text in configurations]
    return "\n".join(re.findall(r"^  (faceveil (?:.*\\\n)*.*)$", "\n".join([*epilogs, *remarks]), re.MULTILINE))


@functools.cache
def known_flags() -> frozenset[str]:
    """All flags of the command ``faceveil``, its sub-commands and Beam."""
    names = set()
    for parser in _all_parsers(cli._parser()):
        names |= {flag for flag in parser._option_string_actions if flag.startswith("--")}
    return frozenset(names) | {f"--{name}" for name in beam_option_names()}


@functools.cache
def flags_of(module: str) -> frozenset[str]:
    """The flags that a module takes when it is run."""
    if "ArgumentParser" not in _source(module):
        return frozenset()
    with _no_work() as parsers, contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
        _run(module, ["--no-such-flag"])
    return frozenset(
        flag for parser in parsers for each in _all_parsers(parser) for flag in each._option_string_actions
    )


def _check(command: Command, words: list[str], whole: bool) -> None:
    program, arguments = words[0].rpartition("/")[2], words[1:]
    module = command.module
    if module == "faceveil" or program == "faceveil":
        _check_faceveil(arguments if module is None else arguments[2:], whole)
    elif module == "pytest":
        _check_pytest(arguments[2:])
    elif module and module.partition(".")[0] in _OURS:
        _check_module(module, arguments[2:], whole)
    elif module:
        if importlib.util.find_spec(module) is None:
            raise ValueError(f"there is no module {module}")
    elif program == "make":
        _check_make(tuple(arguments))
    elif program == "pip":
        _check_pip(arguments)
    elif program == "pytest":
        _check_pytest(arguments)
    elif program not in _MENTIONED and why_not_run(Command((words[0], *arguments), ())) is None:
        raise ValueError(f"{program}: nobody knows what to do with it; tests/docs/parsers.py has the programs")


def _check_faceveil(arguments: list[str], whole: bool) -> None:
    parser = cli._parser()
    if not whole:
        _forgive(parser)
        if arguments and arguments[-1].startswith("--"):
            _check_flags(arguments, known_flags() | {"--config", "--help", "--version"})
            arguments = arguments[:-1]
    with contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            given, rest = parser.parse_known_args(arguments)
        except SystemExit as ended:
            if not ended.code:  # --help and --version end it
                return
            raise ValueError(said.getvalue().strip().splitlines()[-1]) from None
    flags = {name: value for name, value in vars(given).items() if name in FIELDS}
    if given.command == "run" and whole:
        with mock.patch.dict(os.environ, _SALT):
            # Other configurations than those of the repository are the reader's own.
            config = ROOT / given.config if (given.config or "").startswith("configs/") else None
            build_options(flags, rest, str(config) if config else None)
        return
    if given.command == "verify" and whole:
        VerifyOptions.parse(given, rest)
        return
    if given.command in ("run", "verify"):
        _check_flags(rest, known_flags())
    elif rest:
        raise ValueError(f"{rest[0]}: unrecognized argument of faceveil {given.command}")
    if hasattr(given, "batch_size"):
        model_options(given)
    shared = {name for name in flags if given.command == "run" or FIELDS[name].metadata["group"] != "data"}
    check_flags({name: flags[name] for name in shared if flags[name] is not None})


def _check_module(module: str, arguments: list[str], whole: bool) -> None:
    source = _source(module)
    if "ArgumentParser" not in source:
        if arguments:
            raise ValueError(f"{arguments[0]}: {module} takes no arguments")
        return
    with _no_work(forgiving=not whole), contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            _run(module, arguments)
        except _ParsedError:
            return
        except SystemExit:
            raise ValueError(said.getvalue().strip().splitlines()[-1]) from None
    raise ValueError(f"{module} has looked at no arguments")


def _run(module: str, arguments: list[str]) -> None:
    """Calls a module's main function, which is to end as soon as its arguments are parsed."""
    main: Callable[[], Any] = importlib.import_module(_spec(module).name).main
    with mock.patch.object(sys, "argv", [module, *arguments]):
        main()


def _spec(module: str) -> ModuleSpec:
    """What Python runs for ``-m``: of a package its ``__main__``."""
    spec = importlib.util.find_spec(module)
    if spec and spec.submodule_search_locations:
        spec = importlib.util.find_spec(f"{module}.__main__")
    if spec is None:
        raise ValueError(f"there is no module {module}")
    return spec


def _source(module: str) -> str:
    return Path(str(_spec(module).origin)).read_text(encoding="utf-8")


@contextlib.contextmanager
def _no_work(forgiving: bool = False) -> Iterator[list[argparse.ArgumentParser]]:
    """Lets every parser stop its program once the arguments are accepted; yields the parsers that were asked."""
    parsers: list[argparse.ArgumentParser] = []
    parse = argparse.ArgumentParser.parse_known_args

    def parse_only(self: argparse.ArgumentParser, *arguments: Any, **named: Any) -> NoReturn:
        parsers.append(self)
        if forgiving:
            _forgive(self)
        with mock.patch.object(argparse.ArgumentParser, "parse_known_args", parse):
            _, rest = parse(self, *arguments, **named)
        if rest:
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        raise _ParsedError

    with mock.patch.object(argparse.ArgumentParser, "parse_known_args", parse_only):
        yield parsers


def _forgive(parser: argparse.ArgumentParser) -> None:
    """Lets a parser do without what it requires."""
    for each in _all_parsers(parser):
        for action in each._actions:
            action.required = False


def _all_parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in dict.fromkeys(action.choices.values()):
                yield from _all_parsers(below)


def _check_flags(words: Sequence[str], known: Collection[str]) -> None:
    if unknown := [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]:
        raise ValueError(f"{', '.join(unknown)}: there is no such option")


@functools.cache
def _check_make(arguments: tuple[str, ...]) -> None:
    command = ["make", "--dry-run", *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise ValueError(ended.stderr.strip())


def _check_pip(arguments: Sequence[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for word in arguments:
        found = re.fullmatch(r"(?:\.|faceveil)\[(?P<extras>[\w,-]+)\]", word)
        for extra in found["extras"].split(",") if found else ():
            if extra not in project["optional-dependencies"]:
                raise ValueError(f"{word}: there is no extra {extra}")
    for flag, name in itertools.pairwise(arguments):
        if flag == "-r" and not (ROOT / name).is_file():
            raise ValueError(f"{name} is not there")


def _check_pytest(arguments: Sequence[str]) -> None:
    for name in arguments:
        if "/" in name and not (ROOT / name).exists():
            raise ValueError(f"{name} is not there")
    for flag, words in itertools.pairwise(arguments):
        if flag == "-k" and not any(words in path.read_text(encoding="utf-8") for path in _tests()):
            raise ValueError(f"no test is called {words}")


def _tests() -> Iterator[Path]:
    return (ROOT / "tests").rglob("test_*.py")
