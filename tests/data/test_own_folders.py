"""Folders as people bring them: what is read, what is not, and that it is said."""

import os
import shutil
import unicodedata

import numpy as np
import pytest
from PIL import Image

from bilp_core.data import check, check_folder, fingerprint, load
from bilp_core.data.folders import Reading, folder_identity
from bilp_core.errors import InputError


def draw(root, classes=("cat", "dog"), train=4, test=2, size=(8, 8), seed=0):
    rng = np.random.default_rng(seed)
    for half, count in (("train", train), ("test", test)):
        for name in classes:
            (root / half / name).mkdir(parents=True)
            for i in range(count):
                Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).save(
                    root / half / name / f"{i}.png"
                )
    return root


@pytest.fixture
def folder(tmp_path):
    return draw(tmp_path / "pets")


def turned(array, path, **how):
    """Stored lying on its side, with the note that it is to be turned."""
    note = Image.Exif()
    note[0x112] = 6
    Image.fromarray(array).save(path, exif=note.tobytes(), **how)


TOP = np.zeros((8, 8, 3), np.uint8)
TOP[:4] = 255
MASKED = np.dstack([TOP, np.full((8, 8), 255, np.uint8)])


@pytest.mark.parametrize(
    ("array", "name"),
    [
        (TOP, "a.png"), (TOP, "a.webp"), (MASKED, "a.png"), (MASKED[..., [0, 3]], "a.png"),
        (TOP[..., 0], "a.png"), (TOP[..., 0].astype(np.uint16) * 257, "a.png"),
    ],
)  # fmt: skip
def test_every_mode_is_turned_as_its_metadata_say(folder, array, name):
    turned(array, folder / "train/cat" / name, **({"lossless": True} if name.endswith("webp") else {}))
    train, _ = load(str(folder))
    (index,) = [i for i, file in enumerate(train.files) if file == f"train/cat/{name}"]
    image = train.images[index].float()
    assert image[..., :4].mean() == 0  # what was above is now on the right
    assert image[..., 4:].mean() == 255


def test_a_palette_is_turned_too(folder):
    note = Image.Exif()
    note[0x112] = 6
    Image.fromarray(TOP).convert("P").save(folder / "train/cat/a.png", exif=note.tobytes())
    train, _ = load(str(folder))
    image = train.images[list(train.files).index("train/cat/a.png")].float()
    assert (image[..., :4].mean(), image[..., 4:].mean()) == (0, 255)


def ramp(top):
    return np.round(np.linspace(0, 1, 64).reshape(8, 8) * top).astype(np.uint16)


def only_deep(folder, tops):
    for file in folder.rglob("*.png"):
        Image.fromarray(ramp(tops[0])).save(file)
    for number, top in enumerate(tops):
        Image.fromarray(ramp(top)).save(folder / f"train/cat/z{number}.png")


@pytest.mark.parametrize(("largest", "bits"), [(65535, 16), (4096, 16), (4095, 12), (1023, 10), (255, 8)])
def test_one_depth_serves_the_whole_folder(folder, largest, bits):
    only_deep(folder, [largest, largest // 2, largest // 8])
    train, _ = load(str(folder))
    means = [float(train.images[list(train.files).index(f"train/cat/z{k}.png")].float().mean()) for k in range(3)]
    full = 2**bits - 1
    assert means == pytest.approx([127.5 * top / full for top in (largest, largest // 2, largest // 8)], abs=1)
    assert check_folder(folder, Reading())["depth"] == bits


def test_the_depth_can_be_said(folder):
    only_deep(folder, [1000])
    brightest = {bits: int(load(str(folder), depth=bits).train.images.max()) for bits in (10, 12, 16)}
    assert brightest == {10: round(1000 / 1023 * 255), 12: round(1000 / 4095 * 255), 16: round(1000 / 65535 * 255)}
    with pytest.raises(InputError, match="depth = 8: images hold values up to 1000"):
        load(str(folder), depth=8)
    with pytest.raises(InputError, match="depth = 11: must be one of 8, 10, 12, 16"):
        load(str(folder), depth=11)


def test_a_declared_depth_counts(folder):
    """A TIFF that says that its samples go up to 4095, though no image is that bright."""
    for file in folder.rglob("*.png"):
        file.unlink()
        Image.fromarray(ramp(500)).save(file.with_suffix(".tif"), tiffinfo={281: 4095})
    assert int(load(str(folder)).train.images.max()) == round(500 / 4095 * 255)


def test_real_numbers_are_shares_of_full_brightness(folder):
    for file in folder.rglob("*.png"):
        file.unlink()
        Image.fromarray((ramp(1000) / 1000).astype(np.float32)).save(file.with_suffix(".tif"))
    assert int(load(str(folder)).train.images.max()) == 255


@pytest.mark.parametrize("suffix", ["bmp", "tif", "tiff", "ppm", "gif", "jfif", "jpeg", "webp"])
def test_formats(folder, suffix):
    kind = {"jfif": "JPEG", "tif": "TIFF", "ppm": "PPM"}.get(suffix)
    Image.fromarray(TOP).save(folder / f"train/cat/x.{suffix}", format=kind)
    train, _ = load(str(folder))
    image = train.images[list(train.files).index(f"train/cat/x.{suffix}")].float()
    assert image[:, :3].mean() > 240
    assert image[:, 5:].mean() < 15


def test_of_several_frames_the_first(folder):
    frames = [Image.new("L", (8, 8), value) for value in (200, 10)]
    frames[0].save(folder / "train/cat/x.gif", save_all=True, append_images=frames[1:])
    train, _ = load(str(folder))
    assert set(train.images[list(train.files).index("train/cat/x.gif")].flatten().tolist()) == {200}
    assert check_folder(folder, Reading())["several_frames"] == ["train/cat/x.gif"]


def test_what_is_left_out_is_told(folder):
    (folder / "train/cat/deeper").mkdir()
    Image.fromarray(TOP).save(folder / "train/cat/deeper/1.png")
    (folder / "train/cat/link.png").symlink_to("nowhere.png")
    (folder / "train/cat/._0.png").write_bytes(b"x")
    (folder / "train/cat/notes.txt").write_text("x")
    (folder / "train/__MACOSX").mkdir()
    (folder / "train/loose.png").write_bytes(b"x")
    report = check_folder(folder, Reading())
    assert report["skipped"] == {
        "in a sub-folder": ["train/cat/deeper/1.png"],
        "a broken link": ["train/cat/link.png"],
        "hidden or of another system": ["train/__MACOSX", "train/cat/._0.png"],
        "of another type": ["train/cat/notes.txt"],
        "beside the class folders": ["train/loose.png"],
    }
    assert report["classes"]["cat"]["train"] == 4
    assert "files that were not taken" in report["verdict"]
    inside = check_folder(folder, Reading(recursive=True))
    assert inside["classes"]["cat"]["train"] == 5
    assert len(load(str(folder), recursive=True).train) == 9


def test_all_bad_files_at_once_and_how_to_go_on(folder):
    for i in range(3):
        Image.fromarray(TOP).save(folder / f"train/dog/b{i}.png")
    (folder / "train/dog/b0.png").write_bytes(b"")
    (folder / "train/dog/b1.png").write_bytes(b"<html>404</html>")
    whole = (folder / "train/dog/b2.png").read_bytes()
    (folder / "train/dog/b2.png").write_bytes(whole[:50])
    with pytest.raises(InputError, match=r"(?s)3 images in .*--skip-bad.*b0\.png: the file is empty.*b1\.png.*b2\.png"):
        load(str(folder))
    report = check_folder(folder, Reading())
    assert set(report["unreadable"]) == {f"train/dog/b{i}.png" for i in range(3)}
    assert "3 files cannot be read" in report["verdict"]
    with pytest.warns(UserWarning, match=r"3 images in .*pets cannot be read and are left out"):
        train, _ = load(str(folder), skip_bad=True)
    assert train.counts().tolist() == [4, 4]


def test_a_class_without_a_readable_image(folder):
    for file in (folder / "train/dog").iterdir():
        file.write_bytes(b"")
    with pytest.raises(InputError, match=r"dog holds no image that can be read"):
        load(str(folder), skip_bad=True)


def test_metadata_cost_no_image(folder):
    """A JPEG whose EXIF block ends in its header."""
    Image.fromarray(TOP).save(folder / "train/cat/cut.jpg", quality=100)
    plain = (folder / "train/cat/cut.jpg").read_bytes()
    block = b"Exif\0\0II*\0"
    (folder / "train/cat/cut.jpg").write_bytes(
        plain[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + plain[2:]
    )
    train, _ = load(str(folder))
    assert train.images[list(train.files).index("train/cat/cut.jpg")][:, 1].float().mean() > 240


def test_numbers_count_as_people_count(tmp_path):
    names = [str(k) for k in range(12)]
    train, _ = load(str(draw(tmp_path / "n", classes=names, train=2, test=1)))
    assert train.classes == tuple(names)


def test_one_class_in_two_encodings(tmp_path):
    root = draw(tmp_path / "a", classes=("chat", "caf\u00e9"))
    (root / "test/caf\u00e9").rename(root / "test" / unicodedata.normalize("NFD", "caf\u00e9"))
    train, test = load(str(root))
    assert train.classes == test.classes == ("caf\u00e9", "chat")
    assert test.counts().tolist() == [2, 2]


def test_a_file_fixes_the_classes_and_their_order(folder):
    shutil.copytree(folder / "train/cat", folder / "train/owl")
    with pytest.raises(InputError, match=r"class 'owl' is in train/ but not in test/"):
        load(str(folder))
    (folder / "classes.txt").write_text("dog\ncat\n")
    train, test = load(str(folder))
    assert train.classes == test.classes == ("dog", "cat")
    assert train.files[0].startswith("train/dog/")
    assert check_folder(folder, Reading())["skipped"] == {"not named in classes.txt": ["train/owl"]}
    (folder / "classes.txt").write_text("dog\nwolf\n")
    with pytest.raises(InputError, match="names 'wolf', but there is no folder"):
        load(str(folder))


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_another_name_of_the_test_half(folder, name):
    (folder / "test").rename(folder / name)
    _, test = load(str(folder))
    assert len(test) == 4
    assert f"{name}/ is taken as the test half" in check_folder(folder, Reading())["notes"][0]


def test_tiny_imagenets_halves(tmp_path):
    root = draw(tmp_path / "tiny", classes=("n01", "n02"), test=0)
    shutil.rmtree(root / "test")
    for name in ("n01", "n02"):
        (root / "train" / name / "images").mkdir()
        for file in (root / "train" / name).glob("*.png"):
            file.rename(root / "train" / name / "images" / file.name)
        (root / "train" / name / f"{name}_boxes.txt").write_text("x")
    (root / "val/images").mkdir(parents=True)
    lines = []
    for i, name in enumerate(("n02", "n01", "n02")):
        Image.new("RGB", (8, 8), (40 * i, 0, 0)).save(root / f"val/images/val_{i}.JPEG")
        lines.append(f"val_{i}.JPEG\t{name}\t0\t0\t7\t7")
    (root / "val/val_annotations.txt").write_text("\n".join(lines))
    train, test = load(str(root))
    assert train.counts().tolist() == [4, 4]
    assert test.labels.tolist() == [0, 1, 1]
    assert [str(file) for file in test.files] == [f"val/images/val_{i}.JPEG" for i in (1, 0, 2)]


def test_one_half_is_enough_where_the_other_is_not_needed(folder):
    shutil.move(folder / "test", folder.parent / "kept")
    train, test = load(str(folder), need="train")
    assert (len(train), len(test)) == (8, 0)
    with pytest.raises(InputError, match=r"has no test half: .*--test-share 0\.2"):
        load(str(folder))
    alone = folder.parent / "alone"
    alone.mkdir()
    shutil.move(folder.parent / "kept", alone / "test")
    train, test = load(str(alone), need="test")
    assert (len(train), len(test)) == (0, 4)
    assert test.classes == ("cat", "dog")


def test_a_test_half_is_made(folder):
    shutil.rmtree(folder / "test")
    train, test = load(str(folder), test_share=0.25, seed=3)
    assert (len(train), len(test)) == (6, 2)
    assert not set(train.files) & set(test.files)
    again = load(str(folder), test_share=0.25, seed=3)
    assert list(again.test.files) == list(test.files)
    others = {tuple(load(str(folder), test_share=0.25, seed=seed).test.files) for seed in range(8)}
    assert len(others) > 1
    with pytest.raises(InputError, match=r"class 'cat' has 4 images, which would leave 1"):
        load(str(folder), test_share=0.7)
    flat = folder.parent / "flat"
    shutil.move(folder / "train", flat)
    train, test = load(str(flat), test_share=0.25)
    assert (len(train), len(test)) == (6, 2)


def test_a_share_where_there_is_a_test_half_already(folder):
    with pytest.raises(InputError, match="has a test half"):
        load(str(folder), test_share=0.2)


def test_large_scans_are_the_same_picture(folder):
    """Decoded at a reduced size, where their size allows it."""
    big = Image.fromarray(np.kron(TOP, np.ones((100, 100, 1), np.uint8)))
    big.save(folder / "train/cat/big.jpg", quality=95)
    train, _ = load(str(folder), size=8)
    image = train.images[list(train.files).index("train/cat/big.jpg")].float()
    assert image[:, :3].mean() > 250
    assert image[:, 5:].mean() < 5


def test_the_same_content_is_found_again_and_another_is_not(folder, monkeypatch):
    first = load(str(folder)).train
    before = folder_identity(folder, Reading())
    moved = folder.rename(folder.parent / "moved")
    monkeypatch.setattr("bilp_core.data.folders._decode", lambda *_: pytest.fail("decoded again"))
    assert fingerprint(load(str(moved)).train) == fingerprint(first)
    monkeypatch.undo()
    victim = moved / "train/cat/0.png"
    times = victim.stat()
    Image.open(victim).transpose(Image.Transpose.ROTATE_180).save(victim)
    os.utime(victim, ns=(times.st_atime_ns, times.st_mtime_ns))  # even with the old time
    assert folder_identity(moved, Reading()) != before
    assert fingerprint(load(str(moved)).train) != fingerprint(first)


def test_a_folder_named_like_a_data_set_is_nobodys(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "digits")
    train, _ = load("./digits")
    assert train.named == ""
    assert len(load("digits").train) == 1352
    assert load("digits").train.named == "digits"


def test_the_home_folder(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    assert len(load("~/pets").train) == 8


def test_a_channel_without_contrast_is_zero_and_told(tmp_path):
    root = draw(tmp_path / "c")
    for file in root.rglob("*.png"):
        pixels = np.asarray(Image.open(file)).copy()
        pixels[..., 2] = 7
        Image.fromarray(pixels).save(file)
    train, _ = load(str(root))
    assert train.batch()[:, 2].abs().max() < 1e-6
    assert check_folder(root, Reading())["channels_without_contrast"] == [2]


def test_no_flip_is_a_property_of_the_data(folder):
    assert load(str(folder)).train.flip
    assert not load(str(folder), flip=False).train.flip
    assert not load(str(folder), flip=False).test.flip


def test_twins_are_told_apart(folder):
    shutil.copy(folder / "train/cat/0.png", folder / "train/cat/copy.png")
    shutil.copy(folder / "train/cat/1.png", folder / "train/dog/other label.png")
    shutil.copy(folder / "train/dog/2.png", folder / "test/dog/leak.png")
    report = check_folder(folder, Reading())
    assert ["train/cat/0.png", "train/cat/copy.png"] in report["duplicates"]
    assert report["duplicates_with_two_labels"] == [[["train/cat/1.png", "cat"], ["train/dog/other label.png", "dog"]]]
    assert report["leaks"] == [["train/dog/2.png", "test/dog/leak.png"]]
    plain = check(load(str(folder)))
    assert plain["leaks"] == report["leaks"]
