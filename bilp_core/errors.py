"""The errors a caller may want to catch."""


class InputError(ValueError):
    """Something the user gave is wrong; the message names it, its value and what is allowed.

    >>> import bilp_core
    >>> try:
    ...     bilp_core.load("digits", size=2)
    ... except bilp_core.InputError as error:
    ...     print(error)
    size = 2: must be from 4 to 1024 pixels
    """


class Diverged(RuntimeError):
    """A distillation stopped being finite; the message says when, and which setting to lower.

    >>> import bilp_core
    >>> train, _ = bilp_core.load("digits")
    >>> method = bilp_core.make("dm", iterations=2, image_lr=1e38, batch=8)
    >>> try:
    ...     bilp_core.distill(method, train, ipc=1, network="convnet:depth=1,width=4")
    ... except bilp_core.Diverged as error:
    ...     print(error)
    dm: the loss is nan at iteration 2; lower image_lr = 1e+38
    """
