"""The progress table of cells that run in parallel."""

import io
import json

import pytest
from rich.console import Console

from mergershift.pipeline.dashboard import Dashboard

NAMES = [f"cells/two/method{number}" for number in range(4)]


@pytest.fixture
def terminal():
    return Console(file=io.StringIO(), force_terminal=True, width=60, height=20, color_system=None)


def drawn(dashboard: Dashboard, terminal: Console) -> str:
    with terminal.capture() as capture:
        terminal.print(dashboard.drawing())
    return capture.get()


def test_a_terminal_gets_a_table_of_what_each_cell_does(tmp_path, terminal):
    dashboard = Dashboard(NAMES, tmp_path, terminal)
    log = tmp_path / "log"
    with dashboard:
        for name in NAMES[1:]:
            dashboard.wait(name)
        dashboard.start(NAMES[1], log)
        assert dashboard.doing(NAMES[1]) == "starting"
        log.write_text("Running stage 'train@two-mmd-s0':\n> mergershift train\n")
        assert dashboard.doing(NAMES[1]) == "training", "its progress is not written yet"
        progress = tmp_path / NAMES[1] / "progress.json"
        progress.parent.mkdir(parents=True)
        progress.write_text("{torn")
        assert dashboard.doing(NAMES[1]) == "training"
        progress.write_text(json.dumps({"epoch": 3, "epochs": 18}))
        assert dashboard.doing(NAMES[1]) == "training, epoch 3 of 18"
        log.write_text(log.read_text() + "Running stage 'evaluate@two-mmd-s0':\n")
        assert dashboard.doing(NAMES[1]) == "evaluating"
        log.write_text(log.read_text() + "Running stage 'saliency@two-mmd-s0':\n")
        assert dashboard.doing(NAMES[1]) == "saliency", "an unknown stage goes by its own name"
        dashboard.start(NAMES[2], log)
        dashboard.end(NAMES[2], failed=True)
        lines = drawn(dashboard, terminal).splitlines()
        assert [line.split()[0] for line in lines[1:5]] == [f"two/method{number}" for number in range(4)]
        for line, doing in zip(lines[1:5], ("up to date", "saliency", "failed", "waiting"), strict=True):
            assert doing in line
        assert "1 failed, 1 running, 1 waiting, 1 up to date" in lines[5]
        dashboard.end(NAMES[1], failed=False)
    assert "1 failed, 1 waiting, 1 done, 1 up to date" in terminal.file.getvalue()


def test_a_low_terminal_keeps_the_most_important_rows(tmp_path):
    terminal = Console(file=io.StringIO(), force_terminal=True, width=60, height=6, color_system=None)
    dashboard = Dashboard(NAMES, tmp_path, terminal)
    dashboard.wait(NAMES[0])
    dashboard.start(NAMES[2], tmp_path / "log")
    dashboard.start(NAMES[3], tmp_path / "log")
    dashboard.end(NAMES[3], failed=True)
    text = drawn(dashboard, terminal)
    assert "method2" in text
    assert "method3" in text
    assert "method0" not in text
    assert "1 failed, 1 running, 1 waiting, 1 up to date" in text


def test_a_log_file_gets_a_line_for_each_event(tmp_path, capsys):
    with Dashboard(NAMES, tmp_path, Console(file=io.StringIO())) as dashboard:
        dashboard.wait(NAMES[0])
        dashboard.start(NAMES[0], tmp_path / "log")
        dashboard.draw()
        dashboard.end(NAMES[0], failed=False)
    assert capsys.readouterr().out == "two/method0: started\ntwo/method0: done after 0:00; 1 of 1 cell\n"


def test_the_time_left_follows_from_cells_and_epochs_that_are_done(tmp_path, terminal, capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("mergershift.pipeline.dashboard.time.monotonic", lambda: clock[0])
    log = tmp_path / "log"
    log.write_text("Running stage 'train@two-mmd-s0':\n")
    dashboard = Dashboard(NAMES, tmp_path, Console(file=io.StringIO()))
    for name in NAMES[1:]:
        dashboard.wait(name)
    dashboard.start(NAMES[1], log)
    dashboard.start(NAMES[2], log)
    progress = tmp_path / NAMES[2] / "progress.json"
    progress.parent.mkdir(parents=True)
    progress.write_text(json.dumps({"epoch": 1, "epochs": 18}))
    clock[0] = 30.0
    assert "left" not in drawn(dashboard, terminal), "a twentieth of a cell says too little"
    progress.write_text(json.dumps({"epoch": 10, "epochs": 18}))
    clock[0] = 300.0
    dashboard.end(NAMES[1], failed=False)
    dashboard.start(NAMES[3], log)
    # one and a half cells in five minutes, and as many are left
    assert capsys.readouterr().out.splitlines()[2] == (
        "two/method1: done after 5:00; 1 of 3 cells, about 5 minutes left"
    )
    dashboard.end(NAMES[2], failed=False)
    dashboard.end(NAMES[3], failed=True)
    assert "left" not in capsys.readouterr().out.splitlines()[-1]
