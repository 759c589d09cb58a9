"""engine.routes: what the network is told, and that a structure depends on its request alone on every route."""

import math

import numpy as np
import pytest
import torch

from engine.design import check_request, generate
from engine.errors import InputError
from engine.guidance.targets import parse_target
from engine.models.bundle import load_bundle
from engine.models.crop_descriptors import DescriptorScale, descriptor_names
from engine.outcomes import DesignOutcome
from engine.request import Request, Settings
from engine.routes import told
from engine.sampling.choices import ROUTES
from tests.bundles import write_untrained_bundle


def scale(name):
    chord = name.startswith("mean_chord")
    return DescriptorScale(
        name=name, mean=8.0 if chord else 0.4, sd=2.0 if chord else 0.1, low=2.0 if chord else 0.1, high=20.0
    )


def scales(phases):
    return [scale(name) for name in descriptor_names(("fraction", "mean_chord"), phases)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles") / "told"
    write_untrained_bundle(out, descriptors=scales(("pore", "solid")))
    return out


@pytest.fixture(scope="module")
def bundle(folder):
    return load_bundle(folder)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Card of three phases of equal shares."""
    return write_untrained_bundle(tmp_path_factory.mktemp("bundles") / "three", "abc", scales("abc"))


@pytest.fixture(scope="module")
def deaf(tmp_path_factory):
    """Card of a network that is told nothing."""
    return write_untrained_bundle(tmp_path_factory.mktemp("bundles") / "deaf")


def request(*targets, route="conditioned", seed=1, **settings):
    return Request(
        structure_id=f"{route}-{seed}",
        bundle="told",
        shape=(32, 32, 32),
        seed=seed,
        targets=tuple(parse_target(text) for text in targets),
        settings=Settings(route=route, steps=3, refine_passes=0, guidance_iterations=3, **settings),
    )


def values(card, *targets):
    """What is told of a volume's planes, [3, D], in the descriptors' own units."""
    mean, sd = (torch.tensor([getattr(s, name) for s in card.descriptors]) for name in ("mean", "sd"))
    [found] = told([request(*targets)], card)
    return (found * sd + mean).tolist()


def test_targets_are_told_of_every_plane(bundle):
    for plane in values(bundle.card, "fraction[pore]=0.3±0.01", "mean_chord[solid,z]=6±1"):
        assert plane[0] == pytest.approx(0.3, abs=1e-6) and math.isnan(plane[1])


def test_a_plane_is_told_the_harmonic_mean_of_the_chords_along_its_axes(bundle):
    asked = ("mean_chord[solid,z]=4±1", "mean_chord[solid,y]=8±1", "mean_chord[solid,x]=8±1")
    assert [plane[2] for plane in values(bundle.card, *asked)] == pytest.approx([8, 16 / 3, 16 / 3])
    across_z, across_y, across_x = (plane[2] for plane in values(bundle.card, "mean_chord[solid,z]=4±1"))
    assert math.isnan(across_z) and across_y == across_x == pytest.approx(4)


def test_the_last_phase_leaves_its_rest_to_the_others(bundle, three):
    assert values(bundle.card, "fraction[solid]=0.7±0.01")[0][0] == pytest.approx(0.3)
    assert values(three, "fraction[c]=0.4±0.01")[0][:2] == pytest.approx([0.3, 0.3])
    assert values(three, "fraction[c]=0.4±0.01", "fraction[a]=0.2±0.01")[0][:2] == pytest.approx([0.2, 0.4])


def test_a_limit_that_the_material_keeps_by_itself_is_told_as_the_material_is(bundle):
    assert values(bundle.card, "fraction[pore]>=0.2")[0][0] == pytest.approx(0.4)
    assert values(bundle.card, "fraction[pore]>=0.5")[0][0] == pytest.approx(0.55)
    assert values(bundle.card, "fraction[pore]<=0.3")[0][0] == pytest.approx(0.25)


def test_beyond_what_was_seen_the_network_is_told_the_last_that_was(bundle):
    assert values(bundle.card, "fraction[pore]=0.05±0.01")[0][0] == pytest.approx(0.1)
    with pytest.raises(InputError, match=r"fraction\[pore\]=0.05: the network of told has seen 0.1 to 20"):
        check_request(request("fraction[pore]=0.05±0.01"), bundle.card)
    check_request(request("fraction[pore]=0.05±0.01", route="conditioned+guided"), bundle.card)


def test_what_a_route_cannot_do_is_refused(bundle, deaf):
    with pytest.raises(InputError, match="was not trained to be told descriptors; choose guided"):
        check_request(request("fraction[pore]=0.3±0.01"), deaf)
    with pytest.raises(InputError, match=r"diffusivity.*route conditioned can ask .* fraction and mean_chord"):
        check_request(request("diffusivity[pore,z]=0.1±5%"), bundle.card)
    with pytest.raises(InputError, match="there is nothing to weigh"):
        check_request(request(guidance_weight=2.0), deaf)
    check_request(request("fraction[pore]=0.3±0.01", route="auto"), deaf)
    assert told([request("fraction[pore]=0.3±0.01", route="auto")], deaf) is None
    with pytest.raises(InputError, match="route: must be one of guided, conditioned"):
        Settings(route="fastest")


@pytest.mark.parametrize("route", ROUTES)
def test_a_structure_depends_on_its_request_alone(bundle, route):
    requests = [
        request("fraction[pore]=0.3±0.001", route=route, seed=1),
        request("fraction[pore]=0.6±0.001", route=route, seed=1),
        request(route=route, seed=3),
    ]
    together = generate(requests, bundle)
    for i in (0, 2):
        (alone,) = generate([requests[i]], bundle)
        assert np.array_equal(alone.labels, together[i].labels)
    assert not np.array_equal(together[0].labels, together[1].labels)
    assert together[2].outcome is DesignOutcome.UNGUIDED and together[0].outcome is not DesignOutcome.UNGUIDED
    assert together[0].trace and not together[2].trace


def test_a_network_that_is_told_makes_other_volumes(bundle):
    made = [
        generate([request("fraction[pore]=0.3±0.01", route="conditioned", guidance_weight=weight)], bundle)[0]
        for weight in (1.0, 1.5)
    ]
    untold = generate([request("mean_chord[solid,z]<=100", route="auto")], bundle)[0]
    assert not np.array_equal(made[0].labels, made[1].labels)
    assert untold.outcome is DesignOutcome.ATTAINED


def test_auto_guides_only_what_misses(bundle):
    held, missed = generate(
        [request("fraction[pore]=[0,0.999]", route="auto"), request("fraction[pore]=0.3±0.001", route="auto")], bundle
    )
    assert held.outcome is DesignOutcome.ATTAINED and len(held.trace) == 1
    assert len(missed.trace) > 1
