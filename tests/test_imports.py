"""Who may import whom: cluster -> studies -> actors -> engine, and what a bare `import engine` brings along."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bundles import write_untrained_bundle

ROOMS = ("engine", "actors", "studies", "cluster")
MAY_IMPORT = {
    "engine": {"engine"},
    "actors": {"engine", "actors"},
    "studies": {"engine", "actors", "studies"},
    "cluster": {"engine", "actors", "studies", "cluster"},
}
NEVER = {
    "engine": {"ray", "optuna", "pyarrow", "duckdb", "typer", "rich"},
    "actors": {"optuna", "duckdb", "typer", "rich"},
    "studies": {"ray", "typer", "rich"},
    "cluster": set(),
}
INSIDE_ENGINE = {  # a room below the engine may not import these other rooms of it
    "descriptors": {"guidance", "sampling", "models"},
    "properties": {"guidance", "sampling", "models"},
    "sampling": {"guidance", "properties", "models"},
}
HEAVY = ["ray", "optuna", "pyarrow", "duckdb", "scipy", "skimage", "tifffile", "imagecodecs", "PIL", "matplotlib"]
HEAVY += ["taufactor", "safetensors", "pydantic", "vtkmodules"]

# A finder that lets the standard library, torch and numpy with what those need, and the engine through.
BLOCKER = """
import importlib.abc, sys

class Blocker(importlib.abc.MetaPathFinder):
    allowed = set(sys.stdlib_module_names) | {{"engine", "numpy", "torch", "torchgen", "functorch", "_distutils_hack",
        "typing_extensions", "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "fsspec", "filelock", "setuptools"}}

    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in self.allowed and not top.startswith("__editable__"):
            raise ModuleNotFoundError(f"blocked: {{name}}", name=name)

sys.meta_path.insert(0, Blocker())
{body}
"""


def run_python(code: str, folder: Path, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def imported_names(path: Path) -> Iterator[str]:
    """Every absolute module name that the file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import in line {node.lineno}; write the whole name"
            assert node.module is not None
            yield node.module


def sources(repository: Path, room: str) -> list[Path]:
    files = sorted((repository / room).rglob("*.py"))
    assert files, f"no source in {room}"
    return files


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_only_downwards(repository: Path, room: str) -> None:
    for path in sources(repository, room):
        tops = {name.partition(".")[0] for name in imported_names(path)}
        assert not (tops & set(ROOMS)) - MAY_IMPORT[room], f"{path} imports upwards"
        assert not tops & NEVER[room], f"{path} imports {sorted(tops & NEVER[room])}"
        assert "tests" not in tops, f"{path} imports tests"


@pytest.mark.parametrize("inner", INSIDE_ENGINE)
def test_engine_rooms_import_only_downwards(repository: Path, inner: str) -> None:
    for path in sources(repository, f"engine/{inner}"):
        rooms = {name.split(".")[1] for name in imported_names(path) if name.startswith("engine.")}
        assert not rooms & INSIDE_ENGINE[inner], f"{path} imports {sorted(rooms & INSIDE_ENGINE[inner])}"


def test_import_engine_loads_nothing_heavy_and_studies_no_ray(repository: Path) -> None:
    """Neither do the messages of actors and the pool without it."""
    code = (
        f"import engine, engine.design, sys; print([name for name in {HEAVY} if name in sys.modules])\n"
        "import actors.pool, actors.messages, actors.local_pool, studies.loop, studies.config, studies.query\n"
        "print('ray' in sys.modules)"
    )
    assert run_python(code, repository).split("\n")[:2] == ["[]", "False"]


WITH_TORCH_ALONE = """
import importlib, sys
try:
    import scipy
except ModuleNotFoundError as error:
    print(error)
print(len([importlib.import_module(name) for name in sys.argv[2:]]))
from engine.design import generate
from engine.models.bundle import load_bundle
from engine.request import Request
Blocker.allowed.add("safetensors")  # reads the weights
bundle = load_bundle(sys.argv[1])
Blocker.allowed.discard("safetensors")
for name in [name for name in sys.modules if name.startswith("safetensors")]:
    del sys.modules[name]
[made] = generate([Request(structure_id="a", bundle=sys.argv[1], shape=(32, 32, 32), seed=1)], bundle)
print(made.labels.shape)
"""


def test_the_engine_imports_and_generates_with_torch_and_numpy_alone(repository: Path, tmp_path: Path) -> None:
    """Every module of it, where everything else is blocked."""
    modules = [
        ".".join(path.relative_to(repository).with_suffix("").parts).removesuffix(".__init__")
        for path in sources(repository, "engine")
    ]
    write_untrained_bundle(tmp_path / "untrained")
    code = BLOCKER.format(body=WITH_TORCH_ALONE)
    said = run_python(code, repository, str(tmp_path / "untrained"), *modules).splitlines()
    assert said == ["blocked: scipy", str(len(modules)), "(32, 32, 32)"]


def test_the_command_line_starts_light(repository: Path) -> None:
    code = f"import cluster.cli, sys; print([name for name in {['torch', 'numpy', *HEAVY]} if name in sys.modules])"
    light = run_python(code, repository).strip()
    assert light in ("[]", "['pydantic']"), light  # typer itself may bring pydantic
