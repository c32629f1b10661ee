"""Mutants: the library with one small change, which some test should notice: make mutants ARGS="nets/recipe.py".

torch is imported once, and each mutant is a fork in which the changed file is compiled: nothing is written. Of the
tests of its room those run that run the changed line, the quickest first, until one fails. Who survives is printed,
and must be explained in tests/mutants.md; the exit status says whether all are.
"""

import ast
import gc
import multiprocessing
import os
import sys
import tempfile
import time
from collections import defaultdict
from importlib import import_module
from importlib.machinery import SourceFileLoader
from itertools import accumulate
from pathlib import Path

import pytest
import torch
from mutations import mutants

ROOT = Path(__file__).resolve().parents[2]
EVERY = {  # where a wrong sign or factor gives a wrong number
    "report": "values comparable", "pruning": "classwise ite adaptive", "evaluation": "protocols",
    "nets": "training recipe augment mixing", "data": "whitening",
    "indicators": "loss el2n grand forgetting margin recording",
    "distillers": "gradients dc dm idc regression unrolling mtt",
}  # fmt: skip
LEAST, MOST = 60.0, 8.0  # seconds a mutant has at least; seconds of tests, without a mutant, that judge one


class Watch:
    """A pytest plugin: the lines of the library that each test runs, and its seconds; "" for the lines of imports."""

    def __init__(self):
        self.lines, self.seconds, self.now = defaultdict(lambda: defaultdict(set)), {}, ""
        sys.settrace(self.trace)

    def trace(self, frame, event, arg):
        if f"{ROOT}/bilp_core/" not in frame.f_code.co_filename:
            return None
        self.lines[frame.f_code.co_filename][self.now].add(frame.f_lineno)
        return self.trace

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item):
        self.now, start = item.nodeid, time.perf_counter()
        found = yield
        self.seconds[item.nodeid] = time.perf_counter() - start
        return found


class Only:
    """A pytest plugin: runs these tests, in this order."""

    def __init__(self, names):
        self.places = {name: place for place, name in enumerate(names)}

    def pytest_collection_modifyitems(self, items):
        items[:] = sorted((i for i in items if i.nodeid in self.places), key=lambda item: self.places[item.nodeid])


def run_tests(paths, plugin, temporary):
    options = ["-xq", "--assert=plain", "-pno:cacheprovider", "-pno:unraisableexception", f"--basetemp={temporary}/t"]
    return pytest.main([*options, *paths], plugins=[plugin])


def forked(work, limit):
    """What `work` returns in a silent fork; None if it dies or takes longer than `limit` seconds."""
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(False)

    def child():
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        sender.send(work())

    process = fork.Process(target=child)
    process.start()
    sender.close()
    try:
        return receiver.recv() if receiver.poll(limit) else None
    except EOFError:
        return None
    finally:
        process.kill()
        process.join()


def judge(files, tests, temporary):
    """For each of the files of a room its mutants: what each is called, and whether it survives."""

    def watched():
        watch = Watch()
        code = run_tests([tests], watch, temporary)
        return code, {name: dict(lines) for name, lines in watch.lines.items()}, watch.seconds

    found = forked(watched, 3600)
    if not found or found[0]:
        sys.exit(f"{tests}: fails without any mutant")
    _, every, seconds = found
    for file in files:
        judged, lines, tree = [], every[str(file)], ast.parse(file.read_text())
        for text, changed, happen in mutants(tree):
            names = [name for name in seconds if (lines.get(name, set()) | lines[""]).intersection(changed)]
            names.sort(key=seconds.__getitem__)
            names = names[: 1 + sum(total < MOST for total in accumulate(seconds[name] for name in names))]

            def mutated(happen=happen, names=names, file=str(file), tree=tree):
                happen()
                code, plain = compile(ast.fix_missing_locations(tree), file, "exec"), SourceFileLoader.get_code
                SourceFileLoader.get_code = lambda self, name: code if self.path == file else plain(self, name)
                return run_tests({name.partition("::")[0] for name in names}, Only(names), temporary)

            limit = LEAST + 5 * sum(seconds[name] for name in names)
            survives = not names or forked(mutated, limit) == 0
            judged.append((text, survives))
            if survives:
                note = "" if names else " (no test runs it)"
                print(f"{file.relative_to(ROOT)}:{changed.start}: {text}{note}", flush=True)
        yield file, judged


def main(wanted):
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    torch.set_num_threads(1)
    for name in ("matplotlib.pyplot", "pandas", "sklearn.metrics", "timm.optim.lamb", "torchvision"):
        import_module(name)  # each fork would again
    gc.freeze()  # what is here stays, so that forks need not look through it
    explained, left = (ROOT / "tests/mutants.md").read_text(), 0
    with tempfile.TemporaryDirectory() as temporary:
        for room, names in EVERY.items():
            files = [ROOT / f"bilp_core/{room}/{name}.py" for name in names.split()]
            files = [file for file in files if not wanted or f"{room}/{file.name}" in wanted]
            for file, judged in judge(files, f"tests/{room}", temporary) if files else ():
                alive = [text for text, survives in judged if survives]
                known = sum(f"`{text}`" in explained for text in alive)
                left += len(alive) - known
                killed = len(judged) - len(alive)
                print(f"{room}/{file.name}: {len(judged)} mutants, {killed} killed, {known} explained", flush=True)
    gc.unfreeze()
    return int(left > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
