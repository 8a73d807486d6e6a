"""Hiding the names of files, which can name persons, behind a keyed hash."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

_DIGITS = 32


@dataclass(frozen=True)
class KeyHash:
    """Turns names into HMAC-SHA256 (RFC 2104) of a secret salt, of which 128 bits are kept as hexadecimal digits.

    Without the salt a guessed name cannot be confirmed.

    Attributes:
        salt: the secret; never printed.

    Example usage::

        >>> KeyHash(b"salt").hashed("anna.jpg"), KeyHash(b"salt")
        ('7645a5859874700ced1cbfc2921a2d70', KeyHash())
    """

    salt: bytes = field(repr=False)

    def hashed(self, name: str) -> str:
        """32 hexadecimal digits for a name."""
        return hmac.digest(self.salt, name.encode(), "sha256").hex()[:_DIGITS]

    @property
    def fingerprint(self) -> str:
        """Tells salts apart without giving them away; no name has it as its hash, for none holds a zero byte."""
        return self.hashed("\0fingerprint")
