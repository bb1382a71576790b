"""The command line: it starts quickly and reports a mistake in two lines."""

import os
import re
import signal
import subprocess
import sys

import pytest

from mergershift.cli.main import cli, main


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom mergershift.cli.main import cli\n"
        "cli.main(['--help'], standalone_mode=False)\n"
        "print(sorted({'torch', 'numpy', 'mlflow', 'pytorch_lightning', 'astropy', 'hydra'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_every_command_has_help(capsys, name):
    code, out, _ = run(capsys, name, "--help")
    assert code == 0
    assert "Usage: mergershift" in out
    assert "\\b" not in out, "an example's lines would be joined"


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["trian"], ["'trian'", "'train'"]),
        (["data", "verfy"], ["'verfy'", "'verify'"]),
        (["train", "--outptu", "x"], ["--outptu", "'--output'"]),
        (["train", "adaptation=mdm"], ["adaptation=mdm", "'mmd'"]),
        (["train", "adaptatoin=mmd"], ["adaptatoin", "'adaptation'"]),
        (["train", "training.epoch=5"], ["training.epoch", "'training.epochs'"]),
        (["train", "training.epochs=many"], ["training.epochs", "many"]),
        (["train", "training.epochs=0"], ["training.epochs", "greater than or equal to 1"]),
        (["train", "+training.speed=9"], ["training.speed", "not a known configuration key"]),
        (["train", "transfer=oracle_target_only", "adaptation=mmd"], ["adaptation=source_only"]),
        (["train", "transfer.labelled=oracle_target"], ["pristine_to_noisy", "oracle_"]),
        (["train", "split=published_leaky", "split.disjoint_domains=true"], ["by_galaxy"]),
        (["train", "mmd"], ["'mmd' is not an override", "KEY=VALUE"]),
        (["train", "epochs=3"], ["epochs=3", "'training.epochs'"]),
        (["train", "training.epochs=2,"], ["training.epochs=2,: its value cannot be read", "quote"]),
        (["train", "training.epochs='2"], ["training.epochs='2: its value cannot be read"]),
        (["train", "training.epochs=2,3"], ["several values", "training.epochs=[2,3]"]),
        (["train", "adaptation=mmd,dann"], ["several values"]),
        (["tune", "tuning.objectives=[foo]"], ["tuning.objectives=[foo]: found 'foo', expected one of"]),
        (
            ["tune", "tuning.objectives=[target_entropy,5]"],
            ["target_entropy,5]: found 5", "Fix the override."],
        ),
        (["train", "--epochs", "3"], ["'--epochs' is not an option", "training.epochs=3."]),
        (["train", "--epoch=3"], ["'--epoch' is not an option", "training.epochs=3 "]),
        (["train", "--batch-size"], ["training.batch_size=VALUE."]),
        (["train", "--adaptation", "mmd", "--gpu"], ["adaptation=mmd."]),
        (["train", "--gpu"], ["trainer=gpu."]),
        (["train", "--resmue", "x"], ["'--resume'."]),
        (["tune", "--worker", "3"], ["'--workers'."]),
        (["reproduce", "deepmerge_2002"], ["deepmerge_2002", "'deepmerge_2020'"]),
    ],
)
@pytest.mark.usefixtures("checkout")
def test_a_mistake_is_reported_in_two_lines_with_the_nearest_names(capsys, arguments, names):
    code, out, err = run(capsys, *arguments)
    assert code in (1, 2)
    assert out == ""
    assert err.startswith("Error: ")
    assert err.count("\n") == 2
    for name in names:
        assert name in err


@pytest.mark.parametrize("arguments", [["coed"], ["tune", "--as-workr"], ["tune", "--first-trail"]])
@pytest.mark.usefixtures("checkout")
def test_no_hidden_name_is_suggested(capsys, arguments):
    _, _, err = run(capsys, *arguments)
    suggested = err.partition("\n")[2]
    assert suggested
    assert not {"'code'", "'--as-worker'", "'--first-trial'"} & set(re.findall(r"'[^']*'", suggested))


@pytest.mark.parametrize("arguments", [[], ["data"], ["study"]])
def test_without_a_command_the_help_is_printed_and_not_called_an_error(capsys, arguments):
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("Usage: mergershift")


def test_the_help_lists_every_command_once(capsys):
    _, out, _ = run(capsys, "--help")
    assert re.search(r"^ +mergershift repro --jobs 2 ", out, re.MULTILINE)
    listed = [line.split()[0] for line in out.partition("Options:")[2].splitlines() if line.startswith("  ")]
    names = [name for name, command in cli.commands.items() if not command.hidden]
    assert sorted(name for name in listed if not name.startswith("-")) == sorted(names)


def test_outside_a_checkout_the_message_asks_for_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "train")
    assert code == 1
    assert "inside a checkout" in err


def test_a_step_out_of_order_names_the_command_to_run_first(project, capsys):
    code, _, err = run(capsys, "train")
    assert code == 1
    assert "mergershift prepare" in err
    code, _, err = run(capsys, "evaluate", "outputs/cells/nowhere")
    assert code == 1
    assert "mergershift train" in err
    code, _, err = run(capsys, "summary")
    assert code == 1
    assert "mergershift repro" in err


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 128 + signal.SIGUSR1)]
)
def test_a_signal_that_stops_a_job_stops_a_command_as_ctrl_c_does(
    number: signal.Signals, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # What starts the tests in the background may have had Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(cli, "main", lambda *_, **__: os.kill(os.getpid(), number))
    with pytest.raises(SystemExit) as ended:
        main([])
    signal.signal(signal.SIGINT, before)
    assert ended.value.code == code
    assert "Run the same command again to resume" in capsys.readouterr().err
