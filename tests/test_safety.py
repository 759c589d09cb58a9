"""What no room may do: run code that lies in a file."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOMS = ("engine", "actors", "studies", "cluster")
UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
SAFE = {  # readers that run code unless they are told not to -> the argument that says so, and its value
    "numpy.load": ("allow_pickle", "False"),
    "np.load": ("allow_pickle", "False"),
    "torch.load": ("weights_only", "True"),
    "yaml.load": ("Loader", "_Loader"),  # a SafeLoader: tests/studies/test_yaml_file.py
}
NEVER = {"yaml.full_load", "yaml.unsafe_load", "eval", "exec", "os.system", "pandas.read_pickle", "pd.read_pickle"}


def unsafe(source: str) -> Iterator[str]:
    """What in a module's source could run code from a file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (name for name in names if name.partition(".")[0] in UNSAFE_MODULES)
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            given = {each.arg: ast.unparse(each.value) for each in node.keywords}
            if name in NEVER or (name in SAFE and given.get(SAFE[name][0]) != SAFE[name][1]):
                yield ast.unparse(node)
            if given.get("shell") == "True":
                yield ast.unparse(node)


def test_nothing_in_a_file_is_run(repository: Path) -> None:
    files = [path for room in ROOMS for path in (repository / room).rglob("*.py")]
    assert len(files) > 100
    found = {str(path.relative_to(repository)): list(unsafe(path.read_text(encoding="utf-8"))) for path in files}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "np.load(path)",
        "torch.load(path)",
        "yaml.load(text, Loader=Loader)",
        "yaml.unsafe_load(text)",
        "eval(text)",
        "run(line, shell=True)",
    ],
)
def test_the_check_sees_what_it_is_for(line: str) -> None:
    assert list(unsafe(line))
