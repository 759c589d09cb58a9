"""The version of the code that made a structure, stored in its row."""

from importlib.metadata import PackageNotFoundError, version


def code_version() -> str:
    """Version of the installed package; `0.1.0+source` where the sources are used without installing them."""
    try:
        return version("mesoforge")
    except PackageNotFoundError:
        return "0.1.0+source"
