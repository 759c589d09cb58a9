import pytest

from engine.errors import InputError
from engine.metrics import KINDS, Metric, all_metrics, in_micrometres, mean_metrics, parse_metric

PHASES = ("pore", "ni", "ysz")


@pytest.mark.parametrize("metric", all_metrics(PHASES))
def test_every_metric_reads_back_from_its_text(metric: Metric) -> None:
    assert parse_metric(str(metric), PHASES) == metric


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_every_kind_says_what_it_is(kind) -> None:
    assert kind.meaning and kind.low < kind.high
    assert ("voxel" in kind.unit) == kind.unit_suffix.startswith(("_voxel", "_per_voxel"))
    assert kind.unit_of(3) == kind.unit


@pytest.mark.parametrize(
    ("text", "metric", "column"),
    [
        (" fraction[ pore ]", Metric("fraction", "pore"), "fraction_pore"),
        ("diffusivity[ni,z]", Metric("diffusivity", "ni", "z"), "diffusivity_ni_z"),
        ("mean_chord[ni,x]", Metric("mean_chord", "ni", "x"), "mean_chord_ni_x_voxel"),
        ("tpb_density", Metric("tpb_density"), "tpb_density_per_voxel2"),
        ("shear_modulus_gpa[xz]", Metric("shear_modulus_gpa", axis="xz"), "shear_modulus_gpa_xz"),
        ("shear_modulus_gpa[zx]", Metric("shear_modulus_gpa", axis="xz"), "shear_modulus_gpa_xz"),
        ("poissons_ratio[zx]", Metric("poissons_ratio", axis="zx"), "poissons_ratio_zx"),
        (
            "percolating_tpb_density[y]",
            Metric("percolating_tpb_density", axis="y"),
            "percolating_tpb_density_y_per_voxel2",
        ),
    ],
)
def test_forms_and_columns(text: str, metric: Metric, column: str) -> None:
    assert parse_metric(text, PHASES) == metric
    assert metric.column == column


def test_a_mean_is_named_without_its_axis() -> None:
    mean = parse_metric("diffusivity[pore]", PHASES)
    assert mean.is_mean and mean in mean_metrics(PHASES) and parse_metric(str(mean), PHASES) == mean
    assert mean.along() == tuple(parse_metric(f"diffusivity[pore,{axis}]") for axis in "zyx")
    assert mean.along(("y", "x")) == mean.along()[1:]
    assert mean.meaning.endswith("; phase pore, mean of the axes")
    assert parse_metric("fraction[pore]").along() == (parse_metric("fraction[pore]"),)
    assert set(mean_metrics(PHASES)) == {Metric(m.name, m.phase) for m in all_metrics(PHASES) if m.axis}


def test_planes_and_pairs_have_means_of_their_own() -> None:
    shear, ratio = parse_metric("shear_modulus_gpa"), parse_metric("poissons_ratio")
    assert [each.axis for each in shear.along()] == ["yz", "xz", "xy"]
    assert [each.axis for each in shear.along(("y", "x"))] == ["xy"]
    assert len(ratio.along()) == 6 and [each.axis for each in ratio.along(("y", "x"))] == ["yx", "xy"]
    assert shear.meaning.endswith("; mean of the planes") and ratio.along()[1].meaning.endswith("; pair zx")


def test_columns_are_distinct() -> None:
    columns = [metric.column for metric in (*all_metrics(PHASES), *mean_metrics(PHASES))]
    assert len(set(columns)) == len(columns)


def test_meaning_names_phase_and_axis() -> None:
    assert parse_metric("mean_chord[ni,x]").meaning.endswith("; phase ni, axis x")
    assert parse_metric("percolating_tpb_density[y]").meaning.endswith("; axis y")


def test_two_phases_have_no_triple_line() -> None:
    assert not [metric for metric in all_metrics(PHASES[:2]) if "tpb" in metric.name]
    with pytest.raises(InputError, match="needs 3 phases, this material has 2: pore, ni"):
        parse_metric("tpb_density", PHASES[:2])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fracton[pore]", "did you mean 'fraction'"),
        ("fraction", r"expected fraction\[PHASE\]"),
        ("fraction[]", r"expected fraction\[PHASE\]"),
        ("diffusivity", r"expected diffusivity\[PHASE,AXIS\] or diffusivity\[PHASE\]$"),
        ("diffusivity[pore,z,y]", r"expected diffusivity\[PHASE,AXIS\]"),
        ("percolating_tpb_density[x,y]", r"expected percolating_tpb_density\[AXIS\] or percolating_tpb_density$"),
        ("tpb_density[pore]", "expected tpb_density$"),
        ("fraction[por]", "did you mean 'pore'"),
        ("diffusivity[pore,w]", "the axis must be z, y or x, not 'w'"),
        ("shear_modulus_gpa[z]", "the plane must be yz, xz or xy, not 'z'"),
        ("poissons_ratio[xx]", "the pair must be zy, zx, .* or xy, not 'xx'"),
        ("poissons_ratio[x,y]", r"expected poissons_ratio\[PAIR\] or poissons_ratio$"),
        ("fraction[pore", "expected NAME"),
        ("0.2", "expected NAME"),
    ],
)
def test_refuses(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_metric(text, PHASES)


def test_an_images_euler_number_is_per_area() -> None:
    assert KINDS["euler_number_density"].unit_of(2) == "1/voxel^2"
    assert KINDS["surface_area"].unit_of(2) == "1/voxel"  # of the volume that the image cuts


def test_values_in_micrometres() -> None:
    assert in_micrometres(3.0, "voxel", 2.0) == (6.0, "um")
    assert in_micrometres(0.4, "1/voxel^2", 2.0) == (pytest.approx(0.1), "1/um^2")
    assert in_micrometres(0.4, "", 2.0) is None
    assert in_micrometres(0.4, "GPa", 2.0) is None
