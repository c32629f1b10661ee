"""The mutants of a file: what is like it, but for one operator, number, keyword or call."""

import ast
import copy

PAIRS = "Add Sub, Mult Div, BitAnd BitOr, And Or, Lt LtE, Gt GtE, Eq NotEq, In NotIn, Is IsNot, mean sum, max min, "
PAIRS += "amax amin, argmax argmin, cos sin, ones zeros, ones_like zeros_like, any all, floor ceil"
SWAPS = {a: b for pair in PAIRS.split(", ") for a, b in (pair.split(), pair.split()[::-1])}
SWAPS |= {"FloorDiv": "Div", "Mod": "Mult", "Pow": "Mult", "maximum": "minimum"}
DROPS = {"sqrt", "rsqrt", "square", "abs", "clamp", "clone", "flip", "log", "exp", "double", "reversed", "round"}
IDLE = ("device", "non_blocking", "strict")  # keywords that change nothing on a CPU, or only what is refused
OUTSIDE = (ast.Raise, ast.JoinedStr, ast.Import, ast.ImportFrom)  # what is said and what is imported


def altered(node, **changes):
    new = copy.copy(node)
    for name, value in changes.items():
        setattr(new, name, value)
    return new


def variants(node):
    """What may stand in a node's place."""
    match node:
        case ast.BinOp(op=op) | ast.BoolOp(op=op) | ast.AugAssign(op=op) if type(op).__name__ in SWAPS:
            yield altered(node, op=getattr(ast, SWAPS[type(op).__name__])())
        case ast.Compare(ops=ops):
            for k, op in enumerate(ops):
                yield altered(node, ops=[*ops[:k], getattr(ast, SWAPS[type(op).__name__])(), *ops[k + 1 :]])
        case ast.UnaryOp():
            yield node.operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(2 * value if value and isinstance(value, float) else value + 1)
        case ast.If(test=test) | ast.IfExp(test=test) if not isinstance(test, ast.Compare | ast.UnaryOp):
            yield altered(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name) as func, keywords=keywords):
            if name in SWAPS:
                yield altered(node, func=altered(func, **{func._fields[-2]: SWAPS[name]}))
            if name in DROPS:
                method = isinstance(func, ast.Attribute) and ast.unparse(func.value) not in ("math", "torch", "F", "np")
                yield func.value if method else node.args[0]
            if name == "randperm":  # in order
                rest = [keyword for keyword in keywords if keyword.arg != "generator"]
                yield altered(node, func=altered(func, attr="arange"), keywords=rest)
            for k, keyword in enumerate(keywords):
                if keyword.arg not in IDLE:
                    yield altered(node, keywords=keywords[:k] + keywords[k + 1 :])


def mutants(node, where="", lines=range(0)):
    """(what it is called, lines of the statement or of its head, function that makes it happen) for all of a tree."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list", "bases"):
            continue
        for k, child in enumerate(value if isinstance(value, list) else [value]):
            if not isinstance(child, ast.AST) or isinstance(child, OUTSIDE) or getattr(child, "arg", "") in IDLE:
                continue
            name, inside = where, lines
            if isinstance(child, ast.FunctionDef | ast.ClassDef):
                name = f"{where}.{child.name}".lstrip(".")
            if isinstance(child, ast.stmt):
                body = getattr(child, "body", None)
                inside = range(child.lineno, max(body[0].lineno, child.lineno + 1) if body else child.end_lineno + 1)
            for new in variants(child):
                place = new if not isinstance(value, list) else [*value[:k], new, *value[k + 1 :]]
                before, after = (child.test, new.test) if isinstance(child, ast.If) else (child, new)
                if isinstance(child, ast.Constant) and not isinstance(node, ast.stmt):
                    before, after = node, altered(node, **{field: place})
                text = f"{name or 'module'}: {ast.unparse(before)} -> {ast.unparse(after)}"
                lost = set(getattr(child, "keywords", ())) - set(getattr(new, "keywords", ()))
                if lost and isinstance(new, ast.Call):
                    text = f"{name or 'module'}: {ast.unparse(child.func)} without {ast.unparse(lost.pop())}"

                def happen(field=field, place=place, old=child, new=new):
                    setattr(node, field, place)
                    ast.copy_location(new, old)

                yield text, inside, happen
            yield from mutants(child, name, inside)
