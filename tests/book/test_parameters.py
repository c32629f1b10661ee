"""Parameters of a chapter: read, checked, filled in."""

import pytest

from bilp_core.book import parameters
from bilp_core.errors import InputError

CELL = """\
# What to run.
seeds = 3  # trials a point
lr: float = 0.1
ratios = [0.0, 0.5,
          0.9]  # share removed
methods = ["dc", "dsa"]
größe = "é"; full = True
size: int | None = None
steps = {"dc": 50, "dm": 100}
"""
DEFAULTS = {
    "seeds": 3,
    "lr": 0.1,
    "ratios": [0.0, 0.5, 0.9],
    "methods": ["dc", "dsa"],
    "größe": "é",
    "full": True,
    "size": None,
    "steps": {"dc": 50, "dm": 100},
}


def settings(preset=(), overrides=()):
    return parameters.settings(DEFAULTS, dict(preset), dict(overrides), "redundancy")


def test_reads_literals_only():
    assert parameters.read(CELL, "redundancy") == DEFAULTS
    for line in ("import os", "a = f(3)", "a, b = 1, 2", "a += 1"):
        with pytest.raises(InputError, match=r"redundancy: `.*plain value"):
            parameters.read(line, "redundancy")


def test_fills_in_values_and_leaves_the_rest():
    values = settings({"seeds": 5, "ratios": [0, 0.99]}, {"size": 32, "größe": "ü"})
    filled = parameters.fill(CELL, values, "redundancy")
    assert parameters.read(filled, "redundancy") == values
    assert "seeds = 5  # trials a point\n" in filled
    assert "ratios = [0.0, 0.99]  # share removed\n" in filled
    assert 'methods = ["dc", "dsa"]\n' in filled, "what does not change keeps its layout"
    assert "größe = 'ü'; full = True\n" in filled


def test_overrides_win_over_the_preset_and_are_read_from_text():
    values = settings({"seeds": 5, "lr": 0.5}, {"seeds": "7", "lr": "1e-3", "methods": "[dm]", "full": "false"})
    assert (values["seeds"], values["lr"], values["methods"], values["full"]) == (7, 0.001, ["dm"], False)
    assert settings(overrides={"größe": "7"})["größe"] == "7", "text stays text where text is wanted"


def test_an_int_will_do_for_a_float():
    lr = settings({"lr": 1})["lr"]
    assert lr == 1.0
    assert isinstance(lr, float)


def test_unknown_name_gets_the_close_one_and_the_whole_list():
    with pytest.raises(InputError, match=r"redundancy has no parameter 'seed'\. Did you mean 'seeds'\?.*seeds, lr,"):
        settings({"seed": 1})


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("seeds", True, "seeds = True of redundancy: must be a whole number, such as 3"),
        ("seeds", 2.5, "seeds = 2.5 of redundancy: must be a whole number"),
        ("seeds", "1:30", "seeds = '1:30' of redundancy: must be a whole number"),
        ("full", "maybe", "full = 'maybe' of redundancy: must be true or false"),
        ("ratios", 0.5, "ratios = 0.5 of redundancy: must be a list, such as [0.0, 0.5, 0.9]"),
        ("ratios", ["dc"], "ratios = ['dc'] of redundancy, 'dc' in it: must be a number"),
        ("steps", {"dc": 0.5}, "steps = {'dc': 0.5} of redundancy, 0.5 in it: must be a whole number"),
        ("methods", None, "methods = None of redundancy: must be a list"),
    ],
)
def test_wrong_type_names_value_and_what_is_wanted(name, value, said):
    with pytest.raises(InputError) as caught:
        settings({name: value})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("lr", "1e3", 1000.0),
        ("seeds", "1e3", 1000),
        ("seeds", "010", 10),
        ("ratios", ["1e-1"], [0.1]),
        ("steps", {"dm": "1e3"}, {"dm": 1000}),
        ("full", "off", False),
        ("full", "yes", True),
        ("größe", "off", "off"),
        ("größe", "010", "010"),
    ],
)
def test_text_is_what_is_wanted_in_presets_too(name, text, value):
    read = settings({name: text})[name]
    assert read == value
    assert type(read) is type(value)
