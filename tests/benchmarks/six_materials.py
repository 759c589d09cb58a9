"""Images of six-materials judged class by class, beside Tables 2 to 4 of Lee & Yun.

    python -m tests.benchmarks.six_materials --bundle bundles/six-materials --train six/train --judge six/judge
    python -m tests.benchmarks.six_materials ... --count 16 --steps 4 --classes alloy    (a look, about a minute)

The folders hold one folder of images for each class (docs/cookbook.md); `train` trained the bundle, `judge` has images
of other seeds. In brackets what the training images get against the judging ones: about the least that a set of this
size can. Images are drawn by DDIM (eta 0) and kept under runs/benchmarks, so a run that is stopped goes on.

- S2 and lineal path: eq. 23 of the mean curves of phase 1, along both axes, 0 to 31 pixels. Grey images are cut at
  Otsu's threshold of the judging ones.
- Precision and recall (k = 3), Frechet distance: in the features that are named, not Inception's, so not comparable
  with the published ones.
- Nearest: smallest mean squared difference of a drawn image to a training image (eq. 24), pixels 0 to 1; in brackets
  that of a judging image. 0 would be a copy.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engine.descriptors.discrepancy import relative_area
from engine.descriptors.grains import grain_sizes
from engine.descriptors.lineal_path import lineal_path
from engine.descriptors.two_point import directional_s2
from engine.evaluation.distributions import frechet_distance, precision_recall
from engine.evaluation.features import IMAGES_AT_ONCE, random_features
from engine.images import ImageSettings, sample_images
from engine.micrographs.files import read_array
from engine.micrographs.read import find_files
from engine.micrographs.segment import otsu_thresholds
from engine.models.bundle import Bundle, load_bundle
from engine.models.inference import Inference
from engine.request import Settings
from tests.benchmarks.common import machine, table

SIDE, LAGS, BATCH = 64, 32, 32
ALLOY = "alloy"
EXTRACTOR = random_features(2)
PUBLISHED = {
    "alloy": (5.17, 0.32, 0.784, 0.758, 2.08),
    "carbonate": (2.02, 5.36, 0.324, 0.712, 18.12),
    "ceramics": (1.05, 1.82, 0.384, 0.625, 13.87),
    "copolymer": (0.66, 1.08, 0.483, 0.784, 6.74),
    "pmma": (3.70, 4.71, 0.637, 0.791, 11.29),
    "fibres": (1.30, 0.81, 0.760, 0.782, 2.22),
}
"""Lee & Yun: S2 and lineal path in per cent (Tables 3 and 4), precision, recall, FID of Inception (Table 2)."""

Field = NDArray[np.float32]  # [N, H, W], 0..1


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One set of images against the judging ones."""

    s2: float
    """A ratio, as is `lineal_path`."""
    lineal_path: float
    precision: float
    recall: float
    frechet: float
    nearest: float
    """To a training image; of the training images themselves 0."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """Training and judging images of one class, and what every set of it is held against."""

    training: Field
    judging: Field
    threshold: float
    """Above it is phase 1."""
    features: NDArray[np.float64]
    """Of the judging images."""


def read_truth(training: Path, judging: Path, labels: tuple[int, ...], count: int) -> Truth:
    """At most `count` images of either folder; labels are those of the class, none where it is grey."""
    one, two = (_read(folder, labels, count) for folder in (training, judging))
    threshold = 0.5 if labels else otsu_thresholds(np.round(two * 255).astype(np.uint8), 2)[0] / 255
    return Truth(training=one, judging=two, threshold=threshold, features=features(two))


def _read(folder: Path, labels: tuple[int, ...], count: int) -> Field:
    return as_field(np.stack([read_array(path).array for path in find_files([folder])[:count]]), labels)


def as_field(images: NDArray[np.uint8], labels: tuple[int, ...]) -> Field:
    """Labels as evenly spaced values, grey values 0..255 as they are."""
    if not labels:
        return (images / 255).astype(np.float32)
    return (np.searchsorted(np.asarray(labels), images) / (len(labels) - 1)).astype(np.float32)


def features(images: Field) -> NDArray[np.float64]:
    """[N, F] of the named features; a grey pixel is so much of phase 1."""
    parts = torch.from_numpy(images)[:, None].split(IMAGES_AT_ONCE)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        return torch.cat([EXTRACTOR.vectors(torch.cat([1 - part, part], dim=1)).double() for part in parts]).numpy()


def drawn(
    bundle: Bundle, inference: Inference, label: str, count: int, settings: Settings, kept: Path
) -> tuple[Field, float]:
    """Images of a class, and the seconds that one took; read back where they were drawn before."""
    labels = bundle.card.class_labels[bundle.card.classes.index(label)]
    if kept.exists():
        found = np.load(kept)
        return as_field(found["images"], labels), float(found["seconds"])
    started, images = time.perf_counter(), []
    asked = ImageSettings(label=label, sampling=settings)
    for start in range(0, count, BATCH):
        seeds = range(start, min(start + BATCH, count))
        images.append(sample_images(bundle, inference, (SIDE, SIDE), list(seeds), asked))
    seconds = (time.perf_counter() - started) / count
    np.savez_compressed(kept, images=np.concatenate(images), seconds=seconds)
    return as_field(np.concatenate(images), labels), seconds


def judge(images: Field, truth: Truth) -> Judged:
    """A set against the judging images."""
    vectors = features(images)
    precision, recall = precision_recall(vectors, truth.features)
    curves = [_curves(each > truth.threshold) for each in (images, truth.judging)]
    s2, lineal = (float(relative_area(ours, true)) for ours, true in zip(*curves, strict=True))
    return Judged(
        s2=s2,
        lineal_path=lineal,
        precision=precision,
        recall=recall,
        frechet=frechet_distance(vectors, truth.features),
        nearest=nearest(images, truth.training),
    )


def _curves(masks: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean S2 and lineal path [R] of phase 1, over images and both axes."""
    s2 = np.mean([directional_s2(mask, LAGS, space_dims=2).numpy().mean(axis=0) for mask in masks], axis=0)
    lineal = np.mean([lineal_path(mask, LAGS, space_dims=2).mean(axis=0) for mask in masks], axis=0)
    return s2, lineal


def nearest(images: Field, training: Field) -> float:
    """Smallest mean squared difference of any image to any training image (eq. 24)."""
    one, two = (each.reshape(len(each), -1).astype(np.float64) for each in (images, training))
    squares = (one**2).sum(axis=1)[:, None] + (two**2).sum(axis=1)[None] - 2 * one @ two.T
    return max(0.0, float(squares.min())) / one.shape[1]


def grains(images: Field) -> tuple[float, float]:
    """Mean and standard deviation of the grains' diameters in pixels (phase 0), those at the border left out."""
    found = [grain_sizes(image < 0.5) for image in images]
    diameters, weights = (np.concatenate([getattr(each, name) for each in found]) for name in ("diameters", "weights"))
    mean = float(np.average(diameters, weights=weights))
    return mean, float(np.sqrt(np.average((diameters - mean) ** 2, weights=weights)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--judge", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--steps", type=int, default=150, help="of DDIM; the paper's are 150")
    parser.add_argument("--classes", nargs="+")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    bundle = load_bundle(arguments.bundle, arguments.device)
    inference, card = Inference(bundle), bundle.card
    rows, record = [], []
    for label in arguments.classes or card.classes:
        labels = card.class_labels[card.classes.index(label)]
        truth = read_truth(arguments.train / label, arguments.judge / label, labels, arguments.count)
        kept = arguments.out / f"six-{card.hash[:12]}-{label}-ddim{arguments.steps}-{arguments.count}.npz"
        settings = Settings(solver="ddim", steps=arguments.steps, eta=0.0)
        images, seconds = drawn(bundle, inference, label, arguments.count, settings, kept)
        ours, least = judge(images, truth), judge(truth.training, truth)
        theirs = PUBLISHED.get(label)
        rows.append(
            [
                label,
                f"{ours.s2:.2%} ({least.s2:.2%})",
                f"{theirs[0]} %" if theirs else "-",
                f"{ours.lineal_path:.2%} ({least.lineal_path:.2%})",
                f"{theirs[1]} %" if theirs else "-",
                f"{ours.precision:.3f} ({least.precision:.3f})",
                theirs[2] if theirs else "-",
                f"{ours.recall:.3f} ({least.recall:.3f})",
                theirs[3] if theirs else "-",
                f"{ours.frechet:.2g} ({least.frechet:.2g})",
                f"{ours.nearest:.4f} ({nearest(truth.judging, truth.training):.4f})",
                f"{seconds:.2f}",
            ]
        )
        entry = {"class": label, "ours": asdict(ours), "training": asdict(least), "seconds": seconds}
        if label == ALLOY:
            entry["grains"] = {"ours": grains(images), "judging": grains(truth.judging)}
        record.append(entry)
        print(json.dumps(entry), flush=True)
    print(
        f"\n{machine()}\n{arguments.count} images a class, DDIM {arguments.steps} steps; features: {EXTRACTOR.name}\n"
    )
    headers = ["class", "S2", "paper", "lineal path", "paper", "precision", "paper", "recall", "paper", "Frechet"]
    print(table([*headers, "nearest", "s/image"], rows))
    for entry in record:
        if "grains" in entry:
            mine, true = entry["grains"]["ours"], entry["grains"]["judging"]
            print(
                f"\ngrains of the alloy: mean diameter {mine[0]:.2f} (sd {mine[1]:.2f}) pixels; judging images "
                f"{true[0]:.2f} ({true[1]:.2f})"
            )
    (arguments.out / "six_materials.json").write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
