"""Jobs on a SLURM cluster, with programs that print what SLURM's print."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from launching.samples import CONFIG, Programs, leave_result, path_with, task

from mergershift.core.errors import UserError
from mergershift.launching import queue, slurm
from mergershift.launching.jobs import LOST, RETRIES, Job, Unreachable, collect, was_killed
from mergershift.launching.slurm import LIMIT_REACHED, Slurm, SlurmJob

NO_CONTROLLER = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"
PURGED = "slurm_load_jobs error: Invalid job id specified\n"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    programs = Programs(tmp_path / "slurm")
    monkeypatch.setenv("PATH", path_with(programs.folder))
    monkeypatch.setattr(queue, "_LONGEST", 0.0)
    monkeypatch.setattr(slurm, "_RESULT_SECONDS", 0.0)
    return programs


@pytest.fixture
def launcher(tmp_path: Path, programs: Programs) -> Slurm:
    return Slurm(CONFIG, tmp_path / "jobs")


def submit(launcher: Slurm, folder: Path, *names: str) -> list[SlurmJob]:
    jobs = launcher.submit([task(folder, name) for name in names])
    return [job for job in jobs if isinstance(job, SlurmJob)]


def codes(jobs: list[SlurmJob], times: int = 3) -> list[int | None]:
    """What the jobs' exit codes are after so many questions."""
    for _ in range(times):
        found = [job.poll() for job in jobs]
    return found


def test_tasks_become_one_array_with_what_the_configuration_asks_for(tmp_path, programs):
    extra = {"qos": "high", "exclusive": True}
    config = CONFIG.model_copy(update={"extra": extra, "setup": ("module load cuda",), "partition": "gpu"})
    launcher = Slurm(config, tmp_path / "jobs")
    assert [job.number for job in submit(launcher, tmp_path, "a", "b", "c")] == ["123_0", "123_1", "123_2"]
    assert len(programs.calls("sbatch")) == 1
    options = {line.removeprefix("#SBATCH --") for line in programs.script.splitlines() if "#SBATCH" in line}
    assert {
        *("array=0-2%2", "cpus-per-task=3", "exclusive", "mem=8G", "partition=gpu", "qos=high", "requeue"),
        *("signal=USR2@120", "time=120"),
    } <= options
    assert not any("wckey" in option or "gpus" in option for option in options)
    assert "module load cuda" in programs.script
    assert "--cpus-per-task=3" in programs.script.partition("srun")[2], "steps do not inherit it"
    assert "hidden" not in programs.script
    for folder in (tmp_path / "jobs", *(tmp_path / "jobs").iterdir()):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, "the tasks' variables may hold passwords"


def test_states_come_from_one_question_for_all_jobs(launcher, programs, tmp_path, monkeypatch):
    jobs = submit(launcher, tmp_path, *"abcdef")
    assert codes(jobs, 1) == [None] * 6
    programs.says(
        "squeue",
        "123_5|PENDING|Priority|\n123_4|PENDING|None|\n123_0|RUNNING|None|node7\n123_1|COMPLETING|None|node[1-2]\n"
        "123_2|CONFIGURING|None|node3\n123_3|REQUEUED|None|\n",
    )
    monkeypatch.setattr(queue, "_LONGEST", 60.0)
    before = len(programs.calls("squeue"))
    assert codes(jobs) == [None] * 6
    assert [job.state for job in jobs] == [
        *("running on node7", "ending on node[1-2]", "starting on node3", "requeued", "waiting"),
        "waiting (Priority)",
    ]
    assert len(programs.calls("squeue")) == before + 1
    assert programs.calls("squeue")[-1].endswith("--jobs=123")


def test_a_result_is_the_exit_code_whatever_the_queue_says(launcher, programs, tmp_path):
    well, badly, killed, often = jobs = submit(launcher, tmp_path, *"abcd")
    programs.fails("squeue", NO_CONTROLLER)
    assert codes(jobs) == [None] * 4
    leave_result(well, 0)
    leave_result(badly, 3)
    leave_result(killed, -9)
    leave_result(
        often, "...UncompletedJobError: Job not requeued because: timed-out too many times.\n", "error"
    )
    assert codes(jobs, 1) == [0, 3, -9, LIMIT_REACHED]
    assert "time limit" in often.state


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("123_0|CANCELLED|None|node7\n", "cancelled"),
        ("123_0|OUT_OF_MEMORY|OutOfMemory|node7\n", "out of memory"),
        ("123_0|NODE_FAIL|None|node7\n", "its node failed"),
        ("123_0|TIMEOUT|TimeLimit|node7\n", "ended at its time limit"),
        ("123_0|FAILED|NonZeroExitCode|node7\n", "gone (srun: error: node7: task 0: Killed)"),
        ("", "gone (srun: error: node7: task 0: Killed)"),
        (PURGED, "gone (srun: error: node7: task 0: Killed)"),
    ],
)
def test_a_job_that_is_gone_without_a_result_is_lost(launcher, programs, tmp_path, said, why):
    job, other = submit(launcher, tmp_path, "a", "b")
    programs.says("squeue", "123_0|RUNNING|None|node7\n123_1|RUNNING|None|node7\n")
    assert codes([job]) == [None]
    (programs.fails if said == PURGED else programs.says)("squeue", said)
    (job.submission.folder / "123_0_0_log.err").write_text("starting\nsrun: error: node7: task 0: Killed\n")
    assert codes([job], 1) == [None], "the file system may show its result late"
    assert codes([job], 1) == [LOST]
    assert job.state == why
    assert codes([other], 1) == [None]


def test_a_preempted_job_is_waited_for_while_the_queue_lists_it(launcher, programs, tmp_path):
    (job,) = submit(launcher, tmp_path, "a")
    assert job.number == "123", "no array of one job"
    programs.says("squeue", "123|PREEMPTED|None|node7\n")
    assert codes([job]) == [None]
    programs.says("squeue", "123|PENDING|BeginTime|\n")
    assert codes([job]) == [None]
    assert job.state == "waiting (BeginTime)"


def test_a_silent_controller_changes_nothing(launcher, programs, tmp_path, monkeypatch):
    (job,) = submit(launcher, tmp_path, "a")
    programs.says("squeue", "123|RUNNING|None|node7\n")
    assert codes([job]) == [None]
    programs.fails("squeue", NO_CONTROLLER)
    assert codes([job], 5) == [None]
    assert job.state == "running on node7"
    monkeypatch.setattr(queue, "_SILENCE_SECONDS", 0.0)
    assert job.state == "running on node7, no answer from SLURM for 0 min"
    programs.fails("squeue", "slurm_load_jobs error: Socket timed out on send/recv operation\n")
    assert codes([job], 5) == [None]


def test_another_process_finds_the_jobs_again(launcher, programs, tmp_path):
    first, second, third = submit(launcher, tmp_path, "a", "b", "c")
    leave_result(second, 0)
    launcher.forget([first])
    programs.says("squeue", "123_2|RUNNING|None|node7\n")
    found = Slurm(CONFIG, tmp_path / "jobs").attach()
    assert [(job.task, job.poll()) for job in found] == [(second.task, 0), (third.task, None)]
    programs.says("sbatch", "Submitted batch job 124\n")
    submit(launcher, tmp_path, "c", "d")
    latest = Slurm(CONFIG, tmp_path / "jobs").attach()
    assert {job.task.name: job.number for job in latest if isinstance(job, SlurmJob)} == {
        "b": "123_1",
        "c": "124_0",
        "d": "124_1",
    }
    again = Slurm(CONFIG, tmp_path / "jobs")
    again.forget(again.attach())
    assert not any((tmp_path / "jobs").iterdir())


def test_a_submission_that_was_cut_off_is_withdrawn(launcher, programs, tmp_path):
    (job,) = submit(launcher, tmp_path, "a")
    (job.submission.folder / "jobs.json").unlink()
    (tmp_path / "jobs/mergershift-empty").mkdir()
    assert Slurm(CONFIG, tmp_path / "jobs").attach() == []
    assert programs.calls("scancel") == [f"--name={job.submission.name}"]
    assert not any((tmp_path / "jobs").iterdir())


def test_a_submission_that_was_cut_off_may_still_run(launcher, programs, tmp_path, monkeypatch):
    """Others take the place of its jobs, in the same folders."""
    (job,) = submit(launcher, tmp_path, "a")
    (job.submission.folder / "jobs.json").unlink()
    programs.fails("squeue", NO_CONTROLLER)
    with pytest.raises(Unreachable):
        launcher.attach()
    assert job.submission.folder.exists(), "or else nobody would know of it"
    programs.says("squeue", "123_0\n")
    asked: list[float] = []

    def sleep(seconds: float) -> None:
        asked.append(seconds)
        if asked.count(1) == 2:
            programs.says("squeue", "")

    monkeypatch.setattr(slurm.time, "sleep", sleep)
    assert launcher.attach() == []
    assert asked.count(1) == 2
    assert programs.calls("scancel")[-1] == f"--name={job.submission.name}"
    assert not job.submission.folder.exists()


def test_what_was_lost_or_killed_is_submitted_again_three_times(launcher, programs, tmp_path):
    done, failed, killed, _lost = jobs = submit(launcher, tmp_path, *"abcd")
    leave_result(done, 0)
    leave_result(failed, 1)
    leave_result(killed, 137)
    programs.says("squeue", "123_3|CANCELLED|None|\n")
    codes(jobs)
    programs.says("sbatch", "Submitted batch job 124\n")
    ended = {each.job.task.name: each for each in collect(launcher, jobs)}
    assert {name: end.code for name, end in ended.items()} == {"a": 0, "b": 1, "c": 137, "d": LOST}
    assert [name for name, end in ended.items() if end.again] == ["c", "d"]
    assert len(programs.calls("sbatch")) == 2, "one array for both"
    assert programs.calls("scancel") == ["123_3"], "it must not come back beside the new one"
    attempts = 1
    follower: Job | None = ended["c"].again
    while follower is not None:
        assert isinstance(follower, SlurmJob)
        assert follower.task.attempt == attempts
        leave_result(follower, -15)
        (end,) = collect(launcher, [follower])
        follower, attempts = end.again, attempts + 1
    assert attempts == RETRIES + 1
    assert [was_killed(code) for code in (0, 1, 124, 255, -9, 143, 140)] == [False] * 4 + [True] * 3


def test_nothing_is_given_up_while_the_controller_is_silent(launcher, programs, tmp_path):
    (job,) = jobs = submit(launcher, tmp_path, "a")
    leave_result(job, -9)
    programs.fails(
        "sbatch", "sbatch: error: Batch job submission failed: Unable to contact slurm controller\n"
    )
    assert collect(launcher, jobs) == []
    programs.says("sbatch", "Submitted batch job 124\n")
    (end,) = collect(launcher, jobs)
    assert end.again is not None


def test_cancelled_jobs_are_waited_for(launcher, programs, tmp_path, monkeypatch):
    jobs = submit(launcher, tmp_path, "a", "b")
    programs.says("squeue", "123_0|COMPLETING|None|node7\n123_1|CANCELLED|None|node7\n")
    seconds = []

    def sleep(_seconds: float) -> None:
        seconds.append(1)
        programs.says("squeue", "123_0|CANCELLED|None|node7\n123_1|CANCELLED|None|node7\n")

    monkeypatch.setattr(slurm.time, "sleep", sleep)
    launcher.cancel(jobs)
    assert programs.calls("scancel") == ["123_0 123_1"]
    assert seconds
    programs.fails("scancel", "scancel: error: Kill job error on job id 123_0: Invalid job id specified\n")
    launcher.cancel(jobs)
    programs.fails(
        "scancel", "scancel: error: Kill job error on job id 123_0: Unable to contact slurm controller"
    )
    monkeypatch.setattr(slurm, "_CANCEL_SECONDS", 0.0)
    with pytest.raises(UserError, match="has not ended 2 jobs within 0 minutes") as error:
        launcher.cancel(jobs)
    assert "scancel 123_0 123_1" in str(error.value)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            "sbatch: error: invalid partition specified: gpuu\n"
            "sbatch: error: Batch job submission failed: Invalid partition name specified\n",
            "conf/launcher/: the cluster has no partition 'gpuu'.\nNearest: 'gpu', 'cpu', 'gpu_long'.",
        ),
        (
            "sbatch: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host\n"
            "sbatch: fatal: Could not establish a configuration source\n",
            "sbatch knows no cluster on this machine: Could not establish a configuration source.\n"
            "Run the command on a login node of the cluster, or without --on.",
        ),
        (
            "sbatch: error: Memory specification can not be satisfied\n"
            "sbatch: error: Batch job submission failed: Requested node configuration is not available\n",
            "sbatch refuses the jobs: Memory specification can not be satisfied; Batch job submission failed: "
            "Requested node configuration is not available.\nChange what conf/launcher/ asks for.",
        ),
    ],
)
def test_a_refusal_is_worded_and_leaves_nothing_behind(tmp_path, programs, capfd, message, expected):
    programs.fails("sbatch", message)
    programs.says("sinfo", "cpu\ngpu\ngpu_long\n")
    launcher = Slurm(CONFIG.model_copy(update={"partition": "gpuu"}), tmp_path / "jobs")
    with pytest.raises(UserError) as error:
        submit(launcher, tmp_path, "a", "b")
    assert str(error.value) == expected
    assert not any((tmp_path / "jobs").iterdir())
    assert capfd.readouterr() == ("", "")


def test_a_controller_that_does_not_answer_refuses_nothing(launcher, programs, tmp_path):
    programs.fails(
        "sbatch", "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n"
    )
    with pytest.raises(Unreachable, match="Try again later"):
        submit(launcher, tmp_path, "a")
    assert programs.calls("scancel")[0].startswith("--name=mergershift-"), "it may have arrived all the same"


def test_a_machine_without_slurm_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"^sbatch and scancel and squeue and srun: not found") as error:
        Slurm(CONFIG, tmp_path / "jobs")
    assert str(error.value).count("\n") == 1


def test_variables_that_change_what_the_programs_do_are_hidden(tmp_path, programs, monkeypatch):
    for name in (
        "SQUEUE_USERS",
        "SBATCH_ACCOUNT",
        "SBATCH_PARTITION",
        "SBATCH_NO_REQUEUE",
        "SLURM_JOB_ID",
        "SLURM_CONF",
    ):
        monkeypatch.setenv(name, "7")
    launcher = Slurm(CONFIG.model_copy(update={"partition": "gpu"}), tmp_path / "jobs")
    codes(submit(launcher, tmp_path, "a"))
    assert programs.calls("squeue")
    assert "saw the environment" not in programs.calls("squeue")
    given = (programs.folder / "variables").read_text().splitlines()
    assert sorted(given) == ["SBATCH_ACCOUNT=7", "SLURM_CONF=7"], "the account is left to the user's variable"
    assert os.environ["SLURM_JOB_ID"] == "7"
