"""Commands as pages write them: quotes, comments, lines that go on, variables; nothing is run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

_ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z_]\w*)=(?P<value>.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)\})")


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        words: the program and its arguments; empty if only variables are set.
        variables: what is set before the program's name, or by ``export``.
    """

    words: tuple[str, ...]
    variables: tuple[tuple[str, str], ...]

    @property
    def module(self) -> str | None:
        """The module that ``python -m`` runs, if it does."""
        program, *rest = self.words or ("",)
        return rest[1] if program.rpartition("/")[2].startswith("python") and rest[:1] == ["-m"] else None


def commands(text: str) -> Iterator[Command]:
    """The commands of a block.

    A variable that the block has set is replaced by its value, any other by its name.

    Raises:
        ValueError: a quote is not closed.

    Example usage::

        >>> [command.words for command in commands("export A=x\\nrun --to '$A/b c' \\\\\\n  # says\\n && go")]
        [(), ('run', '--to', 'x/b c'), ('go',)]
    """
    plain = "\n".join(map(_without_comment, text.splitlines())).replace("\\\n", " ")
    lexer = shlex.shlex(plain, posix=True, punctuation_chars="\n;&|")
    lexer.whitespace_split = True
    lexer.whitespace = " \t"
    lexer.commenters = ""
    known: dict[str, str] = {}
    words: list[str] = []
    for token in [*lexer, "\n"]:
        if token.strip("\n;&|"):
            words.append(_VARIABLE.sub(lambda found: known.get(found[1] or found[2], found[1] or found[2]), token))
        elif words:
            command = _command(words)
            known.update(command.variables)
            yield command
            words = []


def _command(words: list[str]) -> Command:
    rest = words[1:] if words[0] == "export" else words
    variables = []
    while rest and (found := _ASSIGNMENT.fullmatch(rest[0])):
        variables.append((found["name"], found["value"]))
        rest = rest[1:]
    return Command(tuple(rest), tuple(variables))


def _without_comment(line: str) -> str:
    for found in re.finditer(r"(?:^|\s)#", line):
        before = line[: found.start()]
        if before.count("'") % 2 == 0 and before.count('"') % 2 == 0:
            return before
    return line
