"""The whole way at toy size: train, save, load, generate, measure."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from engine.design import check_request, design, generate, judge, measure, request_bytes
from engine.errors import InputError
from engine.guidance.targets import parse_target
from engine.metrics import Metric
from engine.micrographs.micrograph import Micrographs
from engine.models.bundle import CARD, WEIGHTS, find_bundles, load_bundle, read_card, save_bundle
from engine.outcomes import DesignOutcome, Outcome
from engine.request import Request, Settings
from engine.sampling.kikuchi import POINTS
from engine.sampling.spectra import along_axes
from engine.train import WORKSPACE, calibrate, train
from tests.engine.models.tiny import CONFIG, level_cut, micrographs

FAST = Settings(steps=2, refine_passes=1, guidance_iterations=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles") / "toy"
    train(micrographs(), out, CONFIG, material="toy rock", command="train toy", source="made here", licence="CC0")
    return out


@pytest.fixture(scope="module")
def bundle(folder):
    return load_bundle(folder)


def request(seed=1, shape=(32, 32, 48), targets=(), settings=FAST, periodic=False):
    return Request(
        structure_id=f"s{seed}",
        bundle="toy",
        shape=shape,
        seed=seed,
        targets=tuple(parse_target(text) for text in targets),
        settings=settings,
        periodic=periodic,
    )


def test_the_bundle_is_whole_and_says_where_it_comes_from(folder):
    assert sorted(path.name for path in folder.iterdir()) == [CARD, WEIGHTS]
    card = read_card(folder)
    assert card.name == "toy" and card.phase_names == ("pore", "solid")
    assert [phase.label for phase in card.phases] == [3, 7]
    assert card.phases[0].fraction == pytest.approx(1 / 3, abs=0.01)
    assert card.data[0]["name"] == "cut.png" and card.licence == "CC0" and card.training["seed"] == 0
    assert card.voxel_size_um == 0.5 and card.descriptors == ()
    assert (folder / WEIGHTS).stat().st_size < 20e6


def test_the_networks_of_a_finished_bundle_are_calibrated_anew(bundle, folder, tmp_path):
    """The same bundle comes of it, whose volumes are the same: calibration sees the saved networks only."""
    out = tmp_path / "again"
    card = calibrate(bundle, micrographs(), out, command="train again")
    assert sorted(path.name for path in out.iterdir()) == [CARD, WEIGHTS]
    assert card.training == {**bundle.card.training, "calibration": "train again"} and card.name == "again"
    assert card.metrics == bundle.card.metrics and card.calibration == bundle.card.calibration
    assert card.weights_sha256 == bundle.card.weights_sha256 and card.hash == bundle.card.hash


def test_a_bundle_of_before_gets_a_network_of_lines_when_it_is_calibrated(bundle, tmp_path):
    """Its volumes were fused axis by axis; from then on they are made of planes, lines and points."""
    assert bundle.lines is not None and bundle.calibration.points.shape == (POINTS, 1)
    card = replace(bundle.card, lines=None, metrics={})
    before = replace(bundle.calibration, points=None)
    save_bundle(tmp_path / "old", card, bundle.autoencoder, bundle.denoiser, before, bundle.composition)
    old = load_bundle(tmp_path / "old")
    assert old.lines is None and old.calibration.points is None
    (axis_by_axis,) = generate([request(settings=Settings(steps=8, refine_passes=0))], old)
    calibrate(old, micrographs(), tmp_path / "new")
    new = load_bundle(tmp_path / "new")
    assert new.card.lines == bundle.card.lines and torch.equal(new.calibration.points, bundle.calibration.points)
    # On the same crops, encoded by an autoencoder that was saved in half precision.
    assert new.card.metrics["lines_loss"] == pytest.approx(bundle.card.metrics["lines_loss"], rel=1e-3)
    (together,) = generate([request(settings=Settings(steps=8, refine_passes=0))], new)
    assert (axis_by_axis.labels != together.labels).any()


def test_a_calibration_wants_the_images_of_the_training_and_a_place(bundle, folder, tmp_path):
    other = micrographs()
    with pytest.raises(InputError, match="not the images that toy was trained on"):
        strange = [replace(source, sha256="0" * 64) for source in other.sources]
        calibrate(bundle, replace(other, sources=tuple(strange)), tmp_path / "a")
    with pytest.raises(InputError, match="phases are not those of toy"):
        calibrate(bundle, replace(other, phases=("stone", "air")), tmp_path / "b")
    with pytest.raises(InputError, match="finished bundle"):
        calibrate(bundle, other, folder)
    assert not (tmp_path / "a").exists()


def test_bundles_are_found_by_name(folder, monkeypatch):
    monkeypatch.setenv("MESOFORGE_BUNDLES", str(folder.parent))
    assert read_card("toy").hash == read_card(folder).hash
    assert "toy" in [folder.name for folder in find_bundles()]


def test_damaged_bundles_are_refused(folder, tmp_path):
    import shutil

    def copy(name):
        return shutil.copytree(folder, tmp_path / name)

    damaged = copy("bits")
    data = bytearray((damaged / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (damaged / WEIGHTS).write_bytes(data)
    with pytest.raises(InputError, match="sha256"):
        load_bundle(damaged)
    missing = copy("missing")
    (missing / WEIGHTS).unlink()
    with pytest.raises(InputError, match="missing"):
        load_bundle(missing)
    broken = copy("broken")
    (broken / CARD).write_text("{")
    with pytest.raises(InputError, match="not a bundle's card"):
        load_bundle(broken)
    future = copy("future")
    record = json.loads((future / CARD).read_text())
    (future / CARD).write_text(json.dumps(record | {"format": 99}))
    with pytest.raises(InputError, match="format 99"):
        read_card(future)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="not a bundle"):
        load_bundle(tmp_path / "empty")
    with pytest.raises(InputError, match="no bundle 'nowhere'"):
        load_bundle("nowhere")


def test_a_finished_or_foreign_folder_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="finished bundle"):
        train(micrographs(), folder, CONFIG)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="something else"):
        train(micrographs(), tmp_path, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_interrupted_training_leaves_its_workspace_and_goes_on(folder, tmp_path):
    def stop(progress):
        if progress.stage == "denoiser":
            raise KeyboardInterrupt

    out = tmp_path / "again"
    with pytest.raises(KeyboardInterrupt):
        train(micrographs(), out, CONFIG, on_progress=stop)
    assert [path.name for path in out.iterdir()] == [WORKSPACE]
    train(micrographs(), out, CONFIG)
    assert read_card(out).weights_sha256 == read_card(folder).weights_sha256


def test_labels_are_those_of_the_images_and_shapes_are_kept(bundle):
    (made,) = generate([request()], bundle)
    assert made.labels.shape == (32, 32, 48) and made.labels.dtype == np.uint8
    assert set(np.unique(made.labels)) <= {3, 7}
    assert made.outcome is DesignOutcome.UNGUIDED and made.trace == () and made.wall_time_s > 0


def test_the_same_request_gives_the_same_voxels_whatever_the_batch(bundle):
    requests = [request(1), request(2), request(3, targets=["fraction[pore]=0.5±0.1"]), request(4, shape=(32, 32, 32))]
    together = generate(requests, bundle)
    for i in (1, 2, 3):
        (alone,) = generate([requests[i]], bundle)
        assert np.array_equal(alone.labels, together[i].labels)
    assert not np.array_equal(together[0].labels, together[1].labels)


def test_a_periodic_volume_is_guided_and_measured_as_one_and_does_not_depend_on_its_batch(bundle):
    wanted = [request(1, periodic=True), request(2, periodic=True, targets=["fraction[pore]=0.5±0.1"]), request(1)]
    together = generate(wanted, bundle)
    for i in range(2):
        (alone,) = generate([wanted[i]], bundle)
        assert np.array_equal(alone.labels, together[i].labels)
    assert not np.array_equal(together[0].labels, together[2].labels)
    cell = design(request(3, shape=(32, 32, 32), periodic=True), bundle)
    found = measure(cell.generated.labels, bundle.card.phases, periodic=True, certify=False)
    surface = Metric("surface_area", "pore")
    assert cell.measurement.values[surface] == found.values[surface]


def test_memory_that_is_short_makes_batches_smaller_and_no_other_voxels(bundle, monkeypatch):
    wanted = [request(1), request(2), request(3)]
    plenty = generate(wanted, bundle)
    steps = []
    monkeypatch.setattr("engine.design.free_bytes", lambda device: 3 * request_bytes(wanted[0], bundle.card))
    short = generate(wanted, bundle, lambda *step: steps.append(step))
    assert steps.count(("sampling", 2, 2)) == 2  # two together, then one
    for some, other in zip(plenty, short, strict=True):
        assert np.array_equal(some.labels, other.labels)


@pytest.mark.parametrize("refinement", ["sdedit", "rounds"])
def test_refinements_can_be_chosen(bundle, refinement):
    (none,) = generate([request(settings=Settings(steps=2, refine_passes=0))], bundle)
    (some,) = generate([request(settings=Settings(steps=2, refinement=refinement, refine_passes=2))], bundle)
    assert not np.array_equal(none.labels, some.labels)
    assert bundle.calibration.numbers.refine_passes == 0  # asked for, it is done all the same
    (asked,) = generate([request(settings=Settings(steps=2, refinement=refinement))], bundle)
    assert not np.array_equal(none.labels, asked.labels)
    with pytest.raises(InputError, match="sdedit, rounds"):
        Settings(refinement="smooth")


def test_the_published_sampler_runs_on_the_same_bundle(bundle):
    settings = Settings(sampler="mpdd", steps=3, refine_passes=0)
    (made,) = generate([request(settings=settings)], bundle)
    assert made.labels.shape == (32, 32, 48)


def test_guidance_by_slices_runs_on_the_same_bundle_and_the_same_whatever_the_batch(bundle):
    settings = Settings(steps=2, refine_passes=0, guidance="sds-slices", slice_numbers="steps=3,rate=0.1,rounds=1")
    asked = ["fraction[pore]=0.3±0.01", "diffusivity[pore,z]=0.05±5%"]
    requests = [request(seed, settings=settings, targets=asked) for seed in (1, 2)]
    together, (alone,) = generate(requests, bundle), generate(requests[1:], bundle)
    assert np.array_equal(together[1].labels, alone.labels)
    assert [entry["iteration"] for entry in alone.trace] == [0.0, 3.0] and alone.outcome is DesignOutcome.MISSED
    (plain,) = generate([request(2, settings=Settings(steps=2, refine_passes=0))], bundle)
    assert not np.array_equal(alone.labels, plain.labels)
    still = replace(settings, slice_numbers="steps=1,rate=1e-9,rounds=0")  # sampling is not told of the targets
    (untold,) = generate([request(2, settings=still, targets=asked)], bundle)
    assert untold.trace[0]["fraction[pore]"] == pytest.approx(float((plain.labels == 3).mean()))
    with pytest.raises(InputError, match="sds-slices has losses on fraction"):
        check_request(request(settings=settings, targets=["mean_chord[pore,z]=5±1"]), bundle.card)


def test_guidance_of_the_latent_volume_runs_on_the_same_bundle(bundle):
    settings = Settings(steps=2, refine_passes=1, guidance="volume-sds", guidance_iterations=1)
    asked = request(1, (32, 32, 32), settings=settings, targets=["fraction[pore]=0.3±0.01", "mean_chord[pore,z]=5±1"])
    (made,) = generate([asked], bundle)
    assert [entry["iteration"] for entry in made.trace] == [0.0]
    assert set(made.trace[0]) == {"iteration", "fraction[pore]", "mean_chord[pore,z]"}


def test_design_reports_targets_on_certified_values(bundle):
    result = design(request(5, shape=(32, 32, 32), targets=["fraction[pore]=[0.05,0.95]"]), bundle)
    values = result.measurement.values
    fraction = values[Metric("fraction", "pore")].value
    assert fraction == pytest.approx(float((result.generated.labels == 3).mean()))
    assert result.outcome is (DesignOutcome.ATTAINED if 0.05 <= fraction <= 0.95 else DesignOutcome.MISSED)
    names = ("s2", "lineal_path", "chord_length", "pore_size")
    assert set(result.measurement.curves) == {f"{name}[{phase}]" for name in names for phase in ("pore", "solid")}
    assert result.generated.trace


def test_progress_is_reported(bundle):
    seen = []
    generate([request(6, targets=["fraction[pore]=0.5±0.3"])], bundle, lambda *step: seen.append(step))
    assert ("sampling", 2, 2) in seen and any(what == "guidance" for what, _, _ in seen)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"shape": (30, 32, 32)}, "multiple of 16"),
        ({"shape": (16, 32, 32)}, "at least 32"),
        ({"shape": (160_000, 160_000, 160_000)}, "GB of memory"),
        ({"targets": ["fraction[pore]=1.4±0.1"]}, "no structure has it"),
        ({"targets": ["fraction[pore]=0.2±0.01", "diffusivity[pore,z]=0.5±0.01"]}, "Voigt"),
        ({"targets": ["maximize mean_pore_size[pore]"]}, "has no gradient to follow"),
        ({"targets": ["fraction[gas]=0.2±0.01"]}, "no phase is called"),
        ({"targets": ["maximize fraction[pore]"], "settings": Settings(guidance="volume-sds")}, "use volume"),
        (
            {"targets": ["fraction[pore]>=0.2"], "settings": Settings(guidance="volume-sds"), "periodic": True},
            "use volume for periodic volumes",
        ),
    ],
)
def test_what_cannot_be_met_is_refused_before_work(bundle, change, says):
    with pytest.raises(InputError, match=says):
        check_request(request(**change), bundle.card)


def test_memory_counts_what_is_asked_for(bundle):
    """A curve keeps a gradient and a direction of each of its 13 lags; a number one of each, and so does the surface
    that is kept beside it, which a curve says itself."""
    number, curve = (request(targets=[text]) for text in ("fraction[pore]>=0.2", "s2[pore]=training±2%"))
    more = request_bytes(curve, bundle.card) - request_bytes(number, bundle.card)
    assert more == ((13 - 2) * 16 * 2 + 40 - 24) * 32 * 32 * 48


def test_measure_of_a_known_volume():
    phases = read_phases()
    labels = np.full((32, 32, 32), 7, dtype=np.uint8)
    labels[:, 8:24, :] = 3  # a slab: half of the volume, open along z and x
    measurement = measure(labels, phases)
    assert measurement.values[Metric("fraction", "pore")].value == pytest.approx(0.5)
    for axis, value, outcome in (("z", 0.5, Outcome.CONVERGED), ("y", 0.0, Outcome.DOES_NOT_PERCOLATE)):
        measured = measurement.values[Metric("diffusivity", "pore", axis)]
        assert measured.value == pytest.approx(value, abs=2e-3) and measured.outcome is outcome
    own = measure(labels, phases, certify=False)
    assert own.values[Metric("diffusivity", "pore", "x")].value == pytest.approx(0.5, abs=1e-3)
    assert measurement.curves["s2[pore]"][0] == pytest.approx(0.5)
    assert judge([parse_target("diffusivity[pore,y]>=0.1")], measurement) is DesignOutcome.MISSED
    assert judge([parse_target("diffusivity[pore,z]>=0.1")], measurement) is DesignOutcome.ATTAINED


def read_phases():
    from engine.models.bundle import Phase

    return (Phase(name="pore", label=3, fraction=0.5), Phase(name="solid", label=7, fraction=0.5))


def test_networks_are_frozen(bundle):
    assert not any(p.requires_grad for p in (*bundle.autoencoder.parameters(), *bundle.denoiser.parameters()))
    assert not torch.is_grad_enabled() or bundle.autoencoder.training is False


def test_a_bundle_of_planes_that_differ(tmp_path, monkeypatch):
    """Layers across z, so thin that xy planes are one phase or the other: the axes are told apart from end to end."""
    monkeypatch.setattr("engine.calibrate.CHANGES", ())
    layers = np.repeat((np.arange(80) // 8 % 2)[:, None], 80, axis=1).astype(np.uint8)  # rows are z
    specks = np.random.default_rng(0).random((80, 80)) < 0.05
    side = micrographs().sources[0]
    planes = Micrographs(
        arrays=(level_cut(), layers ^ specks),
        phases=("pore", "solid"),
        labels=(3, 7),
        sources=(side, side),
        planes=((0,), (1, 2)),
    )
    config = replace(CONFIG, crop=32, calibrate=True, calibration_volumes=1, descriptors=("fraction",))
    card = train(planes, tmp_path / "layered", config)
    assert [each.name for each in card.descriptors] == ["fraction[pore]"] and card.denoiser.descriptors == 1
    assert card == read_card(tmp_path / "layered") and card.descriptors[0].low < 0.5 < card.descriptors[0].high
    assert card.denoiser.planes and card.metrics["calibration_s2_error"] >= 0
    bundle = load_bundle(tmp_path / "layered")
    assert bundle.calibration.autocovariance.shape == (1, 3, 8, 8) and bundle.calibration.log_gain.ndim == 4
    along_z, _, across = along_axes(bundle.calibration.autocovariance)[0]
    assert float(along_z[2]) < -0.2 < 0.2 < float(across[2])  # two latent pixels on, the other layer
    (found,) = generate([request(shape=(32, 48, 32))], bundle)
    assert found.labels.shape == (32, 48, 32) and set(np.unique(found.labels)) <= {3, 7}


def test_a_property_of_the_user_s_own_is_asked_for_and_measured(bundle):
    """A weighted share: guidance moves it, the same function says what the finished volume has."""
    from engine.notebook import design as notebook_design

    ramp = torch.linspace(0, 2, 32).reshape(32, 1, 1)

    def leaning(phases):
        return (ramp * phases[0]).mean()

    [structure] = notebook_design(
        bundle,
        ["leaning=0.4±0.02"],
        size=32,
        settings=replace(FAST, guidance_iterations=12),
        properties={"leaning": leaning},
    )
    found = float(leaning(torch.from_numpy(structure.labels == 3)[None].float()))
    assert (
        structure.values["property[leaning]"] == pytest.approx(found)
        and structure.outcomes["property[leaning]"] == "measured"
    )
    assert structure.attained and found == pytest.approx(0.4, abs=0.02)
    with pytest.raises(InputError, match="no function of this name is given; give --property other=MODULE:FUNCTION"):
        check_request(request(targets=["property[other]=1±0.1"]), bundle.card)
