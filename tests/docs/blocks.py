"""The code blocks of a page: `python -m tests.docs.blocks docs/quickstart.md sh` prints those marked `sh`."""

import re
import sys
from pathlib import Path

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, *languages: str) -> list[str]:
    """Contents of the fenced blocks of these languages ("" for none), in order."""
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [content for language, content in found if language in languages]


if __name__ == "__main__":
    print("\n".join(blocks(Path(sys.argv[1]), *sys.argv[2:])))
