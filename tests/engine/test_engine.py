"""What `import engine` offers a notebook, whatever was imported before."""

import sys
from pathlib import Path

import pytest

from tests.test_imports import run_python

DESIGN = """
import sys
{before}
import engine
from pathlib import Path
from tests.bundles import write_untrained_bundle
write_untrained_bundle(Path(sys.argv[1]))
[structure] = engine.design(sys.argv[1], ["fraction[pore]=0.5±0.4"], size=32, seed=4)
print(structure.labels.shape, len(engine.reconstruct(sys.argv[1], size=32)), engine.load_bundle(sys.argv[1]).card.name)
print(engine.characterize(structure.labels).phases, len(engine.plots.slices(structure.labels).axes))
"""


@pytest.mark.parametrize("before", ["", "import engine.design", "from engine.design import generate"])
def test_the_names_of_a_notebook(repository: Path, tmp_path: Path, before: str) -> None:
    """`engine/design.py` has the name of the function: which of the two came first must not matter."""
    lines = run_python(DESIGN.format(before=before), repository, str(tmp_path / "untrained")).splitlines()
    assert lines[0].startswith("(32, 32, 32) 1 ") and lines[1] == "{'0': 0, '1': 1} 3"


def test_a_bare_import_loads_no_torch(repository: Path) -> None:
    assert run_python("import engine, sys; print('torch' in sys.modules)", repository).strip() == "False"


def test_every_public_name_is_there_and_no_other() -> None:
    import engine

    for name in engine.__all__:
        assert getattr(engine, name) is not None
    assert engine.design is sys.modules["engine.design"]
    with pytest.raises(AttributeError, match="no attribute 'desing'"):
        engine.desing  # noqa: B018
