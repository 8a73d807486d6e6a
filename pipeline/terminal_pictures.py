"""Pictures in terminals that show them, by the protocols of kitty and of iTerm2."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Literal

Protocol = Literal["kitty", "iterm2"]

_PIECE = 4096
_KITTY = ("KITTY_WINDOW_ID", "GHOSTTY_RESOURCES_DIR", "KONSOLE_VERSION")
_ITERM2 = ("iTerm.app", "WezTerm", "mintty")
_MULTIPLEXERS = ("TMUX", "STY", "ZELLIJ")
"""What runs in one of these cannot know what the terminal around it understands."""


def protocol_of(environment: Mapping[str, str], is_terminal: bool) -> Protocol | None:
    """How the terminal shows pictures, by what it says of itself; None where it does not, or none is there.

    Example usage::

        >>> protocol_of({"TERM": "xterm-kitty"}, True), protocol_of({"TERM_PROGRAM": "iTerm.app"}, True)
        ('kitty', 'iterm2')
        >>> protocol_of({"TERM": "xterm-256color"}, True), protocol_of({"TERM": "xterm-kitty"}, False)
        (None, None)
    """
    if not is_terminal or any(environment.get(name) for name in _MULTIPLEXERS):
        return None
    if environment.get("TERM_PROGRAM") in _ITERM2 or environment.get("LC_TERMINAL") == "iTerm2":
        return "iterm2"
    term = environment.get("TERM", "")
    if "kitty" in term or "ghostty" in term or any(environment.get(name) for name in _KITTY):
        return "kitty"
    return None


def shown_in_terminal(png: bytes, protocol: Protocol) -> str:
    """What a terminal has to be sent so that it shows a picture.

    kitty: https://sw.kovidgoyal.net/kitty/graphics-protocol/#a-minimal-example; iTerm2:
    https://iterm2.com/documentation-images.html.

    Example usage::

        >>> shown_in_terminal(b"png", "kitty"), shown_in_terminal(b"png", "iterm2")
        ('\\x1b_Ga=T,f=100,m=0;cG5n\\x1b\\\\', '\\x1b]1337;File=inline=1;size=3;width=100%:cG5n\\x07')
    """
    encoded = base64.b64encode(png).decode()
    if protocol == "iterm2":
        return f"\x1b]1337;File=inline=1;size={len(png)};width=100%:{encoded}\x07"
    pieces = [encoded[start : start + _PIECE] for start in range(0, len(encoded), _PIECE)]
    told = []
    for place, piece in enumerate(pieces):
        first = "a=T,f=100," if place == 0 else ""
        told.append(f"\x1b_G{first}m={int(place + 1 < len(pieces))};{piece}\x1b\\")
    return "".join(told)
