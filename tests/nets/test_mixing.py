import math

import torch

from bilp_core.nets.mixing import cutmix


def rng(seed):
    return torch.Generator().manual_seed(seed)


def test_labels_mix_as_the_pixels_do():
    """Every image has one value, its number; so what came from where can be counted."""
    images = torch.arange(5.0)[:, None, None, None].expand(5, 3, 10, 12).clone()
    shares = []
    for seed in range(60):
        mixed, labels = cutmix(images, torch.eye(5), rng(seed))
        for k in range(5):
            seen = mixed[k, 0].flatten().long().bincount(minlength=5) / 120
            torch.testing.assert_close(labels[k], seen)
        shares.append(float(labels.diagonal().min()))
    assert torch.equal(images[:, 0, 0, 0], torch.arange(5.0))  # the originals are left alone
    assert min(shares) < 0.5
    assert max(shares) > 0.95


def test_the_box_written_out():
    """Sides of sqrt(1 - l) of the image's around a point, cut off at its edges: pixel by pixel."""
    images = torch.arange(6.0)[:, None, None, None].expand(6, 2, 9, 14)
    clipped = 0
    for seed in range(40):
        draw = rng(seed)
        share, y, x = torch.rand(3, generator=draw).tolist()
        order = torch.randperm(6, generator=draw)
        expected = images.clone()
        tall, wide = int(9 * math.sqrt(1 - share)) // 2, int(14 * math.sqrt(1 - share)) // 2
        row, column = math.floor(9 * y), math.floor(14 * x)
        clipped += row < tall or column + wide > 14
        for i in range(9):
            for j in range(14):
                if row - tall <= i < row + tall and column - wide <= j < column + wide:
                    expected[:, :, i, j] = images[order, :, i, j]
        assert torch.equal(cutmix(images, torch.eye(6), rng(seed))[0], expected)
    assert 5 < clipped < 35


def test_the_box_is_one_for_the_batch_and_a_rectangle():
    images = torch.arange(4.0)[:, None, None, None].expand(4, 1, 16, 16)
    for seed in range(20):
        mixed, _ = cutmix(images, torch.eye(4), rng(seed))
        changed = (mixed != images)[:, 0]
        boxes = changed[changed.flatten(1).any(1)]
        assert (boxes == boxes[:1]).all()
        if len(boxes):
            rows, columns = boxes[0].any(1), boxes[0].any(0)
            assert torch.equal(boxes[0], rows[:, None] & columns)


def test_same_generator_same_box():
    images = torch.rand(4, 1, 8, 8, generator=rng(0))
    first, second = (cutmix(images, torch.eye(4), rng(3)) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
