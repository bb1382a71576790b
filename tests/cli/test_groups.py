"""What the command line makes of errors, and what --debug adds."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import click
import pytest

from mergershift.cli.groups import Command, OrderedGroup
from mergershift.cli.main import cli, main
from mergershift.core.errors import UserError

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Give the command line a command that raises an error, and run it."""

    def run_failing(error: BaseException, *options: str) -> tuple[int, str]:
        @click.command(cls=Command)
        def fail() -> None:
            raise error

        monkeypatch.setitem(cli.commands, "fail", fail)
        with pytest.raises(SystemExit) as ended:
            main(["fail", *options])
        return int(ended.value.code or 0), capsys.readouterr().err

    return run_failing


def test_a_full_disk_names_operation_file_and_remedy(run: Run) -> None:
    code, err = run(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "outputs/big.npy"))
    assert code == 1
    first, second = err.splitlines()
    assert first == "Error: mergershift fail: outputs/big.npy: No space left on device (OSError)."
    assert "room" in second


def test_missing_rights_are_not_called_a_full_disk(run: Run) -> None:
    _, err = run(PermissionError(errno.EACCES, os.strerror(errno.EACCES), "data/x.npy"))
    assert "data/x.npy: Permission denied" in err
    assert "permissions" in err
    assert "room" not in err


def test_any_other_system_error_keeps_its_name_and_leads_to_the_traceback(run: Run) -> None:
    code, err = run(ConnectionResetError("the peer has gone"))
    assert code == 1
    assert "mergershift fail: the peer has gone (ConnectionResetError)" in err
    assert "`mergershift fail --debug`" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("error", [UserError("data/: wrong.\nFix it."), OSError(errno.EIO, "I/O error")])
def test_debug_prints_the_traceback_and_the_message(run: Run, error: Exception) -> None:
    without, with_debug = run(error)[1], run(error, "--debug")[1]
    assert "Traceback" not in without
    assert "in fail" in with_debug, "the traceback ends in the command"
    assert with_debug.endswith(without)


def test_a_fault_of_the_code_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command(cls=Command)
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setitem(cli.commands, "fail", fail)
    with pytest.raises(ZeroDivisionError):
        main(["fail"])


def commands(group: click.Group, context: click.Context) -> list[click.Command]:
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found += commands(command, context) if isinstance(command, click.Group) else [command]
    return found


def test_every_command_takes_debug() -> None:
    context = click.Context(cli)
    found = commands(cli, context)
    assert len(found) > 15
    for command in found:
        assert isinstance(command, Command), command.name
        options = [option for parameter in command.get_params(context) for option in parameter.opts]
        assert "--debug" in options, command.name
    assert isinstance(cli, OrderedGroup)
