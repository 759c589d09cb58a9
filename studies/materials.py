"""What the phases of a study are made of: read when the study is, so that workers never open the files."""

from itertools import product

from engine.errors import InputError
from engine.metrics import Metric, nearest
from studies.config import StudyBundle, StudyConfig, StudyMaterials
from studies.yaml_file import StudyFile


def read_materials(file: StudyFile, bundles: tuple[StudyBundle, ...]) -> tuple[StudyMaterials, ...]:
    """The materials that a study file names; () where it names none.

    Raises:
        InputError: no such materials, others than those the study was made with, or a phase that they lack.
    """
    names = [file.materials] if isinstance(file.materials, str) else file.materials or []
    if not names:
        return ()
    if len(set(names)) != len(names):
        raise InputError("materials: must differ from each other")
    from engine.properties.materials import load_materials

    frozen = file.materials_hash if isinstance(file.materials_hash, dict) else dict.fromkeys(names, file.materials_hash)
    found = []
    for name in names:
        constants = load_materials(name)
        then = frozen.get(name)
        if then is not None and then != constants.hash:
            raise InputError(
                f"materials_hash: materials '{name}' are not those this study was made with ({constants.hash[:12]} "
                f"now, {then[:12]} then); restore the file, or start a new study"
            )
        for bundle in bundles:
            absent = [phase for phase in bundle.phases if phase not in constants.phases]
            if absent:
                raise InputError(
                    f"materials: '{name}' does not describe phase '{absent[0]}' of bundle '{bundle.name}'"
                    f"{nearest(absent[0], constants.phases)}"
                )
        found.append(StudyMaterials(name=name, constants=constants))
    return tuple(found)


def check_materials(config: StudyConfig) -> None:
    """Refuse a metric that would never have a value. Raises InputError."""
    for metric in config.metrics:
        if metric.kind.needs == "materials":
            _check_metric(config, metric)


def _check_metric(config: StudyConfig, metric: Metric) -> None:
    from engine.properties.measured import GIVEN_BY

    if not config.materials:
        raise InputError(
            f"materials: are missing, and {metric} needs them; add them, such as 'materials: materials.yaml'"
        )
    needed = {GIVEN_BY[metric.name]} | ({"youngs_modulus_gpa"} if metric.name == "thermal_expansion" else set())
    for each, bundle, name in product(config.materials, config.bundles, sorted(needed)):
        if not each.constants.gives(bundle.phases, name):
            raise InputError(
                f"materials: '{each.name}' gives no {name} for some phase of bundle '{bundle.name}', and {metric} "
                "needs it; add it to the file"
            )
