"""The one error a user can mend."""


class InputError(ValueError):
    """Something the user gave is wrong; the message names it, its value and what is allowed."""
