"""Globs: which paths one matches, and which folders may hold such paths."""

from __future__ import annotations

import re
from collections.abc import Iterator

_SPECIAL = re.compile(r"[*?\[\\]")
_GLOB_TOKEN = re.compile(
    r"(?P<folders>\*\*/)|(?P<all>\*\*)|(?P<name>\*)|(?P<one>\?)"
    r"|\[(?P<negated>[!^]?)(?P<members>\]?[^\]]*)\]|\\(?P<escaped>.)|(?P<literal>.)",
    re.DOTALL,
)
_TRANSLATED = {"folders": "(?:.*/)?", "all": ".*", "name": "[^/]*", "one": "[^/]"}


def is_glob(pattern: str) -> bool:
    """Whether a path has characters that stand for others.

    Example usage::

        >>> is_glob("photos/*.jpg"), is_glob("photos/a.jpg")
        (True, False)
    """
    return _SPECIAL.search(pattern) is not None


def escape_glob(path: str) -> str:
    """The glob that matches one path and no other, but for its case.

    Example usage::

        >>> escape_glob("photos/a[1].jpg")
        'photos/a[[]1].jpg'
    """
    return re.sub(r"[*?\[\\]", lambda special: rf"\{special[0]}" if special[0] == "\\" else f"[{special[0]}]", path)


def fixed_prefix(pattern: str) -> str:
    """The folders of a glob before its first special character, with the slash behind them.

    Example usage::

        >>> fixed_prefix("photos/2024/**/*.jpg"), fixed_prefix("*.jpg")
        ('photos/2024/', '')
    """
    special = _SPECIAL.search(pattern)
    literal = pattern[: special.start()] if special else pattern
    return literal[: literal.rfind("/") + 1]


def listed_prefix(pattern: str) -> str:
    """How every path that a glob matches begins, as far as it is plain to see.

    Example usage::

        >>> listed_prefix("gs://photos/2024/**/*.jpg"), listed_prefix("gs://photos/a.jpg")
        ('gs://photos/2024/', 'gs://photos/a.jpg')
    """
    return fixed_prefix(pattern) if is_glob(pattern) else pattern


def translate_glob(pattern: str) -> re.Pattern[str]:
    """The regular expression for a glob: exact in the fixed prefix, without regard to case behind it.

    Example usage::

        >>> bool(translate_glob("a/**/*.jpg").fullmatch("a/b.JPG"))
        True
        >>> bool(translate_glob(r"a/\\[1].*").fullmatch("a/[1].png"))
        True
    """
    prefix = fixed_prefix(pattern)
    below = "".join(expression for _, expression in _tokens(pattern, len(prefix)))
    return re.compile(f"{re.escape(prefix)}(?i:{below})", re.DOTALL)


def translate_folders(pattern: str) -> re.Pattern[str]:
    """The regular expression for the folders below a glob's fixed prefix in which a match may lie, however deep.

    Example usage::

        >>> folders = translate_folders("photos/*/raw/**/*.jpg")
        >>> [bool(folders.fullmatch(path)) for path in ("photos/a", "photos/a/raw", "photos/a/raw/b", "photos/a/b")]
        [True, True, True, False]
    """
    prefix = fixed_prefix(pattern)
    folders = []
    before = ""
    for token, expression in _tokens(pattern, len(prefix)):
        if expression == "/":
            folders.append(before)
        elif "/" in token[0] or re.fullmatch(expression, "/"):  # it may stand for slashes, so for any folders
            folders.append(f"{before}.*")
            break
        before += expression
    return re.compile(f"{re.escape(prefix)}(?i:{'|'.join(folders)})" if folders else "(?!)", re.DOTALL)


def _tokens(pattern: str, position: int) -> Iterator[tuple[re.Match[str], str]]:
    """The parts of a glob from a position on, each with its regular expression."""
    while position < len(pattern):
        token = _GLOB_TOKEN.match(pattern, position)
        assert token  # its last alternative matches any character
        yield token, _translate_token(token)
        position = token.end()


def _translate_token(token: re.Match[str]) -> str:
    kind = token.lastgroup or "literal"
    if kind in _TRANSLATED:
        return _TRANSLATED[kind]
    if kind != "members":
        return re.escape(token[kind])
    members = re.sub(r"([\\\[\]^&~|])", r"\\\1", token["members"])
    expression = f"[{'^/' if token['negated'] else ''}{members}]"
    try:
        re.compile(expression)
    except re.error:  # such as the range [b-a]
        return re.escape(token[0])
    return expression
