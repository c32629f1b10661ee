"""SRe2L against its formulas, written out here on their own."""

import copy
import json
import math
import os

import pytest
import torch
import torch.nn.functional as F

from bilp_core import SyntheticSet, distill, evaluate, keep, make, protocol, score
from bilp_core.data import ImageData
from bilp_core.distillers import squeezed, sre2l
from bilp_core.distillers.experts import key
from bilp_core.errors import InputError
from bilp_core.nets import network
from bilp_core.nets.views import Views
from bilp_core.pruning import Adaptive
from bilp_core.synthetic import Relabelled

from .common import NET, a_run, rng, short

TEACHER = f"{NET},norm=batch"


def a_teacher(data, tmp_path, spec=TEACHER):
    return squeezed.build(data, spec, squeezed.Squeezing(epochs=2, lr=0.05, batch=16), tmp_path)


def ready(data, tmp_path, ipc=2, **options):
    run = a_run(short("sre2l", **options), data, ipc=ipc)
    run.stage = a_teacher(data, tmp_path)
    run.state = run.method.prepare(run)
    return run


def loss_written_out(net, images, labels, weight, first):
    """By the modules' places in a ConvNet of two blocks: convolution, norm, activation, pooling."""
    x, total = images, 0
    for place, module in enumerate(net.features):
        if place in (1, 5):
            flat = x.transpose(0, 1).flatten(1)
            mean, variance = flat.mean(1), ((flat - flat.mean(1, keepdim=True)) ** 2).mean(1)
            apart = ((module.running_var - variance) ** 2).sum().sqrt() + (
                (module.running_mean - mean) ** 2
            ).sum().sqrt()
            total = total + weight * (first if place == 1 else 1) * apart
            scale = (x - module.running_mean[:, None, None]) / (module.running_var[:, None, None] + 1e-5).sqrt()
            x = scale * module.weight[:, None, None] + module.bias[:, None, None]
        else:
            x = module(x)
    said = F.log_softmax(net.classifier(x.flatten(1)), 1)
    return total - said[torch.arange(len(labels)), labels].mean()


def test_loss_and_gradient_equal_the_formula(data, tmp_path):
    net = a_teacher(data, tmp_path).net
    images = torch.randn(6, 1, 8, 8, generator=rng()).requires_grad_()
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    ours = sre2l.recovery_loss(net, images, labels, 0.3, 10.0)
    expected = loss_written_out(net, images, labels, 0.3, 10.0)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-6)
    gradients = [torch.autograd.grad(loss, images)[0] for loss in (ours, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)
    assert not any(module._forward_hooks for module in net.modules())


def test_rounds_are_steps_of_adam_on_a_falling_rate_inside_the_pixels_range(data, tmp_path):
    """Of each batch on its own, as if it were recovered alone."""
    run = ready(data, tmp_path, iterations=4, image_lr=0.5, image_momentum=0.5, bn_weight=0.2, crop="none", batch=3)
    run.method = copy.copy(run.method)
    object.__setattr__(run.method, "roll", 0)
    batches = run.method.together(run)
    assert [picks.tolist() for picks in batches] == [[0, 2, 4], [1, 3, 5]]
    low, high = -2.0, 2.0  # of pixels from 0 to 1, mean 0.5 and deviation 0.25
    alone = []
    for picks in batches:
        images = run.images.detach()[picks].clone().requires_grad_()
        optimizer = torch.optim.Adam([images], lr=0.5, betas=(0.5, 0.9), eps=1e-8)
        for k in range(4):
            optimizer.param_groups[0]["lr"] = 0.5 * 0.5 * (1 + math.cos(math.pi * k / 4))
            optimizer.zero_grad()
            sre2l.recovery_loss(run.stage.net, images, torch.arange(3), 0.2, 10.0).backward()
            optimizer.step()
            images.data.clamp_(low, high)
        alone.append(images)
    for _ in range(4):
        run.method.step(run)
    for picks, images in zip(batches, alone, strict=True):
        torch.testing.assert_close(run.images[picks], images, rtol=1e-4, atol=1e-5)
    assert run.images.max() == high


def test_images_are_recovered_in_rows_of_one_a_class(data, tmp_path):
    run = ready(data, tmp_path, ipc=5, batch=7)  # two rows of three
    assert [len(picks) for picks in run.method.together(run)] == [6, 6, 3]
    assert torch.cat(run.method.together(run)).sort().values.tolist() == list(range(15))
    for picks in run.method.together(run):
        assert run.labels[picks].bincount().unique().numel() == 1
    run = ready(data, tmp_path, ipc=2, batch=2)  # a row is too long
    assert [picks.tolist() for picks in run.method.together(run)] == [[0, 2], [4], [1, 3], [5]]


def test_views_in_recovering_are_one_crop_and_a_shift_around_the_edges(data, tmp_path):
    run = ready(data, tmp_path, crop="none", roll=2)
    images = torch.rand(3, 1, 8, 8, generator=rng())
    found = set()
    for _ in range(200):
        moved = run.method.view(run)(images)
        shift = [(i, j) for i in range(-2, 3) for j in range(-2, 3) if torch.equal(images.roll((i, j), (2, 3)), moved)]
        assert len(shift) == 1
        found.update(shift)
    assert len(found) == 25
    run = ready(data, tmp_path, crop="views:0.3", roll=1)
    same = torch.rand(1, 1, 8, 8, generator=rng()).expand(4, -1, -1, -1)
    moved = run.method.view(run)(same)
    assert torch.equal(moved, moved[:1].expand(4, -1, -1, -1))
    assert not torch.equal(moved, same)


def test_labels_are_the_teacher_s_on_each_view(data, tmp_path):
    made = distill(short("sre2l", iterations=2, views=3), data, 2, network=NET, home=tmp_path, seed=1)
    relabelled = made.relabelled
    manifest = json.loads((tmp_path / made.meta["teacher"]["folder"] / "manifest.json").read_text())
    assert manifest["network"] == TEACHER == made.meta["teacher"]["network"]
    assert list(tmp_path.iterdir()) == [tmp_path / made.meta["teacher"]["folder"]]
    method = short("sre2l", iterations=2, views=3).resolved(data, 2)
    teacher = squeezed.build(data, TEACHER, method.squeezing(), tmp_path).net
    assert relabelled.logits.shape == (3, 6, 3)
    assert relabelled.logits.dtype == torch.float16
    samples = relabelled.samples(made.images, temperature=4.0)
    for epoch in range(4):  # the fourth is the first again
        now = samples.at(epoch)
        with torch.no_grad():
            logits = teacher(now.batch())
        torch.testing.assert_close(now.labels, (logits / 4).softmax(1), rtol=1e-2, atol=1e-3)
    assert not torch.equal(samples.at(0).batch(), samples.at(1).batch())
    assert made.meta["label_bytes"] == 3 * 6 * (3 * 2 + 21)
    kept = sum(t.numel() * t.element_size() for t in relabelled.tensors().values())
    assert kept == made.meta["label_bytes"]


def test_a_set_keeps_its_labelled_views(data, tmp_path):
    made = distill(short("sre2l", iterations=1), data, 1, network=NET, seed=1)
    file = tmp_path / "set.safetensors"
    made.save(file)
    back = SyntheticSet.load(file)
    for name, tensor in made.relabelled.tensors().items():
        assert torch.equal(back.relabelled.tensors()[name], tensor)
    assert back.relabelled.logits.dtype == torch.float16
    judged = protocol("sre2l", data, NET, ipc=1, epochs=3)
    ours, again = (evaluate(some, data, network=NET, protocol=judged, repeats=2).curves for some in (made, back))
    assert ours == again


def test_evaluation_is_against_the_teacher(data, monkeypatch):
    """And by any other protocol by hard labels."""
    made = distill(short("sre2l", iterations=1), data, 1, network=NET, seed=1)
    judged = protocol("sre2l", data, NET, ipc=1, epochs=2)
    kind = type(made.relabelled.samples(made.images, 1.0))
    seen, plain = [], kind.at
    monkeypatch.setattr(kind, "at", lambda self, epoch: seen.append((epoch, self.temperature)) or plain(self, epoch))
    evaluate(made, data, network=NET, protocol=judged, repeats=1)
    assert seen == [(0, 4.0), (1, 4.0)]
    evaluate(made, data, network=NET, protocol=protocol("dsa", data, NET, epochs=2), repeats=1)
    assert seen == [(0, 4.0), (1, 4.0)]


def test_damaged_labels_are_refused_by_name(data, tmp_path):
    made = distill(short("sre2l", iterations=1), data, 1, network=NET, seed=1)
    tensors = made.relabelled.tensors()
    with pytest.raises(InputError, match=r"labels of views, logits \[2, 3, 3\], do not fit 4 images"):
        Relabelled.made(dict(tensors), torch.zeros(4, 1, 8, 8), 3)
    with pytest.raises(InputError, match="do not fit 3 images"):
        Relabelled.made({**tensors, "boxes": tensors["boxes"][:1]}, made.images, 3)
    with pytest.raises(InputError, match="labels of views are not finite"):
        Relabelled.made({**tensors, "logits": tensors["logits"] * math.nan}, made.images, 3)


def test_the_teacher_is_trained_once_on_what_is_left(data, tmp_path, monkeypatch):
    runs, plain = [], squeezed.fit
    monkeypatch.setattr(squeezed, "fit", lambda *args, **more: runs.append(len(args[1])) or plain(*args, **more))
    kept = keep(score(data, "random"), data.labels, ratio=0.5)
    method = short("sre2l", iterations=1)
    for samples in (data, data.subset(kept), data, data.subset(kept)):
        distill(method, samples, 1, network=NET, home=tmp_path)
    assert runs == [30, 15]
    folder = tmp_path / key(data, TEACHER, method.resolved(data, 1).squeezing())
    file = folder / squeezed.FILE
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match="teacher.safetensors is truncated"):
        distill(method, data, 1, network=NET, home=tmp_path)


def test_a_teacher_that_is_used_again_counts_as_used_now(data, tmp_path):
    """`bilp cache` removes what was not used for long: a teacher must not look as old as its training."""
    teacher = a_teacher(data, tmp_path)
    manifest = teacher.folder / "manifest.json"
    os.utime(manifest, (1, 1))
    a_teacher(data, tmp_path)
    assert manifest.stat().st_mtime > 1


def test_the_teacher_falls_to_no_learning_rate_after_a_rise():
    recipe = squeezed.Squeezing(epochs=10, lr=0.2, batch=50, warmup=2).recipe(samples=480)
    shares = [recipe.share_of_lr(step, steps=100) for step in (0, 10, 20, 60, 100)]
    assert shares == pytest.approx([0, 0.5, 1, 0.5, 0])


@pytest.mark.parametrize(
    ("side", "classes", "expected"),
    [
        (224, 1000, (0.25, 0.01, "views:0.08", 16, "resnet18-bn", 300, "views:0.08_cutmix")),
        (64, 200, (0.1, 1.0, "views:0.08", 4, "resnet18-bn", 100, "views:0.08")),
        (32, 100, (0.25, 0.01, "none", 2, "resnet18-bn", 400, "views:0.5_cutmix")),
        (32, 10, (0.25, 0.01, "none", 2, "own", 400, "views:0.5_cutmix")),
    ],
)
def test_settings_of_the_reference(side, classes, expected):
    names, grey = tuple(map(str, range(classes))), ((0.5,) * 3,) * 2
    images, labels = torch.zeros(classes, 3, side, side, dtype=torch.uint8), torch.arange(classes)
    data = ImageData(images, labels, names, *grey, "some", True)
    made = make("sre2l").resolved(data, 10)
    found = (made.image_lr, made.bn_weight, made.crop, made.roll, made.teacher, made.views, made.augment)
    assert found == expected
    assert (made.iterations, made.image_momentum, made.batch, made.first_bn) == (4000, 0.5, 100, 10.0)
    judged = protocol("sre2l", data, ipc=10)
    assert (judged.epochs, judged.augment, judged.loss) == (made.views, made.augment, "divergence")
    stage = made.first_stage(data.subset(torch.arange(classes)), "convnet")
    assert stage.size == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"zca": "absolute"}, "sre2l: zca = 'absolute': must be none"),
        ({"crop": "crop"}, "sre2l: crop = 'crop': must be one of auto, none, or views:..."),
        ({"crop": "views:0.5_cutmix"}, "images cannot be mixed while they are recovered"),
        ({"augment": "none"}, "sre2l: augment = 'none': must be one of auto, or views:..."),
        ({"image_momentum": 1.0}, "image_momentum = 1.0: must be below 1"),
        ({"teacher": "mlp"}, "'mlp' has no version with it"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(InputError, match=message):
        make("sre2l", **options)


def test_what_it_cannot_do_is_refused_with_the_reason(data):
    with pytest.raises(InputError, match="that of 'sre2l' is not: its rounds see no real samples"):
        distill(short("sre2l", iterations=1), data, 1, network=NET, adaptive=Adaptive(0.3))
    with pytest.raises(InputError, match="'mlp' has no version with it"):
        distill(short("sre2l", iterations=1), data, 1, network="mlp")
    with pytest.raises(InputError, match="labels of views will take .* GB are free: fewer views"):
        distill(short("sre2l", iterations=1, views=10**12), data, 1, network=NET)


@pytest.mark.parametrize("spec", ["convnet", "resnet10", "vgg11", "alexnet", "resnetap10-bn", "frepo-convnet"])
def test_every_network_with_batch_norm_can_teach(spec):
    made = network(squeezed.batch_normed(spec), (3, 32, 32), 10)
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in made.modules())
    with sre2l.statistics(made.eval()) as seen:
        made(torch.zeros(2, 3, 32, 32))
    assert len(seen) == sum(isinstance(module, torch.nn.BatchNorm2d) for module in made.modules())


def test_one_view_for_all():
    one = Views.draw(1, (8, 8), rng(), least=0.3, mix=False).expand(5)
    assert one.boxes.shape == (5, 4)
    assert len(one) == 5
