import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from bilp_core.cli.main import main
from bilp_core.cli.words import dropped as say_dropped
from bilp_core.data import load
from bilp_core.synthetic import SyntheticSet

SMALL = ["--network", "convnet:depth=1,width=4"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BILP_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_help_needs_nothing_heavy():
    program = (
        "import sys\nfrom bilp_core.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "assert not {'torch', 'numpy', 'pandas'} & set(sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    for command in (
        "data",
        "score",
        "prune",
        "compare",
        "distill",
        "evaluate",
        "show",
        "import",
        "export",
        "merge",
        "run",
        "book",
    ):
        assert f"\n    {command} " in shown


def test_memory_is_said_before_a_distillation(here, capsys):
    options = ["steps=3", "span=1", "starts=1", "experts=1", "epochs=1", "expert_batch=512", "iterations=1"]
    wanted = [part for option in options for part in ("--set", option)]
    assert main(["distill", "digits", "--method", "tesla", *wanted, "--out", "s.safetensors", *SMALL]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("tesla of digits")
    assert re.fullmatch(r"a round holds about [\d.]+ MB of memory", lines[1])


def test_score_prune_distill_evaluate(here, capsys):
    assert main(["score", "digits", "--set", "trials=1", "epochs=2", "lr=1e-2", "--out", "scores.npz"]) == 0
    with np.load("scores.npz", allow_pickle=False) as file:
        assert file["scores"].shape == file["labels"].shape == (1352,)
        about = json.loads(str(file["about"]))
    assert (about["data"], about["indicator"], about["options"]["lr"], about["flip"]) == ("digits", "loss", 0.01, False)
    assert main(["prune", "digits", "--scores", "scores.npz", "--ratio", "0.9", "--out", "kept.npy"]) == 0
    kept = np.load("kept.npy")
    assert kept.dtype == np.int64
    assert len(kept) == 140
    assert "0: kept 14 of 134" in capsys.readouterr().out
    wanted = ["--keep", "kept.npy", "--ipc", "2", "--set", "iterations=2", "--out", "s.safetensors", *SMALL]
    assert main(["distill", "digits", "--method", "dm", *wanted]) == 0
    with Image.open("s.png") as picture:
        assert picture.size[0] > 90
    assert main(["evaluate", "s.safetensors", "digits", "--repeats", "2", "--set", "epochs=2", "--json", "r.json"]) == 0
    report = json.loads((here / "r.json").read_text())
    assert len(report["accuracies"]) == 2
    assert report["mean"] == pytest.approx(sum(report["accuracies"]) / 2)
    assert report["network"] == "convnet:depth=1,width=4"
    assert report["protocol"]["augment"].startswith("color")  # DM's own protocol
    capsys.readouterr()
    assert main(["evaluate", "s.safetensors", "digits", "--repeats", "1", "--set", "epochs=1", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["std"] == 0
    fair = ["--fair", "--no-real", "--repeats", "1", "--set", "epochs=2", "--json", "r.json"]
    assert main(["evaluate", "s.safetensors", "digits", *fair]) == 0
    assert "LRS 0." in capsys.readouterr().out
    scores = json.loads((here / "r.json").read_text())["fair"]
    assert scores["hlr"] == pytest.approx(scores["real"]["mean"] - scores["hard"]["mean"])


def test_distill_in_parts_and_merge(here, capsys):
    wanted = ["distill", "digits", "--method", "dm", "--set", "iterations=2", *SMALL]
    for number in (1, 2):
        assert main([*wanted, "--part", f"{number}/2", "--out", f"{number}.safetensors"]) == 0
    assert main(["merge", "2.safetensors", "1.safetensors", "--out", "both.safetensors"]) == 0
    assert "both.safetensors: 10 images" in capsys.readouterr().out
    assert main([*wanted, "--out", "whole.safetensors"]) == 0
    both, whole = (SyntheticSet.load(f"{name}.safetensors") for name in ("both", "whole"))
    assert torch.equal(both.images, whole.images)
    assert main(["merge", "1.safetensors", "--out", "both.safetensors"]) == 2
    assert "part 2 of 2 is missing" in capsys.readouterr().err
    assert main(["evaluate", "both.safetensors", "digits", "--repeats", "1", "--set", "epochs=1", "--no-real"]) == 0


def test_score_until_halves_agree(here, capsys):
    probe = ["--set", "epochs=3", "batch=64", "lr=0.03", "network=convnet:depth=1,width=4"]

    def score(*words):
        assert main(["score", "digits", *probe, *words, "--out", "s.npz"]) == 0
        with np.load("s.npz", allow_pickle=False) as file:
            return {name: file[name] for name in file}, json.loads(str(file["about"])), capsys.readouterr()

    found, about, said = score("trials=6", "--until", "0.2")
    assert about["options"]["trials"] == 2
    assert set(found["count"].tolist()) == {2}
    assert found["spread"].min() >= 0
    assert re.search(r"two halves of its 2 trials agree by 0\.\d\d\d .* with as many new ones by about 0\.", said.out)
    assert "warning" not in said.err
    found, about, said = score("trials=4", "--until", "0.999")
    assert about["options"]["trials"] == 4
    assert "4 trials, the most there were to be, do not reach 0.999 between halves; --set trials=8 goes on" in said.err
    assert len(list((here / "cache/scoring").rglob("*.safetensors"))) == 4  # the first two went on
    assert main(["score", "digits", "--indicator", "random", "--until", "0.9", "--out", "s.npz"]) == 2
    assert "until = 0.9: indicator 'random' has no trials" in capsys.readouterr().err


def test_the_same_seed_writes_the_same_set(here):
    for name in ("a", "b"):
        assert (
            main(["distill", "digits", "--set", "iterations=2", "--out", f"{name}.safetensors", "--seed", "7", *SMALL])
            == 0
        )
    from bilp_core.synthetic import SyntheticSet

    first, second = (SyntheticSet.load(f"{name}.safetensors") for name in "ab")
    assert (first.images == second.images).all()


def test_random_pruning_follows_the_seed(here):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        main(["prune", "digits", "--drop", "random", "--ratio", "0.5", "--seed", seed, "--out", f"{name}.npy"])
    a, b, c = (np.load(f"{name}.npy") for name in "abc")
    assert (a == b).all()
    assert (a != c).any()


def test_a_folder_of_images(here, capsys):
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (here / "pets" / split / name).mkdir(parents=True)
            for i in range(4):
                picture = Image.fromarray(rng.integers(0, 256, (20, 16, 3), dtype=np.uint8))
                picture.save(here / "pets" / split / name / f"{i}.jpg")
    assert main(["data", "check", "pets", "--size", "16", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["shape"] == [3, 16, 16]
    small = ["--size", "16", *SMALL]
    assert main(["distill", "pets", "--set", "iterations=1", "--out", "s.safetensors", *small]) == 0
    assert main(["evaluate", "s.safetensors", "pets", "--size", "16", "--repeats", "1", "--set", "epochs=1"]) == 0
    victim = here / "pets" / "test" / "dog" / "2.jpg"
    victim.write_bytes(victim.read_bytes()[:100])
    assert main(["data", "check", "pets", "--size", "16"]) == 2
    assert "2.jpg cannot be read as an image" in capsys.readouterr().err


def test_lists(here, capsys):
    assert main(["data", "list"]) == 0
    assert main(["methods"]) == 0
    shown = capsys.readouterr().out
    for word in (
        "digits",
        "cifar10",
        "svhn",
        "dsa",
        "iterations=20000",
        "random",
        "loss",
        "early-loss",
        "el2n",
        "grand",
        "forgetting",
        "margin",
        "monte-carlo",
    ):
        assert word in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data", "check", "cifra10"], "Did you mean 'cifar10'"),
        (["score", "digits", "--indicator", "los", "--out", "a.npz"], "indicator 'los' is unknown"),
        (["score", "digits", "--set", "epoch=2", "--out", "a.npz"], "Did you mean 'epochs'"),
        (["score", "digits", "--set", "epochs", "--out", "a.npz"], "write name=value"),
        (["score", "digits", "--set", "epochs=two", "--out", "a.npz"], "epochs = 'two'.* must be a whole number"),
        (["score", "digits", "--out", "a.txt"], "must end in .npz"),
        (["score", "digits", "--out", "no/where.npz"], "there is no folder 'no'"),
        (["prune", "digits", "--ratio", "0.5", "--out", "a.npy"], "needs --scores"),
        (["prune", "digits", "--scores", "no.npz", "--ratio", "0.5", "--out", "a.npy"], "no.npz: no such file"),
        (["prune", "digits", "--scores", "junk", "--ratio", "0.5", "--out", "a.npy"], "junk cannot be read"),
        (["prune", "digits", "--scores", "cut.npz", "--ratio", "0.5", "--out", "a.npy"], "cut.npz cannot be read"),
        (["prune", "digits", "--scores", "far.npy", "--ratio", "0.5", "--out", "a.npy"], "holds a single array"),
        (["prune", "digits", "--scores", "words.npz", "--ratio", "0.5", "--out", "a.npy"], "one row of real numbers"),
        (["prune", "digits", "--scores", "half.npz", "--ratio", "0.5", "--out", "a.npy"], "no array 'labels'"),
        (["prune", "digits", "--scores", "other.npz", "--ratio", "0.5", "--out", "a.npy"], "do not match DATA"),
        (["prune", "digits", "--drop", "random", "--ratio", "1", "--out", "a.npy"], r"ratio = 1.0"),
        (["distill", "digits", "--method", "dcc", "--out", "a.safetensors"], "method 'dcc' is unknown"),
        (["distill", "digits", "--keep", "far.npy", "--out", "a.safetensors"], "index 5000 is not in 0..1351"),
        (["distill", "digits", "--keep", "twice.npy", "--out", "a.safetensors"], "twice"),
        (["distill", "digits", "--keep", "float.npy", "--out", "a.safetensors"], "whole numbers"),
        (["distill", "digits", "--keep", "other.npz", "--out", "a.safetensors"], "holds named arrays"),
        (["distill", "digits", "--keep", "few.npy", "--out", "a.safetensors"], "does not say which images"),
        (["prune", "digits", "--scores", "plain.npz", "--ratio", "0.5", "--out", "a.npy"], "does not say which images"),
        (
            ["prune", "digits", "--drop", "random", "--ratio", "0.5", "--out", "a.npy", "--list", "no/a"],
            "no folder 'no'",
        ),
        (
            ["distill", "digits", "--keep", "few.npy", "--trust-indices", "--out", "a.safetensors", *SMALL],
            "class '.' has no samples left",
        ),
        (["distill", "digits", "--ipc", "0", "--out", "a.safetensors"], "ipc = 0"),
        (["distill", "digits", "--init", "zero", "--out", "a.safetensors"], "init = 'zero'"),
        (
            ["distill", "digits", "--network", "vgg11", "--out", "a.safetensors"],
            "needs images of 28x28 or at least 32x32",
        ),
        (["distill", "digits", "--size", "9", "--out", "a.safetensors"], "fixed size of 8"),
        (["evaluate", "junk", "digits"], "junk cannot be read as a synthetic set"),
        (["evaluate", "gone.safetensors", "digits"], "gone.safetensors: no such file"),
        (["data", "check", "digits", "--device", "cpu", "--json", "no/x.json"], "there is no folder"),
        (["run", "no-such-chapter"], "no chapter 'no-such-chapter'"),
        (["run", "redundancy", "--engine", "moon"], "engine is 'moon'; allowed: local, inline, ray"),
        (["book", "--engine", "moon"], "engine is 'moon'"),
        (["run", "redundancy", "--sweep", "seeds"], "write NAME VALUE VALUE"),
        (["run", "redundancy", "--sweep", "seeds", "1", "--sweep", "seeds", "2"], "each NAME once"),
        (["run", "redundancy", "--sweep", "sedes", "1", "2"], "Did you mean 'seeds'"),
        (["run", "no-such-chapter", "--sweep", "seeds", "1"], "no chapter 'no-such-chapter'"),
    ],
)
def test_wrong_input(words, message, here, capsys, monkeypatch):
    from bilp_core.utils.paths import root

    monkeypatch.setenv("BILP_ROOT", str(root()))
    (here / "junk").write_bytes(b"no array")
    np.savez(here / "other.npz", scores=np.zeros(5), labels=np.zeros(5, np.int64))
    (here / "cut.npz").write_bytes((here / "other.npz").read_bytes()[:300])
    np.savez(here / "words.npz", scores=np.array(["a"] * 1352), labels=np.zeros(1352, np.int64))
    np.savez(here / "half.npz", scores=np.zeros(1352))
    np.savez(here / "plain.npz", scores=np.zeros(1352), labels=load("digits").train.labels.numpy())
    np.save(here / "few.npy", np.array([0, 1]))
    np.save(here / "far.npy", np.array([0, 5000]))
    np.save(here / "twice.npy", np.array([1, 1]))
    np.save(here / "float.npy", np.array([0.5]))
    assert main(words) == 2
    error = capsys.readouterr().err
    assert re.search(f"^bilp: error: .*{message}", error, re.MULTILINE), error
    assert "Traceback" not in error


def test_usage_errors_exit_with_2(capsys):
    for words in ([], ["distil"], ["score", "digits"], ["prune", "digits", "--ratio", "x", "--out", "a.npy"]):
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 2


def test_both_ends_can_go(here):
    labels = load("digits").train.labels.numpy()
    scores = np.arange(len(labels), dtype=np.float32)
    np.savez("scores.npz", scores=scores, labels=labels)
    kept = {}
    plain = ["--scores", "scores.npz", "--trust-indices"]
    for drop in ("largest", "smallest"):
        assert main(["prune", "digits", *plain, "--ratio", "0.5", "--drop", drop, "--out", "k.npy"]) == 0
        kept[drop] = np.load("k.npy")
    assert kept["largest"].mean() < scores.mean() < kept["smallest"].mean()


def test_a_set_of_other_classes_is_refused(here, capsys):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (here / "pets" / split / name).mkdir(parents=True)
            for i in range(2):
                Image.new("L", (8, 8), 100 + i).save(here / "pets" / split / name / f"{i}.png")
    assert main(["distill", "digits", "--set", "iterations=1", "--out", "s.safetensors", *SMALL]) == 0
    assert main(["evaluate", "s.safetensors", "pets"]) == 2
    assert "they must be the same classes" in capsys.readouterr().err


def test_a_failure_exits_with_1(here, capsys):
    wild = ["iterations=3", "image_lr=1e30"]
    assert main(["distill", "digits", "--method", "dm", "--set", *wild, "--out", "s.safetensors", *SMALL]) == 1
    error = capsys.readouterr().err
    assert re.search("^bilp: error: dm: .* lower image_lr", error, re.MULTILINE)
    assert not (here / "s.safetensors").exists()


def test_an_interrupt_exits_with_130(monkeypatch, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("bilp_core.cli.library.methods", interrupted)
    assert main(["methods"]) == 130
    assert capsys.readouterr().err.startswith("bilp: interrupted")


@pytest.mark.parametrize(
    ("words", "where", "status"),
    [
        ("data list", "| true", 0),
        ("data list", "> /dev/full", 1),  # what it was for
        ("data list", ">&-", 0),
        ("prune digits --drop random --ratio 0.5 --out k.npy", "| true", 0),
        ("prune digits --drop random --ratio 0.5 --out k.npy", "> /dev/full 2> /dev/full", 0),
        ("prune digits --ratio 0.5 --out k.npy", "> /dev/full", 2),
    ],
)
def test_a_print_that_fails_changes_nothing_of_the_work(words, where, status, here):
    command = f"{sys.executable} -m bilp_core.cli {words} {where}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.returncode == status
    assert (here / "k.npy").exists() == (status == 0 and "k.npy" in words)


def test_every_command_explains_itself(capsys):
    for words in (["data", "check"], ["score"], ["prune"], ["distill"], ["evaluate"], ["run"], ["book"], ["cache"]):
        with pytest.raises(SystemExit) as end:
            main([*words, "--help"])
        assert end.value.code == 0
        shown = capsys.readouterr().out
        assert f"usage: bilp {' '.join(words)}" in shown
        assert "--debug" in shown


def test_debug_shows_the_traceback(here):
    from bilp_core.errors import InputError

    with pytest.raises(InputError):
        main(["data", "check", "nothing", "--debug"])


def test_what_adaptive_pruning_dropped_is_said_and_doubted_where_it_is_far_from_what_was_asked(here, capsys):
    wanted = ["--adaptive", "0.3", "--set", "iterations=2", "--out", "s.safetensors", *SMALL]
    assert main(["distill", "digits", "--method", "dm", *wanted]) == 0
    dropped = SyntheticSet.load("s.safetensors").meta["adaptive"]["dropped"]
    assert f"adaptive pruning dropped {dropped:.0%} of the batches it decided on" in capsys.readouterr().err
    about = {"rate": 0.3, "lazy": 10, "tails": "both", "effect": "sketch", "law": "running"}
    for share, doubted in ((0.1, True), (0.2, False), (0.44, False), (0.55, True)):
        say_dropped({**about, "dropped": share})
        remedy = "--law batch (now running), --lazy 1 (now 10) or --tails (now both) may help"
        assert (remedy in capsys.readouterr().err) == doubted
