"""What `mergershift repro` costs before the first stage and when nothing is out of date."""

import subprocess
import sys


def test_a_command_that_runs_nothing_imports_no_framework() -> None:
    """Each of them takes seconds, and only the stages need them."""
    code = (
        "import sys, dvc.repo, mergershift.pipeline.parallel, mergershift.pipeline.repro;"
        "print(sorted({'torch', 'matplotlib', 'mlflow', 'pytorch_lightning', 'optuna'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
