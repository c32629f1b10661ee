import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr

from bilp_core.errors import InputError
from bilp_core.indicators import INDICATORS, empirical_loss, loss_curves, recording, score, score_together
from bilp_core.indicators.el2n import error_norm
from bilp_core.indicators.forgetting import Events
from bilp_core.indicators.margin import entropy, margin
from bilp_core.indicators.recording import Recorded, Watch, Weighted, at_the_end, cross_entropy, record
from bilp_core.nets import Probe, memory

from .common import PROBED, awkward

RECORDED = [name for name, indicator in INDICATORS.items() if isinstance(indicator, Recorded)]
PROBE = Probe(trials=3, epochs=4, batch=8, network="mlp", lr=0.05)


def test_statistics_by_hand():
    logits = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]).log() + 5
    labels = torch.tensor([0, 1])
    torch.testing.assert_close(cross_entropy(logits, labels), -torch.tensor([0.7, 0.1]).log())
    expected = [math.sqrt(0.3**2 + 0.2**2 + 0.1**2), math.sqrt(0.1**2 + 0.9**2 + 0.8**2)]
    torch.testing.assert_close(error_norm(logits, labels), torch.tensor(expected))
    torch.testing.assert_close(margin(logits, labels), torch.tensor([0.5, 0.3]))
    by_hand = [-sum(p * math.log(p) for p in row) for row in ((0.7, 0.2, 0.1), (0.1, 0.1, 0.8))]
    torch.testing.assert_close(entropy(logits, labels), torch.tensor(by_hand))


@pytest.mark.parametrize("statistic", [cross_entropy, error_norm, margin, entropy])
def test_statistics_treat_every_sample_alone(statistic):
    """Stacked over trials, or in another order: the same numbers. Certain predictions give finite ones."""
    rng = torch.Generator().manual_seed(0)
    logits, labels = 20 * torch.randn(3, 50, 4, generator=rng), torch.randint(0, 4, (3, 50), generator=rng)
    values = statistic(logits, labels)
    order = torch.randperm(50, generator=rng)
    assert torch.equal(values[:, order], statistic(logits[:, order], labels[:, order]))
    torch.testing.assert_close(values[1], statistic(logits[1], labels[1]))
    certain = statistic(torch.tensor([[1e4, 0.0, 0.0]]), torch.tensor([0]))
    assert certain.item() == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(statistic(torch.zeros(2, 3), torch.tensor([0, 2]))).all()


def test_forgetting_events_by_hand():
    correct = torch.tensor([[1, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 1, 1, 1], [1, 1, 1, 1, 0], [1, 0, 1, 0, 1]])
    events = Events()
    for epoch, column in enumerate(correct.float().T):
        events.add(epoch, column[None])  # one trial
    assert events.result().tolist() == [[2, 5, 0, 1, 2]]  # the second never learned: all five epochs


def test_a_recording_is_the_curve_reduced():
    """`loss` and `early-loss` from whole curves."""
    data = awkward()
    curves = loss_curves(data, PROBE, 5)
    assert curves.shape == (3, 4, 41)
    options = {"trials": 3, "epochs": 4, "batch": 8, "network": "mlp", "lr": 0.05, "seed": 5}
    torch.testing.assert_close(score(data, "loss", **options), empirical_loss(curves))
    torch.testing.assert_close(score(data, "loss", sigma=0.0, **options), curves[:, -1].mean(0))
    torch.testing.assert_close(score(data, "early-loss", **options), curves.mean((0, 1)))


def test_one_training_serves_all():
    """Whatever their epochs: the learning rate is constant, so a short training is the start of a long one."""
    data = awkward()
    options = {"trials": 2, "batch": 8, "network": "mlp", "lr": 0.05}
    together = score_together(data, RECORDED, seed=3, **options)
    assert list(together) == RECORDED
    for name, scores in together.items():
        assert torch.equal(scores, score(data, name, seed=3, **options)), name


def test_what_cannot_share_a_training():
    data = awkward()
    with pytest.raises(InputError, match="'grand' watches no training.*those that do: loss, early-loss"):
        score_together(data, ["loss", "grand"])
    with pytest.raises(InputError, match="option 'chunk' belongs to none of the indicators loss, el2n"):
        score_together(data, ["loss", "el2n"], chunk=3)
    assert score_together(data, []) == {}


def test_trials_do_not_depend_on_their_group():
    data = awkward()
    watches = {"loss": Watch(4, cross_entropy, lambda: Weighted(at_the_end(4, 1.0)))}
    found = [record(data, replace(PROBE, together=k), 0, watches)["loss"] for k in (1, 2, 3)]
    assert found[0].shape == (3, 41)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(found[0][0], found[0][1], rtol=1e-2)


def test_too_many_trials_for_the_memory_are_halved(monkeypatch):
    sizes, train = [], recording._train

    def limited(data, probe, seeds, watches, on_epoch):
        sizes.append(len(seeds))
        if len(seeds) > 1:
            raise torch.OutOfMemoryError
        return train(data, probe, seeds, watches, on_epoch)

    monkeypatch.setattr(recording, "_train", limited)
    scores = score(awkward(), "loss", **{**PROBED, "trials": 3, "together": 3})
    assert sizes == [3, 1, 1, 1]
    monkeypatch.setattr(recording, "_train", train)
    torch.testing.assert_close(scores, score(awkward(), "loss", **{**PROBED, "trials": 3, "together": 1}))


def test_progress_counts_every_group():
    seen = []
    options = {**PROBED, "trials": 3, "together": 2}
    score(awkward(), "loss", progress=lambda done, total, note: seen.append((done, total, note)), **options)
    steps = 3 * 6  # epochs of batches of 8 of the 41 images
    assert [done for done, _, _ in seen] == [*range(2, 2 * steps + 1, 2), *range(2 * steps + 1, 3 * steps + 1)]
    assert {total for _, total, _ in seen} == {3 * steps}
    assert seen[0][2] == "trials 1 to 2 of 3"
    assert seen[-1][2] == "trials 3 to 3 of 3"


@pytest.mark.parametrize("name", RECORDED)
def test_permuted_samples_have_permuted_scores(name):
    """Exactly so where each step sees all samples. Where batches are drawn, other ones are: a similar ranking.

    Most samples here are never forgotten, and ties have no ranking, so forgetting is left out of the second half.
    """
    data = awkward()
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(1))
    options = {"trials": 2, "epochs": 6, "network": "mlp", "lr": 0.05, "batch": 64}
    whole = score(data, name, **options)
    torch.testing.assert_close(score(data.subset(order), name, **options), whole[order], rtol=1e-3, atol=1e-4)
    if name != "forgetting":
        options |= {"trials": 20, "batch": 8}
        same, other = score(data, name, **options)[order], score(data.subset(order), name, **options)
        assert spearmanr(same, other).statistic > 0.6


def test_fitting_on_a_gpu_counts_what_pytorch_holds_unused(monkeypatch):
    gpu = torch.device("cuda")
    for name, value in (("mem_get_info", (1000, 9000)), ("memory_reserved", 5000), ("memory_allocated", 2000)):
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    assert memory.free_memory(gpu) == 4000
    monkeypatch.setattr(memory, "BYTES", 4)
    assert memory.fitting(100, gpu) == 8


def test_fitting_on_a_cpu():
    cpu = torch.device("cpu")
    assert memory.fitting(64 * 64, cpu) == 128
    assert memory.fitting(512 * 32 * 32, cpu) == 1
    assert memory.fitting(10**9, cpu) == 1


def test_weights_refuse():
    with pytest.raises(InputError, match="sigma = nan"):
        at_the_end(3, math.nan)
    assert at_the_end(4, 0).tolist() == [0, 0, 0, 1]
    assert at_the_end(50, 3.0).sum().item() == pytest.approx(1)


def test_memory_is_bounded():
    """One number a trial and sample, not one for each epoch, is held along the epochs."""
    held = []

    class Spy(Weighted):
        def add(self, epoch, values):
            super().add(epoch, values)
            held.append(self.total.numel())

    watches = {"loss": Watch(5, lambda logits, labels: F.relu(logits[..., 0]), lambda: Spy(at_the_end(5, 3.0)))}
    record(awkward(), replace(PROBE, epochs=5), 0, watches)
    assert set(held) == {3 * 41}
