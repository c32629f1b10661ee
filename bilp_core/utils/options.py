"""One check for every set of named options."""

import difflib
from collections.abc import Mapping
from typing import Any

from ..errors import InputError


def merged(owner: str, defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """`given` over `defaults`; each value must have its default's type (an int may stand for a float).

    owner : what the options belong to, for messages. Raises InputError naming the option, its value, what is allowed.

    >>> from bilp_core.utils.options import merged
    >>> merged("dm", {"iterations": 20000, "image_lr": 1.0}, {"image_lr": 10})
    {'iterations': 20000, 'image_lr': 10.0}
    >>> merged("dm", {"iterations": 20000, "image_lr": 1.0}, {"image_rl": 10})
    Traceback (most recent call last):
        ...
    bilp_core.errors.InputError: dm has no option 'image_rl'; did you mean 'image_lr'? Allowed: iterations, image_lr
    """
    result = dict(defaults)
    for key, value in given.items():
        if key not in defaults:
            close = difflib.get_close_matches(key, defaults, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise InputError(f"{owner} has no option {key!r}{hint} Allowed: {', '.join(defaults) or 'none'}")
        wanted = type(defaults[key])
        accepted: Any = int | float if wanted is float else wanted
        if not isinstance(value, accepted) or (isinstance(value, bool) and wanted is not bool):
            trap = " (YAML reads 1e-3 as text: write 1.0e-3)" if isinstance(value, str) else ""
            raise InputError(f"option {key} = {value!r} of {owner}: must be of type {wanted.__name__}{trap}")
        result[key] = wanted(value)
    return result
