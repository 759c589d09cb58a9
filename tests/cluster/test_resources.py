import pytest

from cluster.connect import Resources
from cluster.resources import choose_layout


@pytest.mark.parametrize("cpus", [1, 2, 3, 4, 6, 8, 16, 64])
@pytest.mark.parametrize("gpus", [0, 1, 2, 8])
def test_the_layout_fits_one_node(cpus: int, gpus: int) -> None:
    layout = choose_layout(Resources(cpus=cpus, gpus=gpus, nodes=1, local=True))
    reserved = (
        layout.design_actors * layout.cpus_per_design_actor + layout.property_actors * layout.cpus_per_property_actor
    )
    assert reserved <= cpus + 1e-9
    assert layout.design_actors * layout.gpus_per_design_actor == gpus
    assert layout.design_actors == max(1, gpus)
    for share in (layout.cpus_per_design_actor, layout.cpus_per_property_actor):
        assert share > 0 and (share <= 1 or share == int(share))  # what Ray takes
    assert layout.device == ("cuda" if gpus else "cpu")


def test_cpu_nodes_get_a_design_actor_each() -> None:
    layout = choose_layout(Resources(cpus=24, gpus=0, nodes=3, local=False))
    assert layout.design_actors == 3
    assert 2 * layout.cpus_per_design_actor > 8  # two do not fit on one node of 8 cores
    assert layout.threads_per_design_actor == 8
