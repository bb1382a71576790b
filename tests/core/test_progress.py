"""Progress is drawn on a terminal and silent in a log file."""

from io import StringIO

import pytest
from rich.console import Console

from mergershift.core.progress import ProgressBars, progress_bar


def test_on_a_terminal_bars_count_and_lines_come_above() -> None:
    output = StringIO()
    console = Console(file=output, force_terminal=True, width=100)
    with ProgressBars(console=console) as bars:
        bar = bars.add("cells", 4)
        bar.advance(1)
        bars.print("cell 1 has finished")
        bar.update(3, 4, "cells (1 running)")
    assert "cell 1 has finished" in output.getvalue()
    assert "cells (1 running)" in output.getvalue()
    assert "3/4" in output.getvalue()


def test_in_a_log_there_are_lines_and_no_bars() -> None:
    output = StringIO()
    with ProgressBars("bytes", console=Console(file=output)) as bars:
        bars.add("hashing", 10).advance(5)
        bars.print("hashed")
    assert output.getvalue() == "hashed\n"


def test_a_single_bar_is_silent_outside_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("images", 3) as advance:
        advance(3)
    assert capsys.readouterr() == ("", "")
