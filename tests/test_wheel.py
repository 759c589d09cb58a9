"""The wheel that users get: built from this checkout, installed into an empty environment, run from an empty folder."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOMS = ("engine", "actors", "studies", "cluster")


def call(command: list[str], folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MESOFORGE_BUNDLES")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources: leftovers of other builds in the checkout do not count."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repository / name, source)
    for room in ROOMS:
        shutil.copytree(repository / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    call([*pip, "--wheel-dir", str(out), str(source)], source)
    [path] = out.glob("mesoforge-*.whl")
    return path


def test_the_wheel_holds_the_rooms_and_their_data_only(wheel: Path, repository: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(ROOMS)
    assert "studies/recipes/berea_transport.yaml" in names
    assert {f"studies/report/{name}" for name in ("page.html", "page.css", "page.js", "charts.js", "viewer.js")} <= set(
        names
    )
    assert any(name.endswith("LICENSE") for name in names)
    for path in [*repository.glob("engine/models/zoo/*/*.json"), *repository.glob("engine/models/zoo/*/*.safetensors")]:
        assert path.relative_to(repository).as_posix() in names
    for room in ROOMS:
        for path in (repository / room).rglob("*.py"):
            assert path.relative_to(repository).as_posix() in names


def test_models_runs_from_an_empty_environment_and_folder(wheel: Path, tmp_path: Path) -> None:
    """The new environment holds mesoforge from the wheel and nothing else of its own.

    To stay quick and to need no network, a .pth file lets it see the dependencies of the running environment. That
    environment's own link to the checkout is an entry of a .pth file there, and those are not followed from here, so
    the source tree stays out of reach; the test makes sure of it.
    """
    environment, empty = tmp_path / "environment", tmp_path / "empty"
    empty.mkdir()
    call([sys.executable, "-m", "venv", "--without-pip", str(environment)], tmp_path)
    python = environment / "bin" / "python"
    paths = call([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], tmp_path)
    site = Path(paths.strip())
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    call([*pip, str(wheel)], tmp_path)
    dependencies = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    (site / "dependencies.pth").write_text("\n".join(dependencies) + "\n")

    where = call([str(python), "-c", "import engine, cluster; print(engine.__file__, cluster.__file__)"], empty)
    assert all(Path(name).is_relative_to(site) for name in where.split())
    program = environment / "bin" / "mesoforge"
    listed = call([str(program), "models"], empty)
    assert "name" in listed.splitlines()[0]
    assert call([str(program), "--version"], empty).startswith("mesoforge 0.1.0")
    assert not list(empty.iterdir())
