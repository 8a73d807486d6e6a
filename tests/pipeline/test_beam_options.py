import argparse

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from faceveil.pipeline.beam_options import beam_option_names, beam_runner_names


def test_every_option_of_beam_is_known() -> None:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for options in PipelineOptions.__subclasses__():
        if options.__module__.startswith("apache_beam.options."):
            options._add_argparse_args(_Accepting(parser))
    flags = {flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")}
    assert len(flags) > 150
    assert {flag.removeprefix("--") for flag in flags} <= beam_option_names()


def test_every_runner_of_beam_is_known() -> None:
    assert list(beam_runner_names()) == StandardOptions.KNOWN_RUNNER_NAMES


class _Accepting:
    """A parser for Beam's declarations, one of which it makes twice."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parser = parser

    def add_argument(self, *flags: str, **_: object) -> None:
        for flag in flags:
            if flag not in self._parser._option_string_actions:
                self._parser.add_argument(flag)

    add_value_provider_argument = add_argument

    def add_mutually_exclusive_group(self, **_: object) -> "_Accepting":
        return self
