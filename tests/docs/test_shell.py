import pytest

from tests.docs.shell import commands


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("# nothing but a remark\n\n", []),
        ("run --input 'a#b' '# c'  # the rest", [("run", "--input", "a#b", "# c")]),
        ("run a \\\n    b && go; stop | tail", [("run", "a", "b"), ("go",), ("stop",), ("tail",)]),
        ("run '{\n  \"a\": 1}'", [("run", '{\n  "a": 1}')]),
        ("X=1 run $X ${X}y $Z", [("run", "X", "Xy", "Z")]),
        ("export X=1 Y=$Z\nrun $X/$Y", [(), ("run", "1/Z")]),
        ('export S="$(openssl rand -hex 32)"    # secret', [()]),
        (
            "run 'train=photos/**' --classes 1 [--quality fast]",
            [("run", "train=photos/**", "--classes", "1", "[--quality", "fast]")],
        ),
        ("faceveil run … --overwrite", [("faceveil", "run", "…", "--overwrite")]),
    ],
)
def test_words_are_those_of_a_shell(text: str, words: list[tuple[str, ...]]) -> None:
    assert [command.words for command in commands(text)] == words


@pytest.mark.parametrize("text", ["run 'a", 'run "a\nb'])
def test_a_quote_that_is_not_closed_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="quotation"):
        list(commands(text))


@pytest.mark.parametrize(
    ("text", "module"),
    [
        ("python -m benchmarks.scale --images 5", "benchmarks.scale"),
        (".venv/bin/python -m pytest tests", "pytest"),
        ("python3.13 -m venv x", "venv"),
        ("python program.py", None),
        ("faceveil run", None),
        ("export A=b", None),
    ],
)
def test_the_module_is_known(text: str, module: str | None) -> None:
    [command] = commands(text)
    assert command.module == module


def test_variables_are_those_of_the_command() -> None:
    alone, before = commands("export A=x B=y\nC=z run")
    assert alone.variables == (("A", "x"), ("B", "y"))
    assert before.variables == (("C", "z"),)
