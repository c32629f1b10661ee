"""Representative batches inside the distillers."""

import pytest
import torch

from bilp_core.cli.main import main
from bilp_core.distillers import METHODS, Matching, check_represent, distill, make
from bilp_core.errors import InputError
from bilp_core.pruning import Adaptive, Representative, representatives

from .common import NET, a_run, short

MATCHING = [name for name, method in METHODS.items() if issubclass(method, Matching)]


@pytest.mark.parametrize("name", MATCHING)
def test_every_matching_method_uses_them(name, data):
    run = a_run(short(name, batch=4), data, represent=Representative(3))
    features = run.features(data.of_class(0))
    torch.testing.assert_close(features, run.net.embed(data.batch(data.of_class(0))), rtol=1e-4, atol=1e-5)
    state = run.rng.get_state()
    picks = run.batches.indices(0)
    run.rng.set_state(state)
    assert picks.tolist() == data.of_class(0)[representatives(features, len(picks), run.rng)].tolist()
    assert [run.batches.indices(0).tolist() for _ in range(2)] == [picks.tolist()] * 2  # one clustering, three steps
    run.net.load_state_dict({key: torch.randn_like(value) for key, value in run.net.state_dict().items()})
    assert run.batches.indices(0).tolist() != picks.tolist()


def test_a_small_class_is_used_whole(data):
    run = a_run(short("dm", batch=10), data, represent=Representative())
    assert sorted(run.batches.indices(0).tolist()) == sorted(data.of_class(0).tolist())


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match="'frepo' does not"):
        check_represent(make("frepo"), None)
    with pytest.raises(InputError, match="both choose the real batch"):
        check_represent(make("dm"), Adaptive(0.3))


def test_the_set_says_so_and_so_does_the_command(data, tmp_path, capsys):
    settings = {"ipc": 1, "network": NET, "represent": Representative(2)}
    made = distill(short("dm", iterations=5, batch=4), data, **settings)
    assert made.meta["represent"] == {"interval": 2}
    plain = distill(short("dm", iterations=5, batch=4), data, ipc=1, network=NET)
    assert not torch.equal(made.images, plain.images)
    out = str(tmp_path / "s.safetensors")
    words = ["--ipc", "1", "--batch", "represent", "--network", NET, "--set", "iterations=1", "batch=8", "--out", out]
    assert main(["distill", "digits", "--method", "dm", *words]) == 0
    assert main(["distill", "digits", "--method", "mtt", *words]) != 0
    assert "a method that matches real batches" in capsys.readouterr().err
