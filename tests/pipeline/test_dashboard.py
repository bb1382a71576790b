"""The table of a parallel run."""

import io
import json

import pytest
from rich.console import Console

from mergershift.pipeline.dashboard import Dashboard

NAMES = [f"cells/two/method{number}" for number in range(4)]


@pytest.fixture
def terminal():
    return Console(file=io.StringIO(), force_terminal=True, width=60, height=20, color_system=None)


def drawn(board: Dashboard, terminal: Console) -> str:
    with terminal.capture() as capture:
        terminal.print(board.drawing())
    return capture.get()


def test_a_terminal_gets_a_table_of_what_each_cell_does(tmp_path, terminal):
    board = Dashboard(NAMES, tmp_path, terminal)
    log = tmp_path / "log"
    with board:
        for name in NAMES[1:]:
            board.wait(name)
        board.start(NAMES[1], log)
        assert board.doing(NAMES[1]) == "starting"
        log.write_text("Running stage 'train@two-method1-0':\n> mergershift train\n")
        assert board.doing(NAMES[1]) == "training", "its progress is not told yet"
        progress = tmp_path / NAMES[1] / "progress.json"
        progress.parent.mkdir(parents=True)
        progress.write_text("{torn")
        assert board.doing(NAMES[1]) == "training"
        progress.write_text(json.dumps({"epoch": 3, "epochs": 18}))
        assert board.doing(NAMES[1]) == "training, epoch 3 of 18"
        log.write_text(log.read_text() + "Running stage 'evaluate@two-method1-0':\n")
        assert board.doing(NAMES[1]) == "evaluating"
        log.write_text(log.read_text() + "Running stage 'saliency@two-method1-0':\n")
        assert board.doing(NAMES[1]) == "saliency", "a stage that is not known here goes by its name"
        board.start(NAMES[2], log)
        board.end(NAMES[2], failed=True)
        lines = drawn(board, terminal).splitlines()
        assert [line.split()[0] for line in lines[1:5]] == [f"two/method{number}" for number in range(4)]
        for line, words in zip(lines[1:5], ("up to date", "saliency", "failed", "waiting"), strict=True):
            assert words in line
        assert "1 failed, 1 running, 1 waiting, 1 up to date" in lines[5]
        board.end(NAMES[1], failed=False)
    assert "1 failed, 1 waiting, 1 done, 1 up to date" in terminal.file.getvalue()


def test_a_low_terminal_keeps_what_matters(tmp_path):
    terminal = Console(file=io.StringIO(), force_terminal=True, width=60, height=6, color_system=None)
    board = Dashboard(NAMES, tmp_path, terminal)
    board.wait(NAMES[0])
    board.start(NAMES[2], tmp_path / "log")
    board.start(NAMES[3], tmp_path / "log")
    board.end(NAMES[3], failed=True)
    text = drawn(board, terminal)
    assert "method2" in text
    assert "method3" in text
    assert "method0" not in text
    assert "1 failed, 1 running, 1 waiting, 1 up to date" in text


def test_a_log_file_gets_a_line_for_each_event(tmp_path, capsys):
    with Dashboard(NAMES, tmp_path, Console(file=io.StringIO())) as board:
        board.wait(NAMES[0])
        board.start(NAMES[0], tmp_path / "log")
        board.draw()
        board.end(NAMES[0], failed=False)
    assert capsys.readouterr().out == "two/method0: starts\ntwo/method0: done after 0:00\n"
