"""``--class`` by name or number."""

from __future__ import annotations

from pathlib import Path

import pytest

from colorcli.errors import UsageError
from colorcli.sessions.classes import class_names, find_class, read_classes


def test_a_thousand_classes() -> None:
    assert len(class_names()) == 1000
    assert class_names()[0] == "tench"


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("golden retriever", 207),
        ("Golden_Retriever", 207),
        ("207", 207),
        # A dog and a garment.
        ("Cardigan", 264),
        ("cardigan", 474),
    ],
)
def test_by_name_or_number(name: str, index: int) -> None:
    assert find_class(name) == index


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("golden retreiver", "golden retriever"),
        ("1000", "0 to 999"),
        ("-1", "0 to 999"),
        ("retriever", "flat-coated retriever"),
    ],
)
def test_what_is_not_a_class_is_explained(name: str, hint: str) -> None:
    """A mistyped class must not colour eighty thousand photographs as something else."""
    with pytest.raises(UsageError, match=hint):
        find_class(name)


@pytest.mark.parametrize("rows", ["", "Cat.png,281\n"])
def test_a_table_of_other_photographs_is_refused(tmp_path: Path, rows: str) -> None:
    """Otherwise all photographs would silently be without a class, and the result would say that they had one."""
    table = tmp_path / "classes.csv"
    table.write_text(f"name,class\n{rows}")
    with pytest.raises(UsageError, match=r"none of the photographs; one of them is called 'cat\.png'"):
        read_classes(table, ["cat.png", "dog.png"])
    table.write_text("name,class\ncat.png,281\nother.png,3\n")
    assert read_classes(table, ["cat.png", "dog.png"]) == {"cat.png": 281, "other.png": 3}
