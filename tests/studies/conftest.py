import pytest


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here cuts the power: what a killed process has written stays readable without waiting for the disk."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
