"""What every part of the format rests on."""

import msgspec


class UserError(Exception):
    """A mistake that the user can fix; every command shows it as one line and exits with 2."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the immutable values stored in ``run.json``."""
