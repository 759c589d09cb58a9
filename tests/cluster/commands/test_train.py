from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock, create_autospec

import numpy as np
import pytest
import tifffile

import engine.train
from engine.models.training import TrainingProgress
from tests.cluster.conftest import Call

TINY = {"factor": 1, "crop": 32, "batch": 2, "denoiser_width": 16, "denoiser_multipliers": "1,1"}


def options(images: Path, name: str = "labels.npy", phases: str = "pore,solid") -> tuple[object, ...]:
    return ("train", "--images", images / name, "--phases", phases, "--out", "bundle")


def test_check_prints_the_plan_and_writes_nothing(call: Call, images: Path, tmp_path: Path) -> None:
    called = call(*options(images), "--steps", 7, "--seed", 3, "--region", "x=0:80", "--check")
    assert called.status == 0, called.stderr
    assert "trains on 1 image 96x80" in called.stdout
    assert "pore = label 0" in called.stdout and "denoiser 7 steps, lines 1000 steps, seed 3" in called.stdout
    assert not list((tmp_path / "cwd").iterdir())


def test_check_needs_images_alone_and_says_what_they_are_good_for(call: Call, images: Path, tmp_path: Path) -> None:
    called = call("train", "--check", images / "labels.npy")
    assert called.status == 0, called.stderr
    lines = called.stdout.splitlines()
    assert any(line.startswith("poor     resolution     mean chords a ") for line in lines)
    assert any(line.strip().startswith("-> ") for line in lines) and max(map(len, lines)) <= 110
    assert lines[-1].endswith("do not trust its result before what is poor is mended")
    assert not list((tmp_path / "cwd").iterdir())


def test_check_of_grey_images_says_how_they_segment(call: Call, images: Path) -> None:
    called = call("train", "--images", images / "grey.npy", "--check", "--phases", "dark,bright")
    assert called.status == 0, called.stderr
    assert "grey values, not labels; Otsu's rule for 2 phases" in called.stdout and "dark = label 0" in called.stdout
    assert "train on the grey values themselves (--grey)" in " ".join(called.stdout.split())


def test_what_training_needs(refused: Call, images: Path) -> None:
    given = ("train", "--images", images / "labels.npy")
    assert "--phases: is needed" in refused(*given, "--out", "bundle")
    assert "--out: is needed" in refused(*given, "--phases", "pore,solid")
    assert "no image is named" in refused("train", "--check")
    assert "smaller than the training crop" in refused("train", "--check", images / "small.npy")


@pytest.mark.parametrize(
    "more",
    [
        ("--preset", "gpu"),
        ("--seed", 3),
        ("--steps", 5),
        ("--set", "crop=32"),
        ("--material", "m"),
        ("--grey",),
        ("--check",),
    ],
)
def test_what_does_not_go_with_networks_of_a_finished_bundle(
    refused: Call, images: Path, tmp_path: Path, more: tuple[object, ...]
) -> None:
    """Passed over silently it would seem to count."""
    asked = refused(*options(images), "--from", "my_bundle", *more)
    assert f"leave out {more[0]}" in asked and not (tmp_path / "cwd" / "bundle").exists()


def test_a_volume_says_that_it_trains_on_its_slices(call: Call) -> None:
    np.save("volume.npy", np.random.default_rng(0).integers(0, 2, (64, 64, 64), dtype=np.uint8))
    called = call("train", "--images", "volume.npy", "--phases", "a,b", "--out", "bundle", "--check")
    assert "trains on the slices of 1 volume 64x64x64 along z, y and x" in called.stdout


def test_several_files_after_one_option(call: Call, images: Path) -> None:
    """As a shell expands `--images slices/*.npy`."""
    second = Path("second.npy")
    np.save(second, np.load(images / "labels.npy"))
    called = call("train", "--images", images / "labels.npy", second, "--phases", "a,b", "--out", "bundle", "--check")
    assert "trains on 2 images" in called.stdout


@pytest.mark.parametrize(
    ("name", "phases", "more", "words"),
    [
        ("missing.tif", "pore,solid", [], ["missing.tif", "no such file"]),
        ("broken.tif", "pore,solid", [], ["broken.tif", "unreadable"]),
        ("grey.npy", "pore,solid", [], ["grey", "otsu"]),
        ("labels.npy", "pore,solid,clay", [], ["2 labels", "3 phases"]),
        ("labels.npy", "pore", [], ["at least two"]),
        ("labels.npy", "pore,pore", [], ["twice"]),
        ("small.npy", "pore,solid", [], ["32x32", "64"]),
        ("labels.npy", "pore,solid", ["--region", "x=0:200"], ["x=0:200"]),
        ("labels.npy", "pore,solid", ["--region", "w=0:20"], ["w"]),
        ("labels.npy", "pore,solid", ["--preset", "cpuu"], ["cpuu", "did you mean 'cpu'"]),
        ("labels.npy", "pore,solid", ["--steps", "0"], ["steps"]),
        ("labels.npy", "pore,solid", ["--set", "descriptors=porosity"], ["descriptors", "fraction, mean_chord"]),
        ("labels.npy", "pore,solid", ["--seed", "-1"], ["--seed -1"]),
        ("labels.npy", "pore,solid", ["--voxel-size-um", "-1"], ["-1"]),
        ("grey.npy", "pore,solid", ["--segment", "otsuu"], ["otsuu", "otsu"]),
    ],
)
def test_refuses(refused: Call, images: Path, name: str, phases: str, more: list[str], words: list[str]) -> None:
    line = refused(*options(images, name, phases), *more)
    assert all(word in line for word in words), line


def test_a_folder_that_holds_something_else_is_refused(refused: Call, images: Path) -> None:
    Path("bundle").mkdir()
    Path("bundle/thesis.txt").write_text("the only copy")
    assert "bundle" in refused(*options(images))


def test_a_folder_below_a_file_is_refused(refused: Call, images: Path) -> None:
    Path("bundle").write_text("a file")
    assert "bundle is a file" in refused(*options(images), "--out", "bundle/below")


def report(progress: Callable[[TrainingProgress], None], stage: str, first: int, last: int) -> None:
    for step in range(first, last + 1):
        progress(
            TrainingProgress(stage=stage, step=step, steps=4, loss=0.5 / step, elapsed_s=1.0, eta_s=4.0 - step)  # type: ignore[arg-type]
        )


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Stands for the training itself, with its signature."""
    fake = create_autospec(engine.train.train)
    monkeypatch.setattr(engine.train, "train", fake)
    return fake


def test_what_the_training_is_told(call: Call, images: Path, training: Mock) -> None:
    told = ("--material", "a rock", "--source", "a quarry", "--licence", "CC0", "--steps", 7, "--voxel-size-um", 2.5)
    called = call(*options(images), *told, "--set", "descriptors=fraction,mean_chord")
    assert called.status == 0, called.stderr
    assert "wrote bundle" in called.stdout and "mesoforge reconstruct --model bundle" in called.stdout
    micrographs, out, config = training.call_args.args
    assert (out, config.denoiser_steps, micrographs.voxel_size_um) == (Path("bundle"), 7, 2.5)
    assert config.descriptors == ("fraction", "mean_chord")
    given = training.call_args.kwargs
    assert (given["material"], given["source"], given["licence"]) == ("a rock", "a quarry", "CC0")
    assert given["command"].startswith("mesoforge train --images ") and "--material 'a rock'" in given["command"]


def test_the_networks_of_a_bundle_to_start_from(call: Call, refused: Call, images: Path, training: Mock) -> None:
    called = call(*options(images), "--start", "berea", "--steps", 7)
    assert called.status == 0, called.stderr
    assert training.call_args.kwargs["start"].card.name == "berea"
    assert "nowhere" in refused(*options(images), "--start", "nowhere")


def test_progress_is_a_phase_for_each_stage(call: Call, images: Path, training: Mock) -> None:
    def train(*_: object, on_progress: Callable[[TrainingProgress], None], **__: object) -> None:
        report(on_progress, "autoencoder", 3, 4)
        report(on_progress, "denoiser", 1, 4)

    training.side_effect = train
    lines = call(*options(images)).stderr.splitlines()
    assert lines[:2] == ["autoencoder: goes on from step 2", "autoencoder: 4 steps"]
    assert lines[2].startswith("autoencoder: done in ") and lines[3] == "denoiser: 4 steps"
    assert lines[4].startswith("denoiser: done in ") and lines[4].endswith("(loss 0.1250)")


def test_an_interrupt_says_how_to_go_on(call: Call, images: Path, training: Mock) -> None:
    def train(*_: object, on_progress: Callable[[TrainingProgress], None], **__: object) -> None:
        report(on_progress, "denoiser", 1, 2)
        raise KeyboardInterrupt

    training.side_effect = train
    called = call(*options(images))
    assert called.status == 130
    stopped, last = called.stderr.splitlines()[-2:]
    assert stopped.startswith("denoiser: stopped at 2 of 4")
    assert last == "interrupted: a checkpoint is in bundle; give the same command again to go on"


def test_settings_and_classes_reach_the_training(call: Call, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = create_autospec(engine.train.train)
    monkeypatch.setattr(engine.train, "train", trained)
    settings = ("prediction=epsilon", "learned_variance=true", "denoiser_multipliers=1,2", "dropout=0.1", "batch=8")
    options = [part for text in settings for part in ("--set", text)]
    for name in ("one", "two"):
        np.save(f"{name}.npy", np.random.default_rng(len(name)).integers(0, 2, (64, 64), dtype=np.uint8))
    np.save("two.npy", np.random.default_rng(9).integers(0, 2, (64, 64), dtype=np.uint8))
    classes = ("--class", "first=one.npy", "--class", "second-one=two.npy")
    called = call("train", *classes, "--phases", "a,b", "--out", "bundle", *options)
    assert called.status == 0, called.stderr
    assert "mesoforge sample --model bundle --class first" in called.stdout
    micrographs, _, config = trained.call_args.args
    assert micrographs.classes == ("first", "second-one") and micrographs.class_of == (0, 1)
    assert (config.prediction, config.learned_variance, config.dropout, config.batch) == ("epsilon", True, 0.1, 8)
    assert config.denoiser_multipliers == (1, 2)


def test_settings_and_classes_that_cannot_be(refused: Call, images: Path) -> None:
    given = ("train", "--images", images / "labels.npy", "--phases", "pore,solid", "--out", "bundle")
    assert "there are accumulate, attends" in refused(*given, "--set", "speed=1")
    assert "is no value for it" in refused(*given, "--set", "batch=many")
    assert "prediction: must be one of" in refused(*given, "--set", "prediction=noise")
    assert "must be NAME=PATH" in refused(*given, "--class", "alloy")
    assert "belongs to no class" in refused(*given, "--class", f"alloy={images / 'labels.npy'}")


def test_grey_images_train_without_phases(call: Call, images: Path) -> None:
    tiny = [f"--set={name}={value}" for name, value in TINY.items()]
    called = call("train", "--images", images / "grey.npy", "--grey", "--out", "bundle", "--steps", 2, *tiny)
    assert called.status == 0, called.stderr
    assert "grey values: 0 to 255 stand for 0 to 255 of the files" in called.stdout
    assert called.stdout.splitlines()[-1] == "try it: mesoforge sample --model bundle --count 16 --out bundle_images"
    drawn = call("sample", "--model", "bundle", "--size", 32, "--steps", 2, "--count", 2, "--out", "out")
    assert drawn.status == 0, drawn.stderr
    assert drawn.stdout.splitlines()[-1] == "2 images of bundle in out; grey values 0 to 255"
    [first, second] = (tifffile.imread(path) for path in sorted(Path("out").glob("*.tif")))
    assert first.dtype == np.uint8 and len(np.unique(first)) > 20 and not np.array_equal(first, second)
    assert "grey values" in call("models", "bundle").stdout
    for command in (["reconstruct"], ["design", "--target", "fraction[pore]=0.2±5%"]):
        refused = call(*command, "--model", "bundle", "--count", 1, "--size", 64, "--out", "volumes")
        assert refused.status == 2 and "makes grey-level images" in refused.stderr, refused.stderr


def test_grey_goes_with_neither_phases_nor_rules(refused: Callable[..., str], images: Path) -> None:
    given = ("train", "--grey", "--out", "bundle", "--images")
    assert "leave out --phases or --grey" in refused(*given, images / "grey.npy", "--phases", "a,b")
    assert "leave out --segment or --grey" in refused(*given, images / "grey.npy", "--segment", "otsu")
    assert "leave out --check or --grey" in refused(*given, images / "grey.npy", "--check")
    assert "which are labels" in refused(*given, images / "labels.npy")
