"""A process that is a KFP server (tests/kfp_stand_in.py) whose runs take the course that a JSON file tells.

    python cluster.py COURSE RUNS    prints its URL

COURSE holds the run's state, its tasks (name, state, error), and, of one that succeeds, the directory of its evaluation
and that of its model: the run's last steps are then the real ones, which publish the model and record the evaluation.
What was submitted is written to the file RUNS.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from kfp_stand_in import Behaviour, Moment, StandIn, Task, stand_in

from kfp_textclf.components.publish.stage import publish
from kfp_textclf.components.record.stage import record

OUTPUTS = ("trained", "comparison", "report.html", "report.md")  # of the run's steps, beside its evaluation


def play(server: StandIn, course: dict[str, Any], runs: Path) -> None:
    """Let each run that is created be recorded, as its steps would have done."""
    create = server.create_run

    def create_run(body: dict[str, Any], **options: Any) -> dict[str, Any]:
        run = create(body, **options)
        runs.write_text(json.dumps([*json.loads(runs.read_text()), run]))
        parameters = run["runtime_config"]["parameters"]
        if evaluation := course.get("evaluation"):
            if course["model"] and parameters["publish_promoted"]:
                publish(course["model"], evaluation, f"{runs}-published", publish_to=parameters["publish_to"])
            outputs = [str(Path(evaluation).with_name(name)) for name in OUTPUTS]
            record(evaluation, *outputs, publish_to=parameters["publish_to"], run_id=run["run_id"])
        return run

    server.create_run = create_run  # type: ignore[method-assign]


if __name__ == "__main__":
    course, runs = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    runs.write_text("[]")
    end = Moment(course["state"], [Task(*task) for task in course["tasks"]])
    with stand_in(Behaviour(course=[Moment("PENDING"), end])) as server:
        play(server, course, runs)
        print(server.url, flush=True)
        while True:
            time.sleep(3600)
