import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engine.errors import InputError
from engine.models import training
from engine.models.bundle import load_bundle
from engine.models.training import train_networks
from engine.train import train
from tests.engine.models.tiny import CONFIG, micrographs


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Workspace of a training that went straight through, and its networks. Read only."""
    workspace = tmp_path_factory.mktemp("training") / "straight"
    return workspace, train_networks(micrographs(), workspace, CONFIG)


@pytest.mark.parametrize(
    ("stage", "number"), [("autoencoder", signal.SIGINT), ("denoiser", signal.SIGTERM), ("lines", signal.SIGINT)]
)
def test_a_stopped_run_goes_on_as_if_nothing_had_happened(finished, tmp_path, stage, number):
    straight, seen = finished[1], []

    def stop(progress):
        seen.append((progress.stage, progress.step))
        if progress.stage == stage and progress.step == 2:
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt):
        train_networks(micrographs(), tmp_path / "stopped", CONFIG, stop)
    # The step under way when the signal came is finished and kept.
    assert seen[-1] == (stage, 2)
    later = []
    resumed = train_networks(micrographs(), tmp_path / "stopped", CONFIG, lambda p: later.append((p.stage, p.step)))
    assert later[0] == (stage, 4)
    assert same(straight.autoencoder, resumed.autoencoder)
    assert same(straight.denoiser, resumed.denoiser) and same(straight.lines, resumed.lines)
    assert straight.metrics == pytest.approx(resumed.metrics)


def test_a_killed_run_goes_on_from_the_last_checkpoint_of_the_clock(tmp_path, monkeypatch):
    """A kill leaves only the checkpoints that the clock wrote; a crash of the process is played by an exception."""
    config = replace(CONFIG, descriptors=("fraction", "mean_chord"))
    straight = train_networks(micrographs(), tmp_path / "straight", config)
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)

    def crash(progress):
        if progress.stage == "denoiser" and progress.step == 3:
            raise SystemError

    with pytest.raises(SystemError):
        train_networks(micrographs(), tmp_path / "killed", config, crash)
    later = []
    resumed = train_networks(micrographs(), tmp_path / "killed", config, lambda p: later.append((p.stage, p.step)))
    assert later == [("denoiser", 4), *(("lines", step) for step in range(1, 5))]
    assert same(straight.denoiser, resumed.denoiser) and straight.descriptors == resumed.descriptors


def test_signals_are_given_back(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    train_networks(micrographs(), tmp_path / "run", replace(CONFIG, autoencoder_steps=1, denoiser_steps=1))
    assert signal.getsignal(signal.SIGINT) is before


def test_other_data_or_settings_are_refused(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    with pytest.raises(InputError, match="other images or with other settings"):
        train_networks(micrographs(seed=1), tmp_path / "run", CONFIG)
    with pytest.raises(InputError, match="other images or with other settings"):
        train_networks(micrographs(), tmp_path / "run", replace(CONFIG, seed=1))


def test_grey_images_have_no_descriptors_to_be_told(tmp_path):
    grey = replace(micrographs(), phases=(), labels=(), grey=(0.0, 255.0))
    with pytest.raises(InputError, match="belong to phases, which grey-level images have not"):
        train_networks(grey, tmp_path, replace(CONFIG, descriptors=("fraction",)))


def test_the_same_files_with_grey_values_are_another_run(tmp_path):
    labelled, config = micrographs(), replace(CONFIG, autoencoder_steps=1, denoiser_steps=1)
    train_networks(labelled, tmp_path, config)
    with pytest.raises(InputError, match="on other images or with other settings"):
        train_networks(replace(labelled, phases=(), labels=(), grey=(0.0, 255.0)), tmp_path, config)


def test_the_loss_falls(tmp_path):
    config = replace(CONFIG, autoencoder_steps=40, batch=4)
    losses = []
    train_networks(
        micrographs(), tmp_path / "run", config, lambda p: losses.append(p.loss) if p.stage == "autoencoder" else None
    )
    assert losses[-1] < 0.75 * losses[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"prediction": "epsilon", "learned_variance": True, "schedule": "cosine", "train_timesteps": 4000},
        {"prediction": "x0", "rate": "constant", "dropout": 0.2, "precision": "fp32"},
        {"factor": 1, "crop": 32, "denoiser_patch": 2, "attention": (2,), "heads": 2},
        {"factor": 2, "crop": 32, "descriptors": ("mean_chord",), "attends": True},
    ],
    ids=["hybrid", "clean", "pixel", "half"],
)
def test_every_way_of_training_is_a_function_of_the_seed(tmp_path, changes):
    config = replace(CONFIG, autoencoder_steps=2, denoiser_steps=2, **changes)
    one, two = (train_networks(micrographs(), tmp_path / name, config) for name in ("one", "two"))
    assert same(one.denoiser, two.denoiser) and same(one.autoencoder, two.autoencoder)
    fresh = torch.cat([p.flatten() for p in one.denoiser.head.parameters()])
    assert torch.isfinite(fresh).all() and one.metrics["denoiser_loss"] > 0
    outputs = one.denoiser.config.channels * (2 if config.learned_variance else 1)
    assert one.denoiser.head[-1].out_channels == outputs * config.denoiser_patch**2


def close(a, b):
    """The same network up to rounding: AdamW's first steps have the size of the rate whatever the gradient's."""
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.allclose(x, y, atol=2e-4) for x, y in pairs)


def test_a_batch_in_parts_is_the_whole_batch(tmp_path):
    config = replace(CONFIG, batch=4, precision="fp32")
    whole = train_networks(micrographs(), tmp_path / "whole", config)
    parts = train_networks(micrographs(), tmp_path / "parts", replace(config, accumulate=2))
    assert close(whole.autoencoder, parts.autoencoder) and close(whole.denoiser, parts.denoiser)
    assert parts.metrics["denoiser_loss"] == pytest.approx(whole.metrics["denoiser_loss"], rel=1e-3)


def test_two_processes_train_the_network_of_one(tmp_path):
    """Through torch's own launcher; each has half of every batch."""
    config = replace(CONFIG, batch=4, precision="fp32", descriptors=("fraction",))
    alone = train_networks(micrographs(), tmp_path / "alone", config)
    script = tmp_path / "train.py"
    script.write_text(
        "from dataclasses import replace\nfrom pathlib import Path\n"
        "from engine.models.training import train_networks\n"
        "from tests.engine.models.tiny import CONFIG, micrographs\n"
        "config = replace(CONFIG, batch=4, precision='fp32', descriptors=('fraction',))\n"
        f"train_networks(micrographs(), Path({str(tmp_path / 'shared')!r}), config)\n"
    )
    root = str(Path(__file__).parents[3])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    together = train_networks(micrographs(), tmp_path / "shared", config)  # finished: it is read
    assert close(alone.autoencoder, together.autoencoder) and close(alone.denoiser, together.denoiser)
    assert alone.descriptors == together.descriptors


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    with pytest.raises(InputError, match="must divide the batch of 2 into equal parts"):
        replace(CONFIG, accumulate=3)


def loaded(out):
    train(micrographs(), out, replace(CONFIG, autoencoder_steps=30, denoiser_steps=30))
    return load_bundle(out)


def test_networks_of_another_bundle_are_trained_on(tmp_path):
    """Their weights are the first ones, as far as shapes agree; a run that begins with them is another run."""
    rock = loaded(tmp_path / "rock")
    config = replace(CONFIG, autoencoder_steps=1, denoiser_steps=1, denoiser_rate=1e-12, autoencoder_rate=1e-12)
    on = train_networks(micrographs(), tmp_path / "on", config, start=rock)
    anew = train_networks(micrographs(), tmp_path / "anew", config)
    for ours, theirs in ((on.denoiser, rock.denoiser), (on.autoencoder.decoder, rock.autoencoder.decoder)):
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert not same(anew.denoiser, on.denoiser)
    with pytest.raises(InputError, match="unfinished training on other images or with other settings"):
        train_networks(micrographs(), tmp_path / "on", config)

    three = replace(micrographs(), phases=("pore", "solid", "film"), labels=(3, 7, 9))
    grown = train_networks(three, tmp_path / "three", config, start=rock)
    assert grown.denoiser.stem.in_channels == 2
    assert torch.allclose(grown.denoiser.middle[0].block.conv_in.weight, rock.denoiser.middle[0].block.conv_in.weight)


def test_a_start_that_does_not_fit_is_refused(tmp_path):
    rock = loaded(tmp_path / "rock")
    with pytest.raises(InputError, match="the denoiser of rock has little in common with the one to be trained"):
        train_networks(micrographs(), tmp_path / "wide", replace(CONFIG, denoiser_width=32), start=rock)
