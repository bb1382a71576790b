"""A SLURM cluster of one node for the tests: the real daemons, on the loopback interface."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from mergershift.core.processes import kill_processes, variable_of

_DAEMONS = ("munged", "slurmctld", "slurmd")
_TIMEOUT = 30


class Slurm:
    """A running cluster, whose commands are those of the test's `PATH` with `SLURM_CONF` as here.

    Its partition is `debug`, and `urgent` if jobs can be preempted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = folder / "slurm.conf"
        self.node = socket.gethostname().partition(".")[0]

    def run(self, *command: str) -> str:
        """What a command such as `scancel` prints; it has to end well."""
        environment = os.environ | {"SLURM_CONF": str(self.conf)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=_TIMEOUT)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def states(self) -> dict[str, str]:
        """State of each job that waits or runs, by its id; that of a job of an array is `3_0`."""
        lines = self.run("squeue", "--noheader", "--array", "--format", "%i %T").splitlines()
        return dict(line.split() for line in lines)

    def wait(self, condition: Callable[[], object], seconds: float = _TIMEOUT) -> None:
        """Wait until `condition` holds; fails with the state of the cluster after so many seconds."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not met within {seconds} s; jobs: {self.states()}\n{self.logs()}")
            time.sleep(0.1)

    def fail_node(self) -> None:
        """Let the node fail and come back: its jobs are requeued."""
        update = ["scontrol", "update", f"NodeName={self.node}"]
        self.run(*update, "State=DOWN", "Reason=test")
        resume = [*update, "State=RESUME"]  # refused while jobs are still ending
        self.wait(lambda: subprocess.run(resume, capture_output=True, timeout=_TIMEOUT).returncode == 0)

    def logs(self) -> str:
        """The last lines of each daemon's log."""
        paths = [self.folder / f"{name}.log" for name in _DAEMONS]
        return "\n".join(
            f"--- {path.name}\n{path.read_text(errors='replace')[-2000:]}" for path in paths if path.exists()
        )


@contextmanager
def slurm_cluster(
    *, cpus: int = 4, gpus: int = 0, preemption: bool = False, kill_wait: int = 2
) -> Iterator[Slurm]:
    """Run a cluster, and let `SLURM_CONF` name it; skips the test if SLURM is not installed.

    Args:
        cpus: number of cores that jobs are given, whatever the machine has.
        gpus: number of GPUs that jobs may ask for; none has to exist.
        preemption: whether jobs of the partition `urgent` preempt and requeue those of `debug`, which get the signal
            that they asked for (`--signal`) and then `kill_wait` seconds.
        kill_wait: seconds between the SIGTERM and the SIGKILL to a job that is cancelled.
    """
    missing = [name for name in _DAEMONS if shutil.which(name, path=_path()) is None]
    if missing:
        reason = f"SLURM is not installed ({', '.join(missing)}): apt-get install slurm-wlm munge"
        if os.environ.get("MERGERSHIFT_REQUIRE_TEAM") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    # pytest's folders have names too long for a socket, and other users cannot read them
    folder = Path(tempfile.mkdtemp(prefix="slurm-test-"))
    folder.chmod(0o755)
    cluster = Slurm(folder)
    _configure(cluster, cpus, gpus, preemption, kill_wait)
    try:
        with ExitStack() as stack:
            stack.enter_context(_environment(cluster.conf))
            _start(cluster, stack)
            stack.callback(_end_jobs, cluster)
            yield cluster
    finally:
        conf = str(cluster.conf)
        kill_processes(lambda process: variable_of(process, "SLURM_CONF") == conf)
        shutil.rmtree(folder, ignore_errors=True)


def _path() -> str:
    """`PATH` with the folders of daemons, which ordinary users' lacks."""
    return f"{os.environ['PATH']}{os.pathsep}/usr/sbin{os.pathsep}/usr/local/sbin"


def _configure(cluster: Slurm, cpus: int, gpus: int, preemption: bool, kill_wait: int) -> None:
    folder, user = cluster.folder, getpass.getuser()
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o600)
    memory = psutil.virtual_memory().total // 2**20
    ports = _free_ports(2)
    lines = [
        f"ClusterName=test{ports[0]}",
        f"SlurmctldHost={cluster.node}(127.0.0.1)",
        f"SlurmctldPort={ports[0]}",
        f"SlurmdPort={ports[1]}",
        "CommunicationParameters=NoCtldInAddrAny,NoInAddrAny",
        f"SlurmUser={user}",
        f"SlurmdUser={user}",
        "AuthType=auth/munge",
        # a requeued job waits for as long as its credential is valid: two minutes by default, and five seconds at least
        f"AuthInfo=socket={folder}/munge.socket,cred_expire=5",
        f"StateSaveLocation={folder}/state",
        f"SlurmdSpoolDir={folder}/spool",
        f"SlurmctldPidFile={folder}/slurmctld.pid",
        f"SlurmdPidFile={folder}/slurmd.pid",
        f"SlurmctldLogFile={folder}/slurmctld.log",
        f"SlurmdLogFile={folder}/slurmd.log",
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "JobAcctGatherType=jobacct_gather/none",
        "AccountingStorageType=accounting_storage/none",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_CPU_Memory",
        f"DefMemPerCPU={memory // cpus}",  # a job that asks for none would get all of the node's
        "SlurmdParameters=config_overrides",
        "MpiDefault=none",
        "ReturnToService=2",
        "JobRequeue=1",
        f"KillWait={kill_wait}",
        "SchedulerType=sched/backfill",
        "SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0"
        + ",preempt_send_user_signal" * preemption,
        *["GresTypes=gpu"] * bool(gpus),
        f"NodeName={cluster.node} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} State=UNKNOWN"
        + f" Gres=gpu:{gpus}" * bool(gpus),
    ]
    if preemption:
        lines += [
            "PreemptType=preempt/partition_prio",
            "PreemptMode=REQUEUE",
            f"PartitionName=urgent Nodes={cluster.node} State=UP PriorityTier=10 PreemptMode=OFF",
        ]
    lines.append(
        f"PartitionName=debug Nodes={cluster.node} Default=YES MaxTime=INFINITE State=UP"
        + f" PriorityTier=1 GraceTime={kill_wait}" * preemption
    )
    cluster.conf.write_text("\n".join(lines) + "\n")
    if gpus:
        for number in range(gpus):
            (folder / f"gpu{number}").symlink_to("/dev/null")
        device = f"{folder}/gpu[0-{gpus - 1}]"
        (folder / "gres.conf").write_text(f"NodeName={cluster.node} Name=gpu File={device}\n")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        return [int(free.getsockname()[1]) for free in sockets]


@contextmanager
def _environment(conf: Path) -> Iterator[None]:
    """Let commands find the cluster, and forget the job that the tests themselves may run in."""
    before = dict(os.environ)
    for name in [name for name in before if name.startswith(("SLURM_", "SBATCH_", "SUBMITIT_"))]:
        del os.environ[name]
    os.environ["SLURM_CONF"] = str(conf)
    try:
        yield
    finally:
        for name in [name for name in os.environ if name.startswith(("SLURM_", "SBATCH_", "SUBMITIT_"))]:
            del os.environ[name]
        os.environ.update({name: before[name] for name in before if name not in os.environ})


def _start(cluster: Slurm, stack: ExitStack) -> None:
    folder = cluster.folder
    files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munge.pid"}
    files |= {"log-file": "munged.log", "seed-file": "munge.seed"}
    munge = [f"--{option}={folder / name}" for option, name in files.items()]
    _run_daemon(stack, cluster, "munged", "--foreground", "--force", "--num-threads=2", *munge)
    cluster.wait((folder / "munge.socket").exists)
    _run_daemon(stack, cluster, "slurmctld", "-D", "-f", str(cluster.conf))
    _run_daemon(stack, cluster, "slurmd", "-D", "-f", str(cluster.conf))
    cluster.wait(lambda: _is_idle(cluster))


def _run_daemon(stack: ExitStack, cluster: Slurm, name: str, *options: str) -> None:
    program = shutil.which(name, path=_path())
    assert program is not None
    with (cluster.folder / f"{name}.out").open("wb") as output:
        process = subprocess.Popen(
            [program, *options],
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            cwd=cluster.folder,
            start_new_session=True,
        )
    stack.callback(_end, process)


def _is_idle(cluster: Slurm) -> bool:
    done = subprocess.run(
        ["sinfo", "--noheader", "--format", "%T"], capture_output=True, text=True, timeout=_TIMEOUT
    )
    return set(done.stdout.split()) == {"idle"}


def _end_jobs(cluster: Slurm) -> None:
    if cluster.states():
        cluster.run("scancel", "--full", "--signal=KILL", "--user", getpass.getuser())
        cluster.run("scancel", "--user", getpass.getuser())
        cluster.wait(lambda: not cluster.states())


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
