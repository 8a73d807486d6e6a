"""``faceveil completion``: what a shell needs to complete commands, options and their values."""

from __future__ import annotations

import argparse
from typing import Any

from faceveil.pipeline.console import say_result
from faceveil.pipeline.option_parsing import add_command
from faceveil.pipeline.options import FIELDS

_SHELLS = ("bash", "zsh", "fish")
_PATHS = ("DIR", "FILE", "GLOB", "OUTPUT", "PATH", "PHOTO")
"""How help names values that are paths."""
_EXAMPLES = """\
examples:
  faceveil completion bash

To have it at once in bash, `source` what is printed. To have it to stay, write it where the shell looks:
  bash  ~/.local/share/bash-completion/completions/faceveil
  zsh   a file _faceveil in a folder of $fpath
  fish  ~/.config/fish/completions/faceveil.fish
"""


def add_completion_command(commands: Any) -> None:
    """Adds the sub-command to the parser's."""
    parser = add_command(
        commands,
        "completion",
        "print what a shell needs to complete commands and options",
        "Prints a script by which a shell completes faceveil's commands, options and their values.",
        _EXAMPLES,
    )
    parser.add_argument("shell", choices=_SHELLS)


def run_completion_command(given: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Runs the sub-command and returns its exit status.

    Args:
        given: its own options.
        parser: of all commands.
    """
    import shtab

    _say_what_values_are(parser, shtab.FILE)
    say_result(shtab.complete(parser, given.shell))
    return 0


def _say_what_values_are(parser: argparse.ArgumentParser, files: Any) -> None:
    """Gives options the values they may have: they are checked elsewhere, so argparse knows none."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _say_what_values_are(command, files)
            continue
        option = FIELDS.get(action.dest)
        if option is not None and isinstance(option.metadata["allowed"], tuple):
            action.choices = option.metadata["allowed"]
        elif action.metavar and str(action.metavar).startswith(_PATHS):
            vars(action)["complete"] = files  # which shtab looks for
