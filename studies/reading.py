"""From a study file or a recipe to a checked configuration. Everything wrong with it is one line that names the key."""

from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

from engine.errors import InputError
from engine.guidance.feasibility import check_feasible
from engine.guidance.targets import Target, parse_target
from engine.metrics import Metric, nearest, parse_metric
from engine.properties.own import OwnProperty, named, spelled
from engine.request import Settings
from studies.config import (
    ADAPTIVE,
    SAMPLERS,
    Budget,
    MapAxis,
    Objective,
    StudyBundle,
    StudyConfig,
    grid_points,
)
from studies.materials import check_materials, read_materials
from studies.search import read_tolerance, search_entry
from studies.space import feasible_grid_points
from studies.storage import checked_storage
from studies.yaml_file import ObjectiveFile, StudyFile, parse_study_file

UNGUIDED_PART = 10  # of the trials of a map, one in so many shows what the model covers by itself

BundleFacts = tuple[tuple[str, ...], str]  # phase names, hash


def bundle_facts(bundle: str) -> BundleFacts:
    """Phase names and hash of a bundle of volumes, from its card alone."""
    from engine.models.bundle import check_makes_volumes, read_card

    card = read_card(bundle)
    check_makes_volumes(card)
    return tuple(phase.name for phase in card.phases), card.hash


def recipe_names() -> list[str]:
    """Names of the studies that ship."""
    folder = resources.files("studies").joinpath("recipes")
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def load_study(where: str | Path, facts: Callable[[str], BundleFacts] = bundle_facts) -> StudyConfig:
    """Read a study file or a recipe that ships.

    Args:
        where: path of a YAML file, or the name of a recipe. A file of that name goes first.
        facts: gives the phase names and the hash of a bundle.

    Raises:
        InputError: no such study; or a key, value, metric or bundle in it that cannot be used.
    """
    path = Path(where)
    if path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read as text ({error})") from None
        return parse_study(text, str(path), default_name=path.stem, facts=facts)
    if str(where) in recipe_names():
        text = resources.files("studies").joinpath("recipes", f"{where}.yaml").read_text(encoding="utf-8")
        return parse_study(text, f"recipe {where}", default_name=str(where), facts=facts)
    raise InputError(f"study '{where}': no such file and no recipe of this name{nearest(str(where), recipe_names())}")


def parse_study(text: str, where: str, *, default_name: str, facts: Callable[[str], BundleFacts]) -> StudyConfig:
    """A study file's text -> configuration. `where` stands in error messages. Raises InputError."""
    file = parse_study_file(text, where)
    try:
        config = _build(file, default_name, facts)
        check_materials(config)
        _check_space(config)
        if config.sampler == "grid":
            points = feasible_grid_points(config)
            if config.budget.trials is not None and config.budget.trials > points:
                trials = config.budget.trials
                raise InputError(
                    f"trials: the grid has {points} points that can be met, fewer than {trials}; leave trials out"
                )
        return config
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def _build(file: StudyFile, default_name: str, facts: Callable[[str], BundleFacts]) -> StudyConfig:
    bundles = _bundles(file, facts)
    shapes = _shapes(file)
    phases = _common(bundles)
    if not 0 <= file.seed < 2**63:
        raise InputError(f"seed: must lie within [0, 2**63), not {file.seed}")
    own = named(file.properties)
    file = _spelled(file, own)
    materials = read_materials(file, bundles)
    search = tuple(search_entry(key, entry, phases) for key, entry in file.search.items())
    axes = tuple(
        MapAxis(metric=_metric("map", key, phases), low=axis.low, high=axis.high, cells=axis.cells)
        for key, axis in file.map.items()
    )
    sampler = "tpe" if file.sampler is None else file.sampler
    if sampler not in SAMPLERS:
        raise InputError(f"sampler: no sampler is called '{sampler}'{nearest(sampler, SAMPLERS)}")
    if axes and file.sampler is not None:
        raise InputError("sampler: a map has its own rule where to go next; leave sampler out")
    if file.deterministic and not axes and sampler not in ADAPTIVE:
        raise InputError(f"deterministic: {sampler} is repeatable by itself; leave it out")
    if file.unguided is not None and not axes:
        raise InputError("unguided: belongs to a map; leave it out")
    try:
        settings = Settings(**{key: value for key, value in file.settings.model_dump().items() if value is not None})
    except InputError as error:
        raise InputError(f"settings.{error}") from None
    budget = _budget(file, points=grid_points(search) if sampler == "grid" else None)
    trials = budget.trials or 100
    config = StudyConfig(
        name=_name(file.name or default_name),
        bundles=bundles,
        properties=own,
        materials=materials,
        shapes=shapes,
        periodic=file.periodic,
        seed=file.seed,
        budget=budget,
        samples=file.samples,
        sampler=sampler,  # type: ignore[arg-type]
        # a third on start-up leaves the model of TPE most of a short study; ten is Optuna's own default
        startup_trials=max(1, min(10, trials // 3)) if file.startup_trials is None else file.startup_trials,
        # at least four generations in a short study; fifty is Optuna's own default
        population=max(4, min(50, trials // 4)) if file.population is None else file.population,
        deterministic=file.deterministic,
        window=file.window,
        search=search,
        targets=tuple(_target("targets", text, phases) for text in file.targets),
        objectives=_objectives(file, phases),
        map=axes,
        unguided=0 if not axes else max(1, trials // UNGUIDED_PART) if file.unguided is None else file.unguided,
        constraints=tuple(_target("constraints", text, phases) for text in file.constraints),
        settings=settings,
        storage=checked_storage(file.storage),
    )
    if sampler == "grid" and file.trials is None:  # the points that can be met are known once the study is
        from dataclasses import replace

        return replace(config, budget=replace(budget, trials=max(1, feasible_grid_points(config))))
    return config


def _spelled(file: StudyFile, own: tuple[OwnProperty, ...]) -> StudyFile:
    """With functions of the user's own spelled as metrics wherever the file names them."""
    if not own:
        return file

    def objective(entry: ObjectiveFile) -> ObjectiveFile:
        return ObjectiveFile(**{way: spelled(text, own) for way, text in entry.model_dump().items() if text})

    return file.model_copy(
        update={
            "search": {spelled(key, own): entry for key, entry in file.search.items()},
            "map": {spelled(key, own): entry for key, entry in file.map.items()},
            "targets": [spelled(text, own) for text in file.targets],
            "constraints": [spelled(text, own) for text in file.constraints],
            "objective": objective(file.objective) if file.objective is not None else None,
            "objectives": [objective(entry) for entry in file.objectives],
        }
    )


def _name(name: str) -> str:
    """The name stands in paths, so it must not lead out of a folder."""
    if not name or len(name) > 100 or name.startswith(".") or any(c in "/\\" or not c.isprintable() for c in name):
        raise InputError(f"name: must be at most 100 letters without / and no leading dot, not {name[:40]!r}")
    return name


def _bundles(file: StudyFile, facts: Callable[[str], BundleFacts]) -> tuple[StudyBundle, ...]:
    if (file.bundle is None) == (not file.bundles):
        raise InputError("bundle: give either bundle or bundles, such as 'bundle: berea'")
    names = [file.bundle] if file.bundle is not None else file.bundles
    if len(set(names)) != len(names):
        raise InputError("bundles: must differ from each other")
    frozen = file.bundle_hash if isinstance(file.bundle_hash, dict) else {file.bundle: file.bundle_hash}
    bundles = []
    for name in names:
        phases, digest = facts(name)
        then = frozen.get(name)
        if then is not None and then != digest:
            raise InputError(
                f"bundle_hash: bundle '{name}' is not the one this study was made with "
                f"({digest[:12]} now, {then[:12]} then); restore it, or start a new study"
            )
        bundles.append(StudyBundle(name=name, hash=digest, phases=phases))
    return tuple(bundles)


def _common(bundles: tuple[StudyBundle, ...]) -> tuple[str, ...]:
    """Phases that every bundle has: only those can be asked for."""
    phases = tuple(phase for phase in bundles[0].phases if all(phase in bundle.phases for bundle in bundles))
    if not phases:
        raise InputError("bundles: have no phase in common, so nothing can be asked of all; search them one by one")
    return phases


def _shapes(file: StudyFile) -> tuple[tuple[int, int, int], ...]:
    if sum((file.size is not None, bool(file.sizes), file.shape is not None)) != 1:
        raise InputError("size: give either size, sizes or shape, such as 'size: 64'")
    if file.shape is not None:
        z, y, x = file.shape
        if min(z, y, x) < 1:
            raise InputError(f"shape: must be at least 1 voxel, not {min(z, y, x)}")
        return ((z, y, x),)
    sides = file.sizes if file.size is None else [file.size]
    if len(set(sides)) != len(sides):
        raise InputError("sizes: must differ from each other")
    if min(sides) < 1:
        raise InputError(f"{'sizes' if file.sizes else 'size'}: must be at least 1 voxel, not {min(sides)}")
    return tuple((side, side, side) for side in sides)


def _budget(file: StudyFile, points: int | None) -> Budget:
    trials = points if file.trials is None else file.trials
    if file.converged is None:
        return Budget(trials=trials, hours=file.hours)
    try:
        tolerance = read_tolerance(file.converged.tolerance)
    except InputError as error:
        raise InputError(f"converged.{error}") from None
    return Budget(trials=trials, hours=file.hours, after=file.converged.after, tolerance=tolerance)


def _metric(key: str, text: str, phases: tuple[str, ...]) -> Metric:
    try:
        return parse_metric(text, phases)
    except InputError as error:
        raise InputError(f"{key}: {error}") from None


def _target(key: str, text: str, phases: tuple[str, ...]) -> Target:
    try:
        target = parse_target(text, phases)
    except InputError as error:
        raise InputError(f"{key}: {error}") from None
    if target.extreme:
        raise InputError(f"{key}: '{text}': a study has an objective: {{{target.extreme}: '{target.metric}'}}")
    return target


def _objectives(file: StudyFile, phases: tuple[str, ...]) -> tuple[Objective, ...]:
    if file.objective is not None and file.objectives:
        raise InputError("objective: give either objective or objectives")
    if file.objective is not None:
        return (_objective("objective", file.objective, phases),)
    found = tuple(_objective("objectives", item, phases) for item in file.objectives)
    if len({objective.metric for objective in found}) != len(found):
        raise InputError("objectives: must name different metrics")
    return found


def _objective(key: str, file: ObjectiveFile, phases: tuple[str, ...]) -> Objective:
    if (file.maximize is None) == (file.minimize is None):
        raise InputError(f"{key}: give either maximize or minimize, such as {{maximize: 'diffusivity[pore,z]'}}")
    return Objective(
        metric=_metric(key, file.maximize or file.minimize or "", phases), maximize=file.maximize is not None
    )


def _check_space(config: StudyConfig) -> None:
    """Refuse a search of which no point can be met, before anything is computed."""
    fixed = {target.metric for target in config.targets}
    searched = [entry.metric for entry in config.target_entries]
    for entry in config.target_entries:
        if entry.metric in fixed:
            raise InputError(f"search.{entry.metric}: has a fixed target as well; remove one of the two")
        if searched.count(entry.metric) > 1:
            raise InputError(f"map.{entry.metric}: is in the search as well; remove one of the two")
        fraction = Metric("fraction", entry.metric.phase)
        if entry.times and fraction not in fixed.union(searched):
            raise InputError(f"search.{entry.metric}.times: needs {fraction} among search or targets")
    widest = list(config.targets)
    for entry in config.target_entries:
        low, high = entry.range.low, entry.range.high
        if entry.times:
            values = [value for _, value in entry.times]
            low, high = low * min(values), high * max(values)
        widest.append(
            Target(metric=entry.metric, low=low - entry.tolerance.margin(low), high=high + entry.tolerance.margin(high))
        )
    for bundle in config.bundles:
        try:
            _check_feasible(config, widest, bundle)
        except InputError as error:
            raise InputError(f"search: no point of it can be met: {error}") from None
        try:
            _check_feasible(config, config.constraints, bundle)
        except InputError as error:
            raise InputError(f"constraints: {error}") from None


def _check_feasible(config: StudyConfig, targets: Sequence[Target], bundle: StudyBundle) -> None:
    """Refuse targets that no structure can meet, whichever of the study's materials it is made of."""
    for number, constants in enumerate(config.constants, start=1):
        try:
            return check_feasible(targets, bundle.phases, constants)
        except InputError:
            if number == len(config.constants):
                raise
