"""A training in a process of its own: ``python -m kfp_textclf.components.train.process JOB.json``.

The job names dataset, output, base_model, settings and the options of `train`. What is wrong with it ends the process
with code 2 and one line; whoever started it outlives whatever happens here.
"""

import sys
from pathlib import Path

from kfp_textclf.components.common.artifacts import read_json
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.train import checkpoints
from kfp_textclf.components.train.settings import TrainSettings
from kfp_textclf.components.train.stage import train


def main(job_file: str) -> None:
    """Train as a job file says.

    Raises:
        UserError: A setting is unknown or unusable, or the data is.
    """
    job = read_json(Path(job_file))
    try:
        settings = TrainSettings(**job.pop("settings"))
    except TypeError as error:  # an unknown name, or a text where a number is compared
        raise UserError(f"candidate: {str(error).rpartition('__init__() ')[2]}; use the names below train") from error
    trained = train(job.pop("dataset"), job.pop("output"), settings=settings, **job)
    checkpoints.discard(trained.checkpoint_uri)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
