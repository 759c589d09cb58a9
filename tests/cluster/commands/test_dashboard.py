"""The real server, asked by a real browser."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from studies.loop import run_study
from tests.browsers import complaints
from tests.cluster.conftest import Call
from tests.postgres_server import PASSWORD, postgres_server
from tests.studies.fakes import FakePool, study
from tests.studies.made_up import make_up

SERVE = "from cluster.cli import main; main()"


@contextmanager
def served(folder: Path, repository: Path, **environment: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Address and process of a server over a study; it ends by Ctrl-C, quietly."""
    command = [sys.executable, "-c", SERVE, "dashboard", str(folder), "--port", "0"]
    with subprocess.Popen(
        command,
        cwd=repository,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None and server.stderr is not None
        line = server.stdout.readline().strip()
        assert line.startswith("http://127.0.0.1:"), server.stderr.read()
        try:
            yield line, server
        except BaseException:
            server.kill()  # a test that fails must not wait for the server
            raise
        server.send_signal(signal.SIGINT)
        assert server.wait() == 0
        said = server.stderr.read()
        # Among the lines, not the last: some library complains of its own leaks when the interpreter ends.
        assert "ended; the study is as it was" in said.splitlines()
        assert PASSWORD not in said


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[str]:
    """Of a server over a study of four trials."""
    folder = tmp_path_factory.mktemp("study")
    make_up(folder, trials=4, samples=1, volumes=4, seed=3)
    with served(folder, repository) as (line, _):
        yield line


def ask(address: str, path: str) -> bytes:
    with urllib.request.urlopen(address.partition("/dashboard")[0] + path, timeout=300) as answer:
        data: bytes = answer.read()
    return data


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


def test_the_server_refuses_changes(address: str) -> None:
    request = urllib.request.Request(
        address.partition("/dashboard")[0] + "/api/trials/0/tell",
        data=b'{"state": "Fail"}',
        headers={"Content-Type": "application/json"},
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=300)
    assert refused.value.code == 500


def test_a_browser_shows_a_trial(address: str, browser: Any) -> None:
    complaints(browser)
    number = next(
        trial["number"]
        for trial in json.loads(ask(address, "/api/studies/0?after=0"))["trials"]
        if trial["state"] == "Complete"
    )
    browser.get(f"{address}/trials?numbers={number}")
    end = time.monotonic() + 200
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


def test_a_study_on_a_postgresql_server_is_shown_without_its_password(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    with postgres_server() as url:
        run_study(study(storage=url), tmp_path, FakePool())
        with served(tmp_path, repository) as (address, server):
            found = json.loads(ask(address, "/api/studies/0?after=0"))
            assert found["name"] == "toy" and [trial["state"] for trial in found["trials"]] == ["Complete"] * 4
            assert all("mesoforge regenerate" in trial["note"]["body"] for trial in found["trials"])
            assert url in found["note"]["body"]  # the study as it was given
            shown = json.dumps(found) + ask(address, "/dashboard/studies/0").decode()
            assert PASSWORD not in shown
            assert PASSWORD not in Path(f"/proc/{server.pid}/cmdline").read_text()


def test_a_server_that_is_down_is_one_line(refused: Call, tmp_path: Path) -> None:
    """A password that somebody wrote into the folder's study by hand is in no message."""
    make_up(Path("study"), trials=1, samples=1, volumes=0)
    file = Path("study/study.yaml")
    file.write_text(file.read_text() + "storage: postgresql://meso:hidden-word@127.0.0.1:1/trials\n")
    line = refused("dashboard", "study")
    assert "storage:" in line and "PGPASSWORD" in line and "hidden-word" not in line
