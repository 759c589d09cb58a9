"""Bundles: a trained model as a folder with `card.json` and `weights.safetensors`, nothing pickled.

The card says what the model is, where its data came from and how it was trained, and holds the sha256 of the
weights; `load_bundle` checks it, so a damaged or exchanged file is refused.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.errors import InputError
from engine.metrics import nearest
from engine.models.autoencoder import Autoencoder, AutoencoderConfig
from engine.models.checkpoint import load_tensors, prefixed, save_tensors, with_prefix, write_atomically
from engine.models.crop_descriptors import DescriptorScale
from engine.models.denoiser import Denoiser, DenoiserConfig
from engine.models.lines import LineConfig, LineDenoiser
from engine.sampling.composition import Composition
from engine.sampling.multiplane import Calibration, SamplerNumbers
from engine.sampling.schedules import schedule_of

FORMAT = 2  # 1 had a standard deviation per channel of latents, and autocovariances by axis
CARD, WEIGHTS = "card.json", "weights.safetensors"
ZOO = Path(__file__).parent / "zoo"


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One phase of a material."""

    name: str
    label: int
    """Label in the training images, and in every volume that is written."""
    fraction: float
    """Share of the training data."""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What is known about a bundle; `card.json`."""

    name: str
    material: str
    phases: tuple[Phase, ...]
    voxel_size_um: float | None
    crop: int
    """Pixels on a side of the training crops."""
    autoencoder: AutoencoderConfig
    denoiser: DenoiserConfig
    schedule: dict[str, Any]
    """`timesteps`, and `beta_start`, `beta_end` of the linear schedule or `kind`: cosine."""
    calibration: dict[str, Any]
    """Sampler settings found at the end of training, with the measurements they were chosen by."""
    data: tuple[dict[str, Any], ...]
    """Training files: name, sha256, shape, region."""
    source: str
    licence: str
    training: dict[str, Any]
    """Command, seed and configuration."""
    metrics: dict[str, Any]
    """Measured from the saved weights."""
    weights_sha256: str
    classes: tuple[str, ...] = ()
    """Of a bundle of images of several materials; empty for one material."""
    descriptors: tuple[DescriptorScale, ...] = ()
    """Numbers that the network can be told, in its order; empty where it was trained without."""
    grey: tuple[float, float] | None = None
    """Of a bundle of grey-level images: the training images' values that 0 and 255 stand for. It has no phases."""
    class_labels: tuple[tuple[int, ...], ...] = ()
    """Of grey-level images, for each class: the labels that its images are cut to; empty where they stay grey."""
    lines: LineConfig | None = None
    """Of the network of lines; None where planes are denoised without it."""
    format: int = FORMAT
    folder: Path = field(default=Path(), compare=False)
    """Where the card was read from; not part of the file."""

    @property
    def hash(self) -> str:
        """Identity of the model: sha256 over the weights' hash, the sampler's calibration and what can be told."""
        told = [[asdict(each) for each in self.descriptors]] if self.descriptors else []
        text = json.dumps([self.weights_sha256, self.calibration, self.schedule, *told], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def latent_crop(self) -> int:
        """Latent pixels on a side of the training crops."""
        return self.crop // self.autoencoder.factor

    @property
    def side_step(self) -> int:
        """Sides of volumes and images must be multiples of this many pixels."""
        return self.autoencoder.factor << self.denoiser.halvings

    @property
    def training_means(self) -> dict[str, list[float]]:
        """Mean curves of the training crops, `s2[phase]` and `lineal_path[phase]`, at 0, 1, 2, ... pixels; empty where
        the card does not hold them."""
        curves: dict[str, dict[str, list[float]]] = self.metrics.get("training_curves", {})
        names = [f"{name}[{phase}]" for name in ("s2", "lineal_path") for phase in self.phase_names]
        return {name: list(curves[name]["mean"]) for name in names if name in curves}

    @property
    def training_fractions(self) -> dict[str, tuple[float, float]]:
        """5th and 95th percentile of the fractions of the training crops by phase; empty where the card does not hold
        them."""
        curves: dict[str, dict[str, list[float]]] = self.metrics.get("training_curves", {})
        bands = {phase: curves.get(f"s2[{phase}]", {}) for phase in self.phase_names}
        return {
            phase: (band["low"][0], band["high"][0])
            for phase, band in bands.items()
            if band.get("low") and band.get("high")
        }

    @property
    def phase_names(self) -> tuple[str, ...]:
        return tuple(phase.name for phase in self.phases)


class Bundle:
    """A loaded bundle: networks in evaluation mode on one device, with the card."""

    def __init__(
        self,
        card: Card,
        autoencoder: Autoencoder,
        denoiser: Denoiser,
        calibration: Calibration,
        composition: Composition,
        device: str = "cpu",
        *,
        lines: LineDenoiser | None = None,
    ) -> None:
        self.card, self.device = card, device
        self.autoencoder = autoencoder.to(device).eval().requires_grad_(False)
        self.denoiser = denoiser.to(device).eval().requires_grad_(False)
        self.lines = None if lines is None else lines.to(device).eval().requires_grad_(False)
        self.calibration, self.composition = calibration.to(device), composition.to(device)
        self.schedule = schedule_of(card.schedule)
        self.factor = card.autoencoder.factor

    @property
    def memory_bytes(self) -> int:
        """What the networks take on the device."""
        networks = (self.autoencoder, self.denoiser, *(() if self.lines is None else (self.lines,)))
        return sum(tensor.nbytes for network in networks for tensor in network.state_dict().values())


def save_bundle(
    folder: Path,
    card: Card,
    autoencoder: Autoencoder,
    denoiser: Denoiser,
    calibration: Calibration,
    composition: Composition,
    *,
    lines: LineDenoiser | None = None,
) -> Card:
    """Write a bundle, floating-point weights in half precision; the card last, so a folder with a card is whole.

    Returns:
        the card with the hash of what was written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = prefixed("autoencoder", autoencoder.state_dict()) | prefixed("denoiser", denoiser.state_dict())
    if lines is not None:
        tensors |= prefixed("lines", lines.state_dict())
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    # The spectra span many decades and are small: they stay in float32.
    exact = prefixed("calibration", calibration.tensors()) | prefixed("composition", composition.tensors())
    save_tensors(folder / WEIGHTS, half | exact)
    record = asdict(card) | {"lines": None if lines is None else asdict(lines.config)}
    record |= {"weights_sha256": file_sha256(folder / WEIGHTS)}
    del record["folder"]
    write_atomically(folder / CARD, (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode())
    return read_card(folder)


def read_card(where: str | Path) -> Card:
    """Read the card of a bundle given by path or name, without its weights.

    Raises:
        InputError: there is no such bundle, or its card is damaged.
    """
    folder = locate(where)
    path = folder / CARD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != FORMAT:
            raise InputError(f"{path}: format {record['format']}, this version reads {FORMAT}; train the bundle again")
        record["phases"] = tuple(Phase(**phase) for phase in record["phases"])
        record["autoencoder"] = AutoencoderConfig(**record["autoencoder"])
        lists = {name: tuple(value) for name, value in record["denoiser"].items() if isinstance(value, list)}
        record["denoiser"] = DenoiserConfig(**record["denoiser"] | lists)
        record["lines"] = LineConfig(**record["lines"]) if record.get("lines") else None
        record["data"] = tuple(record["data"])
        record["classes"] = tuple(record.get("classes", ()))
        record["descriptors"] = tuple(DescriptorScale(**each) for each in record.get("descriptors", ()))
        record["grey"] = tuple(record["grey"]) if record.get("grey") else None
        record["class_labels"] = tuple(tuple(labels) for labels in record.get("class_labels", ()))
        return Card(**record, folder=folder)
    except InputError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); restore the bundle") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a bundle's card ({error}); restore it or train the bundle again") from None


def load_bundle(where: str | Path, device: str = "cpu") -> Bundle:
    """Load a bundle given by path or name.

    Args:
        where: path of a folder, or a name found in `MESOFORGE_BUNDLES` or the packaged zoo.
        device: torch device.

    Raises:
        InputError: no such bundle, a missing file, or weights that are not those of the card.
    """
    card = read_card(where)
    path = check_weights(card)
    tensors, _ = load_tensors(path)
    autoencoder, denoiser = Autoencoder(card.autoencoder), Denoiser(card.denoiser)
    _fill(autoencoder, with_prefix("autoencoder", tensors), path)
    _fill(denoiser, with_prefix("denoiser", tensors), path)
    lines = None if card.lines is None else LineDenoiser(card.lines)
    if lines is not None:
        _fill(lines, with_prefix("lines", tensors), path)
    try:
        numbers = SamplerNumbers(**card.calibration["numbers"])
        calibration = Calibration(**with_prefix("calibration", tensors), numbers=numbers)
        composition = Composition(**with_prefix("composition", tensors))
    except (KeyError, TypeError) as error:
        raise InputError(f"{card.folder}: no whole calibration ({error}); restore it or train again") from None
    return Bundle(card, autoencoder, denoiser, calibration, composition, device, lines=lines)


def check_makes_volumes(card: Card) -> None:
    """Raise InputError for a bundle of 2D images alone."""
    if card.grey:
        raise InputError(
            f"bundle {card.name}: makes grey-level images, which have no phases to make a volume of; mesoforge sample "
            "draws them"
        )
    if card.classes:
        raise InputError(
            f"bundle {card.name}: makes images of {len(card.classes)} classes, not volumes; mesoforge sample draws them"
        )


def check_weights(card: Card) -> Path:
    """The file of the weights, if it is the one of the card.

    Raises:
        InputError: it is missing, damaged or was exchanged.
    """
    path = card.folder / WEIGHTS
    if not path.is_file():
        raise InputError(f"{path}: missing; a bundle needs {CARD} and {WEIGHTS}; restore it or train again")
    found = file_sha256(path)
    if found != card.weights_sha256:
        raise InputError(
            f"{path}: sha256 {found[:12]}… is not the card's {card.weights_sha256[:12]}…; "
            "the file is damaged or was exchanged; restore it or train again"
        )
    return path


def find_bundles() -> list[Path]:
    """Folders of all bundles that can be named, those of `MESOFORGE_BUNDLES` first; nothing in them is read."""
    folders: dict[str, Path] = {}
    for root in _roots():
        for path in sorted(root.glob(f"*/{CARD}")):
            folders.setdefault(path.parent.name, path.parent)
    return list(folders.values())


def locate(where: str | Path) -> Path:
    """Folder of a bundle given by path or name.

    Raises:
        InputError: there is none; names the nearest that exists.
    """
    path = Path(where)
    for folder in [path, *(root / path.name for root in _roots() if str(where) == path.name)]:
        if (folder / CARD).is_file():
            return folder
    if path.is_dir():
        raise InputError(f"{path}: not a bundle, it has no {CARD}; train one with 'mesoforge train'")
    names = sorted({card.parent.name for root in _roots() for card in root.glob(f"*/{CARD}")})
    hint = nearest(path.name, names) if names else "; none is installed"
    raise InputError(f"no bundle '{where}': neither a folder nor a known name{hint}; see 'mesoforge models'")


def file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _roots() -> Sequence[Path]:
    named = os.environ.get("MESOFORGE_BUNDLES", "")
    return [Path(part) for part in named.split(os.pathsep) if part] + [ZOO]


def _fill(model: torch.nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    try:
        model.load_state_dict({name: tensor.float() for name, tensor in tensors.items()})
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{path}: the weights do not fit the card ({reason}); restore the bundle") from None
