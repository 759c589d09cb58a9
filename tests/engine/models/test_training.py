import os
import signal
from dataclasses import replace

import pytest
import torch

from engine.errors import InputError
from engine.models import training
from engine.models.training import train_networks
from tests.engine.models.tiny import CONFIG, micrographs


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("stage", ["autoencoder", "denoiser"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_goes_on_as_if_nothing_had_happened(tmp_path, stage, number):
    straight = train_networks(micrographs(), tmp_path / "straight", CONFIG)
    seen = []

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
    assert same(straight.denoiser, resumed.denoiser)
    assert straight.metrics == pytest.approx(resumed.metrics)


def test_a_killed_run_goes_on_from_the_last_checkpoint_of_the_clock(tmp_path, monkeypatch):
    """A kill leaves only the checkpoints that the clock wrote; a crash of the process is played by an exception."""
    straight = train_networks(micrographs(), tmp_path / "straight", CONFIG)
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)

    def crash(progress):
        if progress.stage == "denoiser" and progress.step == 3:
            raise SystemError

    with pytest.raises(SystemError):
        train_networks(micrographs(), tmp_path / "killed", CONFIG, crash)
    later = []
    resumed = train_networks(micrographs(), tmp_path / "killed", CONFIG, lambda p: later.append((p.stage, p.step)))
    assert later == [("denoiser", 4)]
    assert same(straight.denoiser, resumed.denoiser)


def test_signals_are_given_back(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    train_networks(micrographs(), tmp_path / "run", CONFIG)
    assert signal.getsignal(signal.SIGINT) is before


def test_other_data_or_settings_are_refused(tmp_path):
    train_networks(micrographs(), tmp_path / "run", CONFIG)
    with pytest.raises(InputError, match="other images or with other settings"):
        train_networks(micrographs(seed=1), tmp_path / "run", CONFIG)
    with pytest.raises(InputError, match="other images or with other settings"):
        train_networks(micrographs(), tmp_path / "run", replace(CONFIG, seed=1))


def test_the_loss_falls(tmp_path):
    config = replace(CONFIG, autoencoder_steps=40, batch=4)
    losses = []
    train_networks(
        micrographs(), tmp_path / "run", config, lambda p: losses.append(p.loss) if p.stage == "autoencoder" else None
    )
    assert losses[-1] < 0.75 * losses[0]
