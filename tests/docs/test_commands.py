"""Every command in README and docs is one that the program takes, every option and file that a page names is there.

They are parsed, not run: `make test-docs` runs them, as far as they can be run.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from faceveil.pipeline.options import FIELDS
from tests.conftest import ROOT
from tests.docs.pages import READ, Block, blocks, prose, spans, transcripts
from tests.docs.parsers import examples, flags_of, is_run, known_flags, missing_paths, problem, why_not_run
from tests.docs.shell import Command, commands

FLAGS_OF_OTHERS = {
    "--build-arg": "docker",
    "--keep-metadata": "deface",
    "--no-deps": "pip",
    "--parameters": "gcloud",
    "--scale": "deface",
}
"""What pages say of the options of others, alone."""

_MENTION = re.compile(r"(?:(?:faceveil|make|pytest|python -m|\.venv/bin/\w+)(?: |$))")
_PLACEHOLDER = re.compile(r"[A-Z_…]+|@?[A-Z]+|.*…")
_TYPED = re.compile(r"^(?:faceveil (?:[\w-]+ )+--|python -m \w|make \w|pip install)", re.MULTILINE)
_INDENTED = re.compile(r"^(?: {4}|\t)(?:[A-Z_]+=\S+ )?(?:faceveil|make|pip|python|\.venv/bin/\w+) ", re.MULTILINE)

pages = pytest.mark.parametrize("page", READ, ids=lambda page: str(page.relative_to(ROOT)))


def shell_blocks() -> list[Block]:
    return [block for page in READ for block in blocks(page, "sh")]


def problems(mention: str) -> str:
    """What is wrong with what a page mentions; empty if nothing is."""
    return ", ".join(filter(None, (problem(command, whole=False) for command in commands(mention))))


@pages
def test_what_is_to_be_typed_is_taken_as_it_stands(page: Path) -> None:
    texts = {block.place: block.text for block in shell_blocks() if block.page == page}
    found = {
        f"{place}: {' '.join(command.words)}": problem(command)
        for place, text in {**texts, "a session": transcripts(page)}.items()
        for command in commands(text)
        if command.words
    }
    assert {place: wrong for place, wrong in found.items() if wrong} == {}


def test_what_help_and_configurations_tell_is_taken() -> None:
    found = list(commands(examples()))
    assert {command.words[1] for command in found} >= {"run", "evaluate", "train-detector"}
    assert "configs/flink.yaml" in {word for command in found for word in command.words}
    assert [(command.words, wrong) for command in found if (wrong := problem(command))] == []


@pages
def test_what_is_mentioned_is_taken_too(page: Path) -> None:
    found = {span: problems(span) for span in spans(page) if _MENTION.match(span)}
    assert {span: wrong for span, wrong in found.items() if wrong} == {}


@pages
def test_every_option_that_is_named_is_there(page: Path) -> None:
    known = known_flags() | FLAGS_OF_OTHERS.keys() | _flags_of_modules(page)
    for span in spans(page):
        if span.startswith("--"):
            words = span.split()
            named = [word.partition("=")[0].rstrip("…,") for word in words if word.startswith("--")]
            assert [flag for flag in named if flag not in known] == [], span
            if {flag[2:] for flag in named} <= FIELDS.keys() and not any(map(_PLACEHOLDER.fullmatch, words)):
                wrong = problem(Command(("faceveil", "run", *words), ()), whole=False)
                assert wrong in ("", "expected"), f"{span}: {wrong}"


def _flags_of_modules(page: Path) -> frozenset[str]:
    """The flags of the benchmarks that a page tells to run: it may speak of them."""
    typed = [command for block in blocks(page, "sh") for command in commands(block.text)]
    mentioned = [command for span in spans(page) if span.startswith("python -m") for command in commands(span)]
    modules = {command.module for command in [*typed, *mentioned]}
    return frozenset(
        flag for module in modules if module and module.startswith("benchmarks") for flag in flags_of(module)
    )


@pages
def test_every_file_that_is_named_is_there(page: Path) -> None:
    assert missing_paths([word.rstrip(",.;:") for span in spans(page) for word in span.split()]) == ""


@pages
def test_commands_stand_between_fences_of_their_own(page: Path) -> None:
    # Only so are they found, and get colours.
    assert _INDENTED.findall(prose(page)) == []
    assert [block.place for block in blocks(page) if block.language != "sh" and _TYPED.search(block.text)] == []


@pytest.mark.parametrize("block", shell_blocks(), ids=lambda block: block.place)
def test_what_is_not_run_says_why(block: Block) -> None:
    told = [block.not_run] if block.not_run else []
    for command in commands(block.text):
        here = is_run(command) and not any(re.match(r"(gs|s3)://|…", word) for word in command.words)
        if command.words and not here and not block.not_run:
            why = why_not_run(command)
            assert why, f"{block.place}: put <!-- not run: why --> before the block of `{' '.join(command.words)}`"
            told.append(why)
    for why in told:
        assert len(why.split()) > 1
        assert missing_paths(why.split()) == ""
        assert [wrong for named in re.findall(r"make [\w-]+", why) if (wrong := problems(named))] == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("faceveil run --input a --output b --methd blur", "--methd: unrecognized argument; did you mean method?"),
        ("faceveil run --input a --output b --method smear", "--method smear: must be one of"),
        ("faceveil run --input a --output b --score_threshold 2", "--score_threshold 2: must be"),
        ("faceveil run --input a", "--output"),
        ("faceveil run --input a --output b --config configs/gone.yaml", "gone.yaml"),
        ("faceveil run --input a --output b --runner SparkRuner", "--runner SparkRuner: must be one of"),
        ("faceveil evaluate privacy --identities a --method blur", "--method: unrecognized argument"),
        ("faceveil evaluate privacy --identities a --margin wide", "--margin wide"),
        ("faceveil train-detector --data a --output b --config d9", "--config d9: must be"),
        ("faceveil anonymise", "invalid choice"),
        ("python -m benchmarks.scale --imagse 5 --report x", "unrecognized arguments: --imagse"),
        ("python -m benchmarks.scale --report x --kind gifs", "invalid choice"),
        ("python -m benchmarks.scales", "no module"),
        ("make tset", "tset"),
        ("pip install 'faceveil[evalute]'", "no extra evalute"),
        ("pip install -r requirement.txt", "requirement.txt is not there"),
        ("docker build --file configs/Dockerfil.e .", "configs/Dockerfil.e is not there"),
        (".venv/bin/python -m pytest tests/pipelines", "tests/pipelines is not there"),
        ("facevile run", "nobody knows"),
    ],
)
def test_a_command_that_has_gone_stale_is_found(line: str, said: str) -> None:
    [command] = commands(line)
    assert said in problem(command)


@pytest.mark.parametrize("line", ["faceveil run --input a --output b", "faceveil models path yunet-s", "make setup"])
def test_one_that_has_not_is_none(line: str) -> None:
    [command] = commands(line)
    assert problem(command) == ""
