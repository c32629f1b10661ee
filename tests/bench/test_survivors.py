"""What is counted of a batch is what adaptive pruning left of it."""

import ours
import survivors

from bilp_core.pruning import RunningNormal


def test_a_share_for_every_class_and_round(monkeypatch):
    def half(law, effects, *_):
        return effects >= effects.sort().values[len(effects) // 2]

    monkeypatch.setattr(ours, "SHAPE", (3, 8, 8))
    monkeypatch.setattr(RunningNormal, "inside", half)
    data = ours.cifar_shaped(256, "cpu", classes=2)
    found = survivors.shares("dm", data, ipc=1, network="convnet:depth=1,width=4", init="noise", rounds=3)
    assert found == [0.5] * 6
