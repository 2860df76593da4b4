"""``kfp-textclf submit``: a compiled pipeline and parameters become a run on a cluster."""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.dataset_pin import DatasetPin, check_pinned
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.objects import NotFound
from kfp_textclf.components.images import VERSION
from kfp_textclf.pipelines.cluster import Cluster, LostConnection, named
from kfp_textclf.pipelines.package import Package
from kfp_textclf.pipelines.params import load_params
from kfp_textclf.pipelines.training_run import pipeline_arguments


@dataclass(frozen=True)
class Submission:
    """What to run.

    Attributes:
        package: The pipeline.
        arguments: Values of its parameters, of the types that it declares.
        experiment: Where the run is listed.
        run_name: Its name.
        service_account: Kubernetes service account of the pods; the installation's own when empty.
        pipeline_root: Where artifacts go; the installation's own place when empty.
    """

    package: Package
    arguments: dict[str, Any]
    experiment: str
    run_name: str
    service_account: str = ""
    pipeline_root: str = ""

    def as_json(self) -> str:
        """Return what would be sent."""
        shown = {
            "pipeline": self.package.name,
            "version": self.version,
            "experiment": self.experiment,
            "run_name": self.run_name,
            "service_account": self.service_account,
            "pipeline_root": self.pipeline_root,
            "arguments": self.arguments,
        }
        return json.dumps(shown, indent=2, sort_keys=True, ensure_ascii=False)

    @property
    def version(self) -> str:
        """Name of the uploaded version: the same for the same content."""
        return f"{VERSION}-{self.package.version}"


def prepare_arguments(package: Package, params_file: Path, settings: Sequence[str], runs: Path) -> dict[str, Any]:
    """Return the arguments of a run.

    A pipeline with a ``dataset_pin`` takes its values from ``params.yaml``, whose dotted names ``settings`` override; a
    setting that names a parameter of the pipeline goes to it directly.

    Args:
        package: The pipeline.
        params_file: Parameter file.
        settings: ``name=value``.
        runs: Where local runs are kept.

    Raises:
        UserError: A setting or a parameter is unknown or of the wrong type.
    """
    direct = dict(_split(setting) for setting in settings if _split(setting)[0] in package.parameters)
    if "dataset_pin" not in package.parameters:
        rest = dict(_split(setting) for setting in settings)
        return package.arguments(rest)
    dotted = [setting for setting in settings if _split(setting)[0] not in direct]
    params = load_params(params_file, dotted)
    pipeline = "sweep" if "candidates" in package.parameters else "training"
    values = pipeline_arguments(params, params_file.resolve().parent, runs, pipeline, on_cluster=True)
    known = {name: value for name, value in values.items() if name in package.parameters}
    return package.arguments({**known, **direct})


def _split(setting: str) -> tuple[str, str]:
    name, separator, value = setting.partition("=")
    if not separator or not name.strip():
        raise UserError(f"{setting!r}: is not of the form name=value, such as train.epochs=2")
    return name.strip(), value


def refuse_local_places(arguments: dict[str, Any]) -> None:
    """Refuse what pods of a cluster cannot reach.

    Raises:
        UserError: A URI among the arguments is a ``file://`` of this machine.
    """
    pin = arguments.get("dataset_pin") or {}
    uris = {name: value for name, value in arguments.items() if isinstance(value, str)}
    uris["store"] = str(pin.get("store", ""))
    for entry in pin.get("files", ()):
        uris.setdefault("store", str(entry.get("uri") or ""))
        if str(entry.get("uri") or "").startswith("file://"):
            uris["store"] = str(entry["uri"])
    for name, uri in uris.items():
        if uri.startswith("file://"):
            raise UserError(f"{name}={uri!r}: is on this machine, where no pod can read it; set it to an s3:// URI")


def refuse_dirty_tree(root: Path, names: Sequence[str] = (".",)) -> None:
    """Refuse to submit what no commit holds.

    Args:
        root: A directory of the checkout.
        names: What is looked at.

    Raises:
        UserError: There are changes without a commit; outside a checkout nothing is refused.
    """
    command = ["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no", "--", *names]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    changed = [line[3:] for line in done.stdout.splitlines()]
    if done.returncode == 0 and changed:
        shown = ", ".join(changed[:3]) + (f" and {len(changed) - 3} more" if len(changed) > 3 else "")
        raise UserError(f"{shown}: changed since the last commit; commit it, or submit with --allow-dirty")


def refuse_unpushed_data(pin: dict[str, Any]) -> None:
    """Refuse a pin whose bytes are not in its store.

    Raises:
        UserError: A file is missing there.
    """
    parsed = DatasetPin.parse(pin)
    for file in parsed.files:
        try:
            check_pinned(file)
        except NotFound as error:
            raise UserError(f"{error}; push the data: dvc push, or submit with --push") from error


def preflight(package: Package, arguments: dict[str, Any]) -> None:
    """Look from here at what the run will need, as the pipeline's first step does from there.

    Raises:
        UserError: Something is wrong.
    """
    from kfp_textclf.components import preflight_run
    from kfp_textclf.components.preflight import stage

    if "preflight-run" not in package.steps:
        raise UserError(f"pipeline {package.name}: has no step preflight-run; submit it without --preflight")
    wanted = preflight_run.component_spec.inputs or {}
    with contextlib.redirect_stdout(sys.stderr):
        stage.preflight(**{name: arguments[name] for name in wanted if name in arguments})


def submit(cluster: Cluster, submission: Submission) -> str:
    """Upload the pipeline if the server lacks this content, start a run, and return its id.

    Raises:
        UserError: The server refuses.
    """
    pipeline_id, version_id = upload(cluster, submission.package, submission.version)
    experiment_id = cluster.experiment(submission.experiment)
    try:
        run = cluster.call(
            cluster.client.run_pipeline,
            experiment_id=experiment_id,
            job_name=submission.run_name,
            pipeline_id=pipeline_id,
            version_id=version_id,
            params=submission.arguments,
            pipeline_root=submission.pipeline_root or None,
            service_account=submission.service_account or None,
        )
    except LostConnection as error:
        raise UserError(f"{error}; it may have started: look for {submission.run_name} in the dashboard") from error
    return cluster.identified(run.run_id)


def upload(cluster: Cluster, package: Package, version: str) -> tuple[str, str]:
    """Return the server's ids of a pipeline and of the version with this content, uploading what it lacks."""
    pipeline_id = cluster.identified(
        _found_or_made(lambda: _pipeline_id(cluster, package.name), lambda: _make_pipeline(cluster, package.name))
    )
    version_id = _found_or_made(
        lambda: _version_id(cluster, pipeline_id, version), lambda: _upload(cluster, pipeline_id, package, version)
    )
    return pipeline_id, cluster.identified(version_id)


def _make_pipeline(cluster: Cluster, name: str) -> str | None:
    """Make a pipeline without a version: an upload would add one that is named as the pipeline is."""
    from kfp_server_api import V2beta1Pipeline

    pipeline = V2beta1Pipeline(name=name, display_name=name, namespace=cluster.connection.namespace or None)
    create: Callable[..., Any] = cluster.client._pipelines_api.pipeline_service_create_pipeline
    return cluster.call(create, pipeline).pipeline_id


def _upload(cluster: Cluster, pipeline_id: str, package: Package, version: str) -> str | None:
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "pipeline.yaml"
        file.write_text(package.text, encoding="utf-8")
        made = cluster.call(cluster.client.upload_pipeline_version, str(file), version, pipeline_id=pipeline_id)
    return made.pipeline_version_id


def _found_or_made(find: Callable[[], str], make: Callable[[], str | None]) -> str | None:
    """Return what is there, or make it; one that appeared meanwhile is as good."""
    found = find()
    if found:
        return found
    try:
        return make()
    except UserError:
        found = find()
        if not found:
            raise
        return found


def _pipeline_id(cluster: Cluster, name: str) -> str:
    found = cluster.call(
        cluster.client.list_pipelines, filter=named(name), namespace=cluster.connection.namespace or None
    )
    return next((item.pipeline_id for item in found.pipelines or () if item.display_name == name), "")


def _version_id(cluster: Cluster, pipeline_id: str, version: str) -> str:
    found = cluster.call(cluster.client.list_pipeline_versions, pipeline_id, filter=named(version))
    versions = found.pipeline_versions or ()
    return next((item.pipeline_version_id for item in versions if item.display_name == version), "")


def default_run_name(package: Package, arguments: dict[str, Any]) -> str:
    """Return a name for a run: pipeline, data revision and time."""
    revision = str((arguments.get("dataset_pin") or {}).get("git_rev") or "")[:7]
    return "-".join(filter(None, (package.name, revision, time.strftime("%Y%m%d-%H%M%S", time.gmtime()))))


def say(text: str) -> None:
    """Print a line about what is going on."""
    print(text, file=sys.stderr, flush=True)
