"""The secret salt that decides how names are hashed and which faces are drawn."""

from __future__ import annotations

import os

from faceveil.pipeline.option_values import OptionError
from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError

SALT = "FACEVEIL_SALT"
"""The environment variable that holds it."""
# With fewer, an attacker who has a name and its hash might try all salts (a key of HMAC should have 112 bits:
# https://doi.org/10.6028/NIST.SP.800-107r1, 5.3.4).
_MIN_BYTES = 16
_GOOD_SALT = "such as `openssl rand -hex 32` gives"


def read_salt(file: str | None, needed_by: str) -> bytes:
    """The salt, from a file or else from the environment.

    Args:
        file: its path; None for the environment variable.
        needed_by: the option that needs it, for the message.

    Raises:
        OptionError: there is none, or it is too short.
    """
    if file:
        source = f"--salt_file {file}"
        try:
            salt = storage.read_bytes(file).strip()
        except (OSError, AccessError) as error:
            raise OptionError(f"{source}: cannot be read: {error}") from error
    else:
        source = SALT
        salt = os.fsencode(os.environ.get(SALT, ""))
        if not salt:
            raise OptionError(
                f"{needed_by}: needs a secret salt in the environment variable {SALT} or in "
                f"--salt_file, {_GOOD_SALT}; keep it, for a rerun needs the same"
            )
    if len(salt) < _MIN_BYTES:
        raise OptionError(
            f"{source}: holds {len(salt)} bytes, which can be guessed; a salt must be {_MIN_BYTES} "
            f"bytes of chance or more, {_GOOD_SALT}"
        )
    return salt
