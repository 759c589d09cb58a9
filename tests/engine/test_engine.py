"""What `import engine` offers a notebook, whatever was imported before."""

import sys
from pathlib import Path

import pytest

from tests.test_imports import run_python

CALLS = """
{before}
import engine
for call in (engine.design, engine.reconstruct, engine.load_bundle):
    try:
        call("no such bundle")
    except ValueError as error:
        print(type(error).__name__, str(error)[:26])
import numpy
layers = numpy.arange(8, dtype=numpy.uint8).repeat(64).reshape(8, 8, 8) % 2
print(engine.characterize(layers).phases, len(engine.plots.slices(layers).axes))
"""


@pytest.mark.parametrize("before", ["", "import engine.design", "from engine.design import generate"])
def test_the_names_of_a_notebook(repository: Path, before: str) -> None:
    """`engine/design.py` has the name of the function: which of the two came first must not matter.

    That they do what they should is for the tests of `engine.notebook` and of the page about Python.
    """
    lines = run_python(CALLS.format(before=before), repository).splitlines()
    assert lines == ["InputError no bundle 'no such bundle'"] * 3 + ["{'0': 0, '1': 1} 3"]


def test_a_bare_import_loads_no_torch(repository: Path) -> None:
    assert run_python("import engine, sys; print('torch' in sys.modules)", repository).strip() == "False"


def test_every_public_name_is_there_and_no_other() -> None:
    import engine

    for name in engine.__all__:
        assert getattr(engine, name) is not None
    assert engine.design is sys.modules["engine.design"]
    with pytest.raises(AttributeError, match="no attribute 'desing'"):
        engine.desing  # noqa: B018
