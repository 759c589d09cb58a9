import pytest

from cluster.connect import Resources
from cluster.resources import choose_layout
from engine.errors import InputError


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


@pytest.mark.parametrize("cores", [1, 2, 3, 4, 7, 8, 16, 64])
@pytest.mark.parametrize("nodes", [1, 3])
def test_a_node_is_divided_into_design_actors(cores: int, nodes: int) -> None:
    resources = Resources(cpus=cores * nodes, gpus=0, nodes=nodes, local=nodes == 1)
    for threads in range(1, cores + 1):
        layout = choose_layout(resources, threads)
        assert layout.threads_per_design_actor == threads
        assert layout.design_actors == nodes * (cores // threads)
        reserved = layout.design_actors * layout.cpus_per_design_actor
        reserved += layout.property_actors * layout.cpus_per_property_actor
        assert reserved <= resources.cpus + 1e-9
        for share in (layout.cpus_per_design_actor, layout.cpus_per_property_actor):
            assert share > 0 and (share <= 1 or share == int(share))  # what Ray takes


def test_cores_per_actor_that_do_not_fit_are_refused() -> None:
    one = Resources(cpus=4, gpus=0, nodes=1, local=True)
    for threads in (0, 5):
        with pytest.raises(InputError, match="must lie within 1 and 4"):
            choose_layout(one, threads)
    with pytest.raises(InputError, match="a design actor per GPU"):
        choose_layout(Resources(cpus=4, gpus=1, nodes=1, local=True), 2)
