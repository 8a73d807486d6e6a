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
_LIKE_ASCII = str.maketrans({"\u0130": "i", "\u0131": "i", "\u017f": "s", "\u212a": "k"})
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

        >>> escape_glob("photos/a[1].jpg"), escape_glob("~")  # which stands for the user's home otherwise
        ('photos/a[[]1].jpg', '[~]')
    """
    return re.sub(r"^~|[*?\[\\]", lambda special: rf"\{special[0]}" if special[0] == "\\" else f"[{special[0]}]", path)


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
    folders, any_folder = _folders(pattern, prefix)
    folders += [any_folder] if any_folder else []
    return re.compile(f"{re.escape(prefix)}(?i:{'|'.join(folders)})" if folders else "(?!)", re.DOTALL)


def translate_wide_folders(pattern: str) -> re.Pattern[str]:
    """The regular expression for the folders, slashes at their ends, below which a match may lie in any folder.

    Example usage::

        >>> wide = translate_wide_folders("photos/*/raw/**/*.jpg")
        >>> [bool(wide.fullmatch(path)) for path in ("photos/a/", "photos/a/raw/", "photos/a/raw/b/")]
        [False, True, True]
    """
    prefix = fixed_prefix(pattern)
    any_folder = _folders(pattern, prefix)[1]
    return re.compile(f"{re.escape(prefix)}(?i:{any_folder})" if any_folder else "(?!)", re.DOTALL)


def _folders(pattern: str, prefix: str) -> tuple[list[str], str | None]:
    """Expressions for folders a match may lie in: at each level, then below those levels for any, if there are such."""
    folders = []
    before = ""
    for token, expression in _tokens(pattern, len(prefix)):
        if expression == "/":
            folders.append(before)
        elif "/" in token[0] or re.fullmatch(expression, "/"):  # it may stand for slashes, so for any folders
            return folders, f"{before}.*"
        before += expression
    return folders, None


def literal_start(glob: str) -> str:
    """How a glob begins before its first special character, up to the first letter that is not in ASCII.

    Example usage::

        >>> literal_start("img_00*.jpg"), literal_start("m\xfcller-*.jpg"), literal_start("*.jpg")
        ('img_00', 'm', '')
    """
    special = _SPECIAL.search(glob)
    literal = glob[: special.start()] if special else glob
    return next((literal[:place] for place, letter in enumerate(literal) if not letter.isascii()), literal)


def folded(text: str) -> str:
    """Another spelling of a text, the same for all that expressions take for one another where case is ignored.

    Sure for letters of ASCII alone; as long as the text.

    Example usage::

        >>> folded("IMG_1"), folded("\u212alm")
        ('img_1', 'klm')
    """
    return text.translate(_LIKE_ASCII).lower()


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
