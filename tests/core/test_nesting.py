"""Dotted keys and nested settings are two forms of the same."""

from mergershift.core.nesting import flattened, nested


def test_flattened_and_nested_undo_each_other() -> None:
    tree = {"a": {"b": 1, "c": {"d": [1, 2]}}, "e": None}
    flat = dict(flattened(tree))
    assert flat == {"a.b": 1, "a.c.d": [1, 2], "e": None}
    assert nested(flat) == tree
