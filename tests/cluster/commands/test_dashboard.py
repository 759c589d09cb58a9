"""The real server, asked by a real browser."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browsers import complaints
from tests.cluster.conftest import Call
from tests.studies.made_up import make_up

SERVE = "from cluster.cli import main; main()"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[str]:
    """Of a server over a study of four trials; it ends by Ctrl-C, quietly."""
    folder = tmp_path_factory.mktemp("study")
    make_up(folder, trials=4, samples=1, volumes=4, seed=3)
    command = [sys.executable, "-c", SERVE, "dashboard", str(folder), "--port", "0"]
    with subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None and server.stderr is not None
        line = server.stdout.readline().strip()
        assert line.startswith("http://127.0.0.1:"), server.stderr.read()
        yield line
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=60) == 0
        # Among the lines, not the last: some library complains of its own leaks when the interpreter ends.
        assert "ended; the study is as it was" in server.stderr.read().splitlines()


def ask(address: str, path: str) -> bytes:
    with urllib.request.urlopen(address.partition("/dashboard")[0] + path, timeout=60) as answer:
        data: bytes = answer.read()
    return data


@pytest.mark.timeout(300)
def test_the_server_answers_with_readable_names_and_pictures(address: str) -> None:
    study = json.loads(ask(address, "/api/studies/0?after=0"))
    assert study["name"] == "toy" and study["objective_names"] == ["diffusivity[pore,z]"]
    trials = [trial for trial in study["trials"] if trial["state"] == "Complete"]
    names = {each["filename"]: each["artifact_id"] for each in trials[0]["artifacts"]}
    assert set(names) == {"slices.png", "turntable.gif", "targets.csv"}
    place = f"/artifacts/0/{trials[0]['trial_id']}"
    assert ask(address, f"{place}/{names['slices.png']}").startswith(b"\x89PNG")
    assert ask(address, f"{place}/{names['turntable.gif']}").startswith(b"GIF89a")
    assert b"fraction[pore]" in ask(address, f"{place}/{names['targets.csv']}")


@pytest.mark.timeout(300)
def test_the_server_refuses_changes(address: str) -> None:
    request = urllib.request.Request(
        address.partition("/dashboard")[0] + "/api/trials/0/tell",
        data=b'{"state": "Fail"}',
        headers={"Content-Type": "application/json"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    assert refused.value.code == 500


@pytest.mark.timeout(300)
def test_a_browser_shows_a_trial(address: str, browser: Any) -> None:
    complaints(browser)
    number = next(
        trial["number"]
        for trial in json.loads(ask(address, "/api/studies/0?after=0"))["trials"]
        if trial["state"] == "Complete"
    )
    browser.get(f"{address}/trials?numbers={number}")
    end = time.monotonic() + 120
    script = "return [document.body.innerText, [...document.images].map((i) => [i.src, i.naturalWidth])]"
    while True:
        text, images = browser.execute_script(script)
        pictures = [width for source, width in images if "/artifacts/" in source]
        if "mesoforge regenerate" in text and len(pictures) >= 2 and min(pictures) > 50:
            break
        assert time.monotonic() < end, (text[:1500], images, complaints(browser))
        time.sleep(0.3)
    assert "diffusivity[pore,z]" in text and "asked" in text
    assert [line for line in complaints(browser) if "favicon" not in line] == []


def test_a_busy_port_and_a_folder_without_trials_are_refused(refused: Call, tmp_path: Path) -> None:
    assert "no such folder" in refused("dashboard", "nowhere")
    make_up(Path("study"), trials=1, samples=1, volumes=0)
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        line = refused("dashboard", "study", "--port", busy.getsockname()[1])
        assert "give another --port" in line
    assert "--port 99999" in refused("dashboard", "study", "--port", 99999)
