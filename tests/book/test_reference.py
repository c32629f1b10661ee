"""The pages about the library: what is public, who says what of it, which names a chapter uses."""

import re
from pathlib import Path

import pytest

import bilp_core
from bilp_core import distillers, indicators, pruning
from bilp_core.book import public, reference, registries
from bilp_core.utils import paths


def test_every_room_has_its_place_on_one_page():
    told = [
        room
        for page in sorted((paths.root() / "book/reference").glob("*.md"))
        for room in re.findall(r"^\.\. bilp-room:: (\w+)$", page.read_text("utf-8"), re.M)
    ]
    rooms = {file.stem for file in Path(bilp_core.__file__).parent.iterdir()} - {"__init__", "__pycache__"}
    assert sorted(told) == sorted(public.ROOMS)
    assert set(told) == rooms - {"cli"}, "the command explains itself"


def test_public_names():
    assert public.names()["bilp_core.pruning.keep"] is pruning.keep
    assert "bilp_core.studies.overlap.jaccard" in public.names(), "a room without a face shows its files"
    assert not [name for name in public.names() if name.rpartition(".")[2].startswith("_")]


def test_a_name_is_one_of_its_own_room_or_a_class():
    assert public.meant("keep", "bilp_core.pruning.stratum") == "bilp_core.pruning.keep"
    assert public.meant("ImageData", "bilp_core.pruning.stratum") == "bilp_core.data.ImageData"
    assert public.meant("keep", "bilp_core.pruning.stratum", own={"keep"}) is None
    assert public.meant("score", "bilp_core.pruning.keep") is None, "a parameter, as likely"
    assert public.meant("ratio", "bilp_core.pruning.keep") is None


def test_names_that_code_uses():
    cells = [
        "from bilp_core import pruning as p, trials\nfrom bilp_core.data.datasets import load\nimport numpy as np",
        "%matplotlib inline",
        "train, test = load('digits')\nkept = p.keep(train)\ntrials.nothing(np.load)\nkept.score()",
        "import bilp_core\nbilp_core.distill(train)",
    ]
    assert reference.called(cells) == {
        "bilp_core.data.load", "bilp_core.pruning.keep", "bilp_core.distillers.distill",
    }  # fmt: skip
    assert reference.called(["keep(x)", "load.keep()"]) == set()


def test_what_is_said_of_a_tensor_stays_short():
    def signature(arguments: str, returned: str = "") -> tuple[str, str]:
        return reference._signature(None, "function", "", test_names_that_code_uses, None, arguments, returned)

    long = "(x: ~typing.Annotated[~torch.~torch.Tensor, 'int64 [N]'] | None = None)"
    assert signature(long, "Annotated[Tensor, 'float [N]']") == (
        "(x: ~torch.Tensor['int64 [N]'] | None = None)",
        "Tensor['float [N]']",
    )
    assert (
        signature("(a: str, b=<function f.<lambda> at 0x7f>, c=<factory>) -> int")[0] == "(a: str, b=..., c=...) -> int"
    )


@pytest.mark.parametrize("name", distillers.METHODS)
def test_every_setting_of_a_method_is_told(name):
    cls = distillers.METHODS[name]
    rows = list(registries.Methods.settings(None, cls))
    for option, default in distillers.options_of(name).items():
        place = rows.index(f"   * - ``{option}``")
        assert rows[place + 1] == f"     - ``{default}``"
    assert re.fullmatch(r"\w+ \d{4}", registries.published(cls))


def test_meanings_go_from_the_special_to_the_general():
    class Base:
        """a : of all. expert_* : a group."""

    class Own(Base):
        """a, b : its own."""

    said = registries.meanings(Own, Base)
    assert said == {"a": "its own.", "b": "its own.", "expert_*": "a group."}
    assert registries.meaning("expert_lr", said) == "a group."
    assert registries.meaning("c", said) == ""


@pytest.mark.parametrize("name", indicators.INDICATORS)
def test_every_setting_of_an_indicator_is_told(name):
    text = "\n".join(registries.Indicators.one(None, name, indicators.INDICATORS[name]))
    for option in indicators.options_of(name):
        assert f"``{option}``" in text, option


def test_defaults_that_differ_by_data_set_are_told():
    text = "\n".join(registries.Indicators.one(None, "monte-carlo", indicators.INDICATORS["monte-carlo"]))
    options = indicators.INDICATORS["monte-carlo"].options
    assert f"``{options('')['runs']}``, digits: ``{options('digits')['runs']}``" in text
    assert options("")["runs"] != options("digits")["runs"]
