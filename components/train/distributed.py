"""One training over several processes, one for each GPU; without GPUs they talk by gloo.

Each of them runs the stage as ever. The first one alone writes: checkpoints, the model, and ``result.json`` for the
process that started them. Together they take the steps that one process would take: the same batches, each its share,
and the mean of the loss over the rows of all. Validation scores are those of all rows, each once; the validation loss
alone may differ a little from that of one process, as the Trainer repeats rows where its last batch cannot be divided.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.artifacts import read_json, write_json
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.train.preemption import EXIT_CODE, Preempted, watch_sigterm

JOB = "KFP_TEXTCLF_TRAIN_JOB"  # in the environment of the processes: directory that they share
RESULT, ERROR = "result.json", "error.txt"
POLL_SECONDS = 0.1
PREEMPTED = (EXIT_CODE, -signal.SIGTERM)
WAIT_SECONDS = 28.0  # for the last checkpoint: Kubernetes kills 30 s after SIGTERM


@dataclass(frozen=True)
class Place:
    """This process among those of the training."""

    rank: int = 0
    processes: int = 1

    @classmethod
    def current(cls) -> "Place":
        """Return the place that the environment gives; a process that nobody started as one of several is alone."""
        if JOB not in os.environ:
            return cls()
        return cls(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))


def wanted_processes(processes: int) -> int:
    """Return how many processes to train with; 0 means one for each GPU."""
    import torch

    return processes or max(1, torch.cuda.device_count())


def launch(processes: int, job: dict[str, Any]) -> dict[str, Any]:
    """Run the training of a job in several processes, and return the fields of its `TrainedModel`.

    Args:
        processes: How many.
        job: Arguments of `stage.train`, the settings as a mapping.

    Raises:
        UserError: One of them refused.
        Preempted: SIGTERM came before the training was complete.
        RuntimeError: One of them failed otherwise.
    """
    with tempfile.TemporaryDirectory(prefix="kfp-textclf-processes-") as shared, watch_sigterm() as preemption:
        write_json(Path(shared) / "job.json", job)
        command = [sys.executable, "-m", "kfp_textclf.components.train.distributed"]
        common = {**os.environ, JOB: shared, "WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1"}
        common |= {"MASTER_PORT": str(_free_port()), "LOCAL_WORLD_SIZE": str(processes)}
        ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
        started = [subprocess.Popen(command, env=common | rank) for rank in ranks]  # noqa: S603
        try:
            code = _wait(started, preemption)
        finally:
            for process in started:
                process.kill()
                process.wait()
        if code in PREEMPTED:
            raise Preempted
        if (Path(shared) / ERROR).is_file():
            raise UserError((Path(shared) / ERROR).read_text(encoding="utf-8"))
        if code:
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise RuntimeError(f"one of {processes} training processes ended with {how}; its error is above")
        return read_json(Path(shared) / RESULT)


def _wait(processes: "list[subprocess.Popen[bytes]]", preemption: Any) -> int:
    """Return 0 when all processes have ended well, or the exit code of the first that did not; pass SIGTERM on."""
    told = 0.0
    while True:
        codes = [process.poll() for process in processes]
        failed = [code for code in codes if code]
        ended = None not in codes
        if ended or (failed and failed[0] not in PREEMPTED) or (told and time.monotonic() - told > WAIT_SECONDS):
            return failed[0] if failed else 0 if ended else EXIT_CODE
        if preemption.requested and not told:
            told = time.monotonic()
            for process in processes:
                process.send_signal(signal.SIGTERM)
        time.sleep(POLL_SECONDS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main() -> None:
    """Train as one of several processes."""
    from kfp_textclf.components.train.settings import TrainSettings
    from kfp_textclf.components.train.stage import train

    shared = Path(os.environ[JOB])
    job = read_json(shared / "job.json")
    try:
        trained = train(**{**job, "settings": TrainSettings(**job["settings"])})
    except UserError as error:
        (shared / ERROR).write_text(str(error), encoding="utf-8")
        print(f"error: {error}", file=sys.stderr, flush=True)
        os._exit(2)  # the others may wait for this one: nothing here waits for them
    if Place.current().rank == 0:
        (shared / RESULT).write_text(json.dumps(asdict(trained)), encoding="utf-8")


if __name__ == "__main__":
    main()
