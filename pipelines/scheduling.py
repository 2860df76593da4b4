"""Recurring runs on a cluster, one by name."""

import json
from typing import Any

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.pipelines.cluster import Cluster
from kfp_textclf.pipelines.submission import Submission, upload


def six_fields(cron: str) -> str:
    """Return a cron expression as Kubeflow Pipelines reads it: six fields, seconds first.

    Raises:
        UserError: It has neither five nor six fields.
    """
    fields = cron.split()
    if len(fields) == 5:
        fields = ["0", *fields]
    if len(fields) != 6:
        raise UserError(f"--cron {cron!r}: has {len(fields)} fields; five are needed, such as 0 3 * * * for 3 o'clock")
    return " ".join(fields)


def set_schedule(cluster: Cluster, submission: Submission, cron: str) -> str:
    """Make a recurring run, replacing those of the same name, and return a line that says what was done.

    Raises:
        UserError: The server refuses.
    """
    cron = six_fields(cron)
    client, name = cluster.client, submission.run_name
    pipeline_id, version_id = upload(cluster, submission.package, submission.version)
    experiment_id = cluster.experiment(submission.experiment)
    earlier = _named(cluster, experiment_id, name)
    if len(earlier) == 1 and _is_as_wanted(earlier[0], cron, version_id, submission):
        return f"{name}: is as wanted already ({cron})"
    created = cluster.call(
        client.create_recurring_run,
        experiment_id=experiment_id,
        job_name=name,
        cron_expression=cron,
        max_concurrency=1,
        no_catchup=True,
        params=submission.arguments,
        pipeline_id=pipeline_id,
        version_id=version_id,
        pipeline_root=submission.pipeline_root or None,
        service_account=submission.service_account or None,
    )
    for old in earlier:  # only now: a refused new one leaves the old one as it was
        cluster.call(client.delete_recurring_run, old.recurring_run_id)
    return f"{name}: {'updated' if earlier else 'made'} ({cron}), id {created.recurring_run_id}"


def remove_schedule(cluster: Cluster, name: str, experiment: str) -> str:
    """Delete the recurring runs of a name, and return a line that says what was done.

    Raises:
        UserError: There is none, or the server refuses.
    """
    experiment_id = cluster.known_experiment(experiment)
    earlier = _named(cluster, experiment_id, name) if experiment_id else []
    if not earlier:
        raise UserError(f"{name}: there is no recurring run of this name in experiment {experiment}")
    for old in earlier:
        cluster.call(cluster.client.delete_recurring_run, old.recurring_run_id)
    return f"{name}: removed"


def _named(cluster: Cluster, experiment_id: str, name: str) -> list[Any]:
    found, token = [], ""
    while True:
        page = cluster.call(
            cluster.client.list_recurring_runs, experiment_id=experiment_id, page_size=100, page_token=token
        )
        found += [run for run in page.recurring_runs or () if run.display_name == name]
        token = page.next_page_token
        if not token:
            return found


def _is_as_wanted(run: Any, cron: str, version_id: str, submission: Submission) -> bool:
    """Compare; the server fills in a service account and a pipeline root where none was given."""
    trigger = run.trigger.cron_schedule.cron if run.trigger and run.trigger.cron_schedule else ""
    version = run.pipeline_version_reference.pipeline_version_id if run.pipeline_version_reference else ""
    config = run.runtime_config
    return (
        str(run.status) != "DISABLED"
        and (trigger, version) == (cron, version_id)
        and _canonical((config.parameters if config else None) or {}) == _canonical(submission.arguments)
        and submission.service_account in ("", run.service_account)
        and submission.pipeline_root in ("", config.pipeline_root if config else None)
    )


def _canonical(arguments: dict[str, Any]) -> str:
    """Return arguments as text; the server turns whole numbers into floats."""
    return json.dumps(json.loads(json.dumps(arguments), parse_int=float), sort_keys=True)
