"""Docstrings as pages show them."""

import inspect

import pytest
from docutils import nodes
from docutils.core import publish_doctree

from bilp_core.book.docstrings import blocks, inline, rst, split_names
from bilp_core.book.public import names

EVERYTHING = """Smoothed loss at the last epoch,
the preemptive criterion. larger : is harder.

curves : [trials, epochs, N], one
         row an epoch. sigma : its width; 0 : none.
first, on_step(epoch, logits) : called after
each step.
network_* : of the `network`.
Returns [N].
Raises InputError.

    a = code()

        deeper

- one thing
- another,
  longer

>>> f(1)
...  # more
2
After it.
"""


def test_the_parts_of_a_docstring():
    found = [(part.kind, part.names, part.text) for part in blocks(EVERYTHING)]
    assert found == [
        ("text", "", "Smoothed loss at the last epoch, the preemptive criterion."),
        ("field", "larger", "is harder."),
        ("field", "curves", "[trials, epochs, N], one row an epoch."),
        ("field", "sigma", "its width; 0 : none."),
        ("field", "first, on_step(epoch, logits)", "called after each step."),
        ("field", "network_*", "of the `network`."),
        ("text", "", "Returns [N]."),
        ("text", "", "Raises InputError."),
        ("code", "", "    a = code()\n\n        deeper\n"),
        ("text", "", "- one thing"),
        ("text", "", "- another, longer"),
        ("example", "", ">>> f(1)\n...  # more\n2\nAfter it."),
    ]
    assert split_names("first, on_step(epoch, logits)") == ["first", "on_step(epoch, logits)"]


def test_prose_with_colons_has_no_fields():
    for text in ("One thing: another.", "All rows : of which some.", "logits [..., classes], labels [...] -> [...]: x"):
        assert [part.kind for part in blocks(text)] == ["text"]


@pytest.mark.parametrize(
    "text", ["|g|^2 of ITE_i, network_ and *args", r"back\slash", "f(x) = `[N, C]`s and 2`a`b", "`a`", "[N]_ <x_>"]
)
def test_text_stands_for_itself(text):
    shown = publish_doctree(inline(text), settings_overrides={"report_level": 1, "halt_level": 2}).astext()
    assert shown == text.replace("`", "")


def test_variables_are_literal():
    page = publish_doctree(inline("in $BILP_STORE, or $HOME/x."))
    assert [each.astext() for each in page.findall(nodes.literal)] == ["$BILP_STORE", "$HOME"]
    assert page.astext() == "in $BILP_STORE, or $HOME/x."


def test_links_are_what_the_caller_says():
    assert inline("see `keep`, `other`", {"keep": "a.keep"}.get) == r"see \ :py:obj:`keep <a.keep>`\ , \ ``other``\ "


def test_every_docstring_is_sound_markup():
    """No warning of docutils, and no text that is taken for markup."""
    for name, value in names().items():
        if not callable(value):
            continue
        page = publish_doctree(
            "\n".join(rst(blocks(inspect.getdoc(value) or ""))),
            settings_overrides={"report_level": 1, "halt_level": 2, "smartquotes": False},
        )
        assert not list(page.findall(nodes.emphasis)), name
        assert not list(page.findall(nodes.block_quote)), name
