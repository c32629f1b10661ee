"""Shapes of tensors as annotations give them, checked at every call while tests run; elsewhere they cost nothing.

    def keep(scores: Annotated[Tensor, "[N]"], labels: Annotated[Tensor, "int64 [N]"]) -> Annotated[Tensor, "int64 [n]"]

A kind is a dtype, or `float` for any of floating point, or absent. A size is a number or a name: equal names are equal
sizes within one call, and in a method those of the fields of its object. `[..., C]` leaves open what comes before;
`[N] or [N, C]` allows both. A call is checked when it has returned, so that a function refuses bad input in its own
words and what it lets pass is what it promises. Worker processes and compiled code are not looked at.
"""

import functools
import importlib.abc
import importlib.machinery
import inspect
import re
import sys
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

CHECKED: list[str] = []  # what has been found to be annotated so far


class WrongShape(AssertionError):
    """A tensor that is not what the annotation says."""


def check(value: Any, hint: Any, where: str, sizes: dict[str, int]) -> None:
    """Raise WrongShape where a tensor in `value` is not as `hint` has it; `sizes` gets the names that it binds."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin is Annotated and isinstance(inside[1], str):
        before = dict(sizes)
        for form in inside[1].split(" or "):
            sizes.clear()
            sizes.update(before)
            if _fits(value, form, sizes):
                return
        known = ", ".join(f"{name} = {size}" for name, size in before.items()) or "nothing bound"
        raise WrongShape(f"{where} is {value.dtype} {list(value.shape)}, not {inside[1]} ({known})")
    if origin in (Union, types.UnionType):
        if value is not None:
            check(value, next(part for part in inside if part is not type(None)), where, sizes)
    elif origin is tuple and inside[-1] is not ...:
        for number, (item, part) in enumerate(zip(value, inside, strict=True)):
            check(item, part, f"{where}[{number}]", sizes)
    elif origin is list:
        for number, item in enumerate(value):
            check(item, inside[0], f"{where}[{number}]", dict(sizes))  # each may have its own sizes
    elif origin is dict or origin is Mapping:
        for key, item in value.items():
            check(item, inside[1], f"{where}[{key!r}]", sizes)


def _fits(value: Any, form: str, sizes: dict[str, int]) -> bool:
    kind, names = re.fullmatch(r"(\w*) ?\[(.*)\]", form.strip()).groups()
    right = value.is_floating_point() if kind == "float" else not kind or str(value.dtype) == f"torch.{kind}"
    wanted, shape = [name.strip() for name in names.split(",") if name.strip()], list(value.shape)
    if wanted[:1] == ["..."]:
        del wanted[0]
        shape = shape[len(shape) - len(wanted) :]
    if not right or len(shape) != len(wanted):
        return False
    return all(
        size == (int(name) if name.isdecimal() else sizes.setdefault(name, size))
        for name, size in zip(wanted, shape, strict=True)
    )


def hints(thing: Any, namespace: dict[str, Any]) -> dict[str, Any]:
    """The annotations of a function or class in which a tensor's shape is given, evaluated."""
    given = {name: hint for name, hint in inspect.get_annotations(thing).items() if "Annotated[" in str(hint)}
    return {name: eval(hint, namespace) if isinstance(hint, str) else hint for name, hint in given.items()}


def checked(function: Callable, namespace: dict[str, Any], fields: dict[str, Any], name: str) -> Callable:
    """`function`, whose calls are checked; as it is if it says nothing of shapes."""
    wanted = hints(function, namespace)
    builds = function.__name__ == "__init__" and fields
    if not wanted and not builds:
        return function
    CHECKED.append(name)
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        from torch.compiler import is_compiling

        result = function(*args, **kwargs)
        if not is_compiling():
            given, sizes = signature.bind(*args, **kwargs).arguments, {}
            for field, hint in fields.items():
                check(getattr(given["self"], field), hint, f"{name}: self.{field}", sizes)
            for argument, hint in wanted.items():
                if argument in given:
                    check(given[argument], hint, f"{name}: {argument}", sizes)
            check(result, wanted.get("return"), f"{name}: what it returns", sizes)
        return result

    return call


def attach(module: types.ModuleType) -> None:
    """Put checked functions and methods in place of those that `module` defines."""
    space = vars(module)
    for name, thing in list(space.items()):
        if getattr(thing, "__module__", None) != module.__name__:
            continue
        if isinstance(thing, types.FunctionType):
            setattr(module, name, checked(thing, space, {}, f"{module.__name__}.{name}"))
        elif isinstance(thing, type):
            fields = hints(thing, space)
            for inner, method in list(vars(thing).items()):
                own = f"{module.__name__}.{name}.{inner}"
                if isinstance(method, types.FunctionType):
                    setattr(thing, inner, checked(method, space, fields, own))
                elif isinstance(method, property):
                    setattr(thing, inner, method.getter(checked(method.fget, space, fields, own)))
                elif isinstance(method, functools.cached_property):
                    method.func = checked(method.func, space, fields, own)


class _Loader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: types.ModuleType) -> None:
        super().exec_module(module)
        attach(module)


class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if name.partition(".")[0] != "bilp_core":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def install() -> None:
    """From here on, modules of the library are imported with their shapes checked."""
    sys.meta_path.insert(0, _Finder())
