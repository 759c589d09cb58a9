"""engine.selection: the first seed whose volume has what no gradient leads to."""

from dataclasses import replace

import numpy as np
import pytest

from engine.design import Generated, check_request, generate, warnings_of
from engine.errors import InputError
from engine.guidance.targets import parse_target
from engine.measure import measure
from engine.metrics import KINDS, Metric
from engine.models.bundle import Phase, load_bundle
from engine.outcomes import DesignOutcome
from engine.request import Request, Settings
from engine.selection import cost_of, guided_targets, select, selected_targets
from tests.bundles import write_untrained_bundle

PHASES = [Phase(name="pore", label=0, fraction=0.5), Phase(name="solid", label=1, fraction=0.5)]
SPANS = "connected_fraction[pore,z]>=0.9"


def request(*texts, seed=7, **settings):
    return Request(
        structure_id=f"r{seed}",
        bundle="any",
        shape=(32, 32, 32),
        seed=seed,
        targets=tuple(parse_target(text) for text in texts),
        settings=Settings(**settings),
    )


def channel(open_for):
    """Pores through `open_for` of 8 layers from below."""
    labels = np.ones((8, 8, 8), dtype=np.uint8)
    labels[:open_for, 3:5, 3:5] = 0
    return labels


class Maker:
    """Gives the volumes of a list in turn, whatever the seed, and remembers what was asked."""

    def __init__(self, *volumes, outcome=DesignOutcome.UNGUIDED):
        self.volumes, self.outcome, self.asked = list(volumes), outcome, []

    def __call__(self, requests):
        self.asked.append(list(requests))
        return [
            Generated(request=each, labels=self.volumes.pop(0), outcome=self.outcome, trace=(), wall_time_s=1.5)
            for each in requests
        ]


def test_every_metric_is_either_guided_or_selected():
    names = [parse_target(f"{Metric(kind.name, *arguments(kind))}>=0.1") for kind in KINDS.values()]
    assert len(guided_targets(names)) + len(selected_targets(names)) == len(KINDS)
    assert {str(target.metric.name) for target in selected_targets(names)} == {
        "mean_pore_size",
        "mean_grain_size",
        "connected_fraction",
        "percolating_tpb_density",
        "permeability",
    }


def arguments(kind):
    return ("pore" if kind.takes_phase else None, next(iter(kind.directions), None))


def test_candidates_follow_until_one_holds():
    maker = Maker(channel(4), channel(7), channel(8), channel(8))
    asked = request(SPANS, "fraction[pore]=0.1±0.05")
    [found] = select([asked], maker, PHASES)
    seeds = [each.seed for [each] in maker.asked]
    assert seeds[0] == asked.seed and len(set(seeds)) == 3
    assert all(each.targets == asked.targets[1:] for [each] in maker.asked)
    np.testing.assert_array_equal(found.labels, channel(8))
    assert found.request == asked and found.outcome is DesignOutcome.ATTAINED
    assert found.wall_time_s == pytest.approx(4.5)


def test_the_nearest_is_kept_where_none_holds():
    """The longest pieces of pore are those of the second."""
    asked = request("mean_pore_size[pore]>=7", candidates=3)
    wide, wider = channel(8), channel(8)
    wider[:, 2:6, 2:6] = 0
    [found] = select([asked], Maker(wide, wider, channel(3)), PHASES)
    np.testing.assert_array_equal(found.labels, wider)
    assert found.outcome is DesignOutcome.MISSED


def test_a_candidate_that_guidance_missed_is_no_better_than_none():
    asked = request(SPANS, "fraction[pore]=0.1±0.05", candidates=2)
    [found] = select([asked], Maker(channel(8), channel(8), outcome=DesignOutcome.MISSED), PHASES)
    assert found.outcome is DesignOutcome.MISSED


def test_what_has_no_such_target_is_made_once_and_left_as_it_is():
    asked = [request(seed=1), request("fraction[pore]=0.1±0.05", seed=2)]
    maker = Maker(channel(8), channel(4), outcome=DesignOutcome.MISSED)
    found = select(asked, maker, PHASES)
    assert maker.asked == [asked] and [each.outcome for each in found] == [DesignOutcome.MISSED] * 2


def test_only_those_that_wait_are_made_again():
    maker = Maker(channel(8), channel(4), channel(8))
    asked = [request(SPANS, seed=1), request(SPANS, seed=2)]
    found = select(asked, maker, PHASES)
    assert [len(batch) for batch in maker.asked] == [2, 1]
    assert [each.request for each in found] == asked


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "untrained"
    write_untrained_bundle(folder)
    return load_bundle(folder)


def test_a_structure_depends_on_its_request_alone(bundle):
    """Two candidates each at the least: none of the untrained network's volumes has such pores."""
    asked = [replace(request("mean_pore_size[pore]>=20", seed=seed, candidates=2)) for seed in (1, 2)]
    together = generate(asked, bundle)
    alone = generate(asked[1:], bundle)
    np.testing.assert_array_equal(together[1].labels, alone[0].labels)
    sizes = [
        measure(each.labels, bundle.card.phases, metrics=[Metric("mean_pore_size", "pore")])
        .values[Metric("mean_pore_size", "pore")]
        .value
        for each in (together[1], generate([request(seed=2)], bundle)[0])
    ]
    assert sizes[0] >= sizes[1]  # the first candidate is the volume without targets


def test_the_cost_is_said_and_an_extreme_refused(bundle):
    assert cost_of(request("fraction[pore]=0.1±0.05")) == []
    [text] = cost_of(request("mean_pore_size[pore]>=20", candidates=5))
    assert "mean_pore_size[pore]: no gradient to follow; up to 5 volumes" in text and "minutes" not in text
    assert warnings_of(request("mean_pore_size[pore]>=20", candidates=5), bundle.card) == [text]
    assert "minutes" in cost_of(request("permeability[pore,z]>=0.1"))[0]
    with pytest.raises(InputError, match=r"maximize mean_pore_size.* has no gradient to follow"):
        check_request(request("maximize mean_pore_size[pore]"), bundle.card)
    with pytest.raises(InputError, match="candidates: must be at least 1"):
        request(candidates=0)
