"""The data dictionary is what the schemas say."""

import importlib.util
from pathlib import Path

from engine.metrics import all_metrics


def test_the_page_is_made_from_the_schemas_of_today(repository: Path) -> None:
    spec = importlib.util.spec_from_file_location("data_dictionary", repository / "docs" / "data_dictionary.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (repository / "docs" / "data_dictionary.md").read_text(encoding="utf-8")
    assert text == module.text(), "run: python docs/data_dictionary.py"
    for metric in all_metrics(("PHASE", "b", "c")):
        if metric.phase in (None, "PHASE"):
            assert f"`{metric.column.replace(f'_{metric.axis}', f'_{metric.kind.direction}')}`" in text, metric
    assert "|  |" not in text, "every column has a meaning"
