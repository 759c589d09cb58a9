from dataclasses import replace
from pathlib import Path

import pytest

from cluster.structures import StructureSet
from engine.errors import InputError
from engine.guidance.targets import parse_target
from engine.models.bundle import Card, read_card
from engine.request import Settings


@pytest.fixture
def card(untrained: Path) -> Card:
    return read_card(untrained)


def structures(card: Card, **changed: object) -> StructureSet:
    options: dict[str, object] = {
        "out": Path("out"),
        "card": card,
        "bundle": "untrained",
        "shape": (32, 32, 32),
        "seed": 1,
        "count": 3,
        "targets": (),
        "settings": Settings(),
        "formats": ("tiff",),
    }
    return StructureSet(**(options | changed))  # type: ignore[arg-type]


def test_an_id_stands_for_everything_that_decides_the_voxels(card: Card) -> None:
    variants = [
        structures(card),
        structures(card, seed=2),
        structures(card, shape=(32, 32, 48)),
        structures(card, targets=(parse_target("fraction[pore]>=0.2"),)),
        structures(card, settings=Settings(steps=5)),
        structures(replace(card, weights_sha256="other")),
    ]
    ids = {each.request(number).structure_id for each in variants for number in range(3)}
    assert len(ids) == 3 * len(variants)


def test_what_does_not_decide_the_voxels_does_not_change_an_id(card: Card) -> None:
    plain = structures(card).request(2)
    assert structures(card, count=7, formats=("npy",), out=Path("elsewhere")).request(2) == plain


def test_seeds_depend_on_the_seed_and_the_number_alone(card: Card) -> None:
    """So the same noise can be compared with and without targets, and between settings."""
    first, second = structures(card), structures(card, targets=(parse_target("fraction[pore]>=0.2"),))
    assert [first.request(n).seed for n in range(3)] == [second.request(n).seed for n in range(3)]
    assert len({structures(card, seed=seed).request(n).seed for seed in range(3) for n in range(3)}) == 9


@pytest.mark.parametrize("wrong", [{"count": 0}, {"seed": -1}, {"shape": (0, 32, 32)}])
def test_refuses(card: Card, wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        structures(card, **wrong)


def test_leftovers_of_a_stop_before_the_first_table_are_our_own(card: Card, tmp_path: Path) -> None:
    ours = structures(card, out=tmp_path)
    (tmp_path / f"{ours.request(0).structure_id}.tif").write_bytes(b"half")
    assert ours.finished() == {}
    with pytest.raises(InputError, match="something else"):
        structures(card, out=tmp_path, seed=9).finished()
