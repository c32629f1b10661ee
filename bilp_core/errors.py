"""The errors a caller may want to catch."""


class InputError(ValueError):
    """Something the user gave is wrong; the message names it, its value and what is allowed."""


class Diverged(RuntimeError):
    """A distillation stopped being finite."""
