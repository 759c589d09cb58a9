"""Training of a bundle from micrographs: autoencoder, denoiser, lines, calibration, in one call that can be stopped.

    micrographs = read_micrographs([Path("rock.tif")], ("pore", "solid"))
    card = train(micrographs, Path("my_bundle"), PRESETS["cpu"])

    card = calibrate(load_bundle("my_bundle"), micrographs, Path("calibrated"))

Everything unfinished stands in `<out>/.training`; the same call goes on from there.
"""

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from engine.calibrate import ERRORS, choose_numbers, image_statistics, latent_statistics, match_composition, uncorrected
from engine.errors import InputError
from engine.micrographs.crops import CropSampler
from engine.micrographs.micrograph import Micrographs, Source, listed
from engine.models.bundle import CARD, WEIGHTS, Bundle, Card, Phase, load_bundle, read_card, save_bundle
from engine.models.checkpoint import write_atomically
from engine.models.inference import Inference
from engine.models.presets import TrainingConfig
from engine.models.training import Report, TrainingProgress, train_lines, train_networks
from engine.models.training_curves import KEY, training_curves
from engine.sampling.composition import Composition
from engine.sampling.multiplane import Calibration, SamplerNumbers

WORKSPACE = ".training"
IMAGE_NUMBERS = SamplerNumbers(solver="ddim", steps=50, eta=0.0)
"""Of grey-level images, which no calibration chooses: the solver of the papers. Few steps with noise leave grain."""


def train(
    micrographs: Micrographs,
    out: Path,
    config: TrainingConfig,
    *,
    material: str = "",
    command: str = "",
    source: str = "",
    licence: str = "",
    start: Bundle | None = None,
    on_progress: Report | None = None,
) -> Card | None:
    """Train a bundle, or go on with one that was interrupted.

    Args:
        micrographs: training data.
        out: folder of the bundle; new, empty, or holding this very training unfinished.
        config: how.
        material, command, source, licence: for the card.
        start: a bundle whose networks are trained on, as far as they fit (fine-tuning); None starts anew.
        on_progress: called after each step of each stage.

    Returns:
        the card of the finished bundle; None in all but the first of several processes (`torchrun`).

    Raises:
        InputError: `out` holds something else, or a finished bundle; `start` does not fit.
        WorkError: the disk refused.
        KeyboardInterrupt: stopped; everything but the step under way is kept.
    """
    check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    workspace = out / WORKSPACE
    networks = train_networks(micrographs, workspace, config, on_progress, start=start)
    if not networks.leads:
        return None
    training = {"command": command, "seed": config.seed, "config": asdict(config), "torch": torch.__version__}
    if start is not None:
        training["start"] = {
            "name": start.card.name,
            "material": start.card.material,
            "licence": start.card.licence,
            "hash": start.card.hash,
        }
    card = Card(
        name=out.resolve().name,
        material=material or out.resolve().name,
        phases=tuple(
            Phase(name=name, label=label, fraction=fraction)
            for name, label, fraction in zip(micrographs.phases, micrographs.labels, micrographs.fractions, strict=True)
        ),
        voxel_size_um=micrographs.voxel_size_um,
        crop=config.crop,
        autoencoder=networks.autoencoder.config,
        denoiser=networks.denoiser.config,
        schedule=config.schedule_numbers,
        calibration={"numbers": asdict(SamplerNumbers())},
        data=tuple(asdict(record) for record in listed(micrographs.sources)),
        source=source,
        licence=licence,
        training=training,
        metrics={},
        weights_sha256="",
        classes=micrographs.classes,
        descriptors=networks.descriptors,
        grey=micrographs.grey,
        class_labels=micrographs.class_labels,
    )
    channels = networks.autoencoder.config.latent_channels
    if micrographs.grey is not None:  # no volume comes of it: there is nothing to calibrate
        card = replace(card, calibration={"numbers": asdict(IMAGE_NUMBERS)}, metrics=dict(networks.metrics))
        card = save_bundle(out, card, networks.autoencoder, networks.denoiser, *_placeholders(channels, 1))
        shutil.rmtree(workspace)
        return card
    # Saved and read back first: the calibration and every metric are those of the file (half precision), not of the
    # networks in memory.
    nothing = _placeholders(channels, len(card.phases))
    save_bundle(workspace, card, networks.autoencoder, networks.denoiser, *nothing, lines=networks.lines)
    bundle = load_bundle(workspace, config.device)
    card = replace(bundle.card, metrics=dict(networks.metrics))
    return _calibrated(card, bundle, micrographs, out, config, on_progress)


def calibrate(
    bundle: Bundle,
    micrographs: Micrographs,
    out: Path,
    *,
    command: str = "",
    on_progress: Report | None = None,
) -> Card:
    """The networks of a finished bundle with a calibration of their own by this version: a bundle anew.

    Args:
        bundle: of volumes.
        micrographs: what it was trained on.
        out: folder of the new bundle; new, empty, or holding this very calibration unfinished.
        command: for the card, beside that of the training.

    Raises:
        InputError: other images than those of the training, a bundle without volumes, or `out` holds something else.
        WorkError: the disk refused.
    """
    card = bundle.card
    if card.grey is not None or card.classes:
        raise InputError(f"{card.name}: is a bundle of images; only a bundle of volumes has a calibration")
    ours = [(phase.name, phase.label) for phase in card.phases]
    if ours != list(zip(micrographs.phases, micrographs.labels, strict=True)):
        raise InputError(f"the images' phases are not those of {card.name} ({', '.join(card.phase_names)})")
    if [Source(**_as_given(each)) for each in card.data] != list(listed(micrographs.sources)):
        raise InputError(f"these are not the images that {card.name} was trained on; its card lists them under 'data'")
    check_folder(out)
    (out / WORKSPACE).mkdir(parents=True, exist_ok=True)
    config = replace(TrainingConfig(**_as_given(card.training["config"])), device=bundle.device)
    kept = {name: value for name, value in card.metrics.items() if not name.startswith("calibration_") and name != KEY}
    training = {**card.training, "calibration": command}
    if bundle.lines is None and config.has_lines(micrographs):  # trained before there was one
        lines, kept["lines_loss"] = train_lines(bundle, micrographs, out / WORKSPACE, config, on_progress)
        networks = (bundle.autoencoder, bundle.denoiser, bundle.calibration, bundle.composition)
        save_bundle(out / WORKSPACE, card, *networks, lines=lines)
        bundle = load_bundle(out / WORKSPACE, bundle.device)
        card = bundle.card
    card = replace(card, name=out.resolve().name, metrics=kept, training=training)
    return _calibrated(card, bundle, micrographs, out, config, on_progress)


def _calibrated(
    card: Card,
    bundle: Bundle,
    micrographs: Micrographs,
    out: Path,
    config: TrainingConfig,
    on_progress: Report | None,
) -> Card:
    """Measure what the sampler needs to know of a bundle's networks, write the bundle and remove the workspace."""
    started = time.perf_counter()
    workspace = out / WORKSPACE
    inference = Inference(bundle)
    autocovariance, composition, points = latent_statistics(
        inference, CropSampler(micrographs, config.crop), len(card.phases), config.seed, config.calibration_crops
    )
    calibration = uncorrected(autocovariance, card.latent_crop, points=points)
    networks = bundle.autoencoder, bundle.denoiser
    bundle = Bundle(card, *networks, calibration, composition, config.device, lines=bundle.lines)
    curve: list[dict[str, Any]] = []
    if config.calibrate and not micrographs.classes:  # classes are of images: no volume could be judged by them
        wanted = image_statistics(micrographs)
        record = workspace / "calibration.json"
        known = json.loads(record.read_text()) if record.exists() else []

        def on_step(step: int, steps: int, measured: list[dict[str, Any]]) -> None:
            write_atomically(record, json.dumps(measured).encode())
            if on_progress is not None:
                elapsed = time.perf_counter() - started
                on_progress(
                    TrainingProgress(
                        stage="calibration",
                        step=step,
                        steps=steps,
                        loss=measured[-1]["score"],
                        elapsed_s=elapsed,
                        eta_s=elapsed / max(1, step - len(known)) * (steps - step),
                    )
                )

        numbers, curve = choose_numbers(bundle, inference, wanted, config, known=known, on_step=on_step)
        seeds = [config.seed * 1_000 + i for i in range(2 * config.calibration_volumes)]
        calibration, _ = match_composition(bundle, inference, numbers, wanted, seeds, config.crop)
    settled = asdict(calibration.numbers)
    chosen = next((entry for entry in curve if all(entry[name] == value for name, value in settled.items())), {})
    metrics = dict(card.metrics) | {f"calibration_{name}_error": chosen[name] for name in ERRORS if chosen}
    metrics |= {KEY: training_curves(micrographs, config.crop, config.seed)}
    card = replace(card, calibration={"numbers": asdict(calibration.numbers), "curve": curve}, metrics=metrics)
    card = save_bundle(out, card, *networks, calibration, composition, lines=bundle.lines)
    shutil.rmtree(workspace)
    return card


def check_folder(out: Path) -> None:
    """Raise InputError where `out` cannot become this bundle."""
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"{out}: is a file; --out must name a folder")
    if (out / CARD).exists():
        raise InputError(f"{out}: holds the finished bundle '{read_card(out).name}'; choose another folder")
    foreign = sorted(path.name for path in out.iterdir() if path.name not in (WORKSPACE, WEIGHTS))
    if foreign:
        raise InputError(f"{out}: holds something else ({foreign[0]}); choose another folder")


def _as_given(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that a card records, for the class they are of: JSON has lists for tuples. What an old card does not know
    has its default."""
    return {name: tuple(each) if isinstance(each, list) else each for name, each in recorded.items()}


def _placeholders(channels: int, phases: int) -> tuple[Calibration, Composition]:
    """Stand-ins for the bundle that the calibration itself runs on; replaced before anything is sampled."""
    nothing = Composition(
        offset=torch.zeros(phases), slope=torch.zeros(phases, channels), covariance=torch.eye(channels)
    )
    return uncorrected(torch.zeros(channels, 1), 1), nothing
