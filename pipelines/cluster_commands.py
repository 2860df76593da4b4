"""The commands that talk to a cluster: ``kfp-textclf submit`` and ``kfp-textclf schedule``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kfp_textclf.components.common.errors import UserError

if TYPE_CHECKING:
    from kfp_textclf.pipelines.cluster import Connection
    from kfp_textclf.pipelines.submission import Submission

Host = Annotated[str, typer.Option(envvar=["KFP_ENDPOINT", "KF_PIPELINES_ENDPOINT"], help="URL of the KFP server.")]
Namespace = Annotated[str, typer.Option(envvar="KFP_NAMESPACE", help="Your namespace in a multi-user installation.")]
Token = Annotated[str, typer.Option(envvar="KFP_TOKEN", help="Bearer token; better in the environment.")]
TokenFile = Annotated[Path | None, typer.Option(envvar="KFP_TOKEN_FILE", help="File that holds a bearer token.")]
Cookie = Annotated[str, typer.Option(envvar="KFP_COOKIE", help="Cookie of the login page, authservice_session=...")]
KubeContext = Annotated[str, typer.Option(help="Reach the server through the API server of this kube context.")]
CaFile = Annotated[Path | None, typer.Option(envvar="KFP_CA_FILE", help="Certificate authorities to trust.")]
UiHost = Annotated[str, typer.Option(envvar="KF_PIPELINES_UI_ENDPOINT", help="URL of the dashboard, for links.")]
Pipeline = Annotated[Path | None, typer.Option(help="Compiled pipeline; the training pipeline when not given.")]
ParamsFile = Annotated[Path, typer.Option("--params", help="Parameter file.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Override a parameter: train.epochs=2, gpu_count=0. Repeatable.")
]
Experiment = Annotated[str, typer.Option(help="Experiment that lists the run.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Run every step, those in nested pipelines too.")]
ServiceAccount = Annotated[
    str, typer.Option(envvar="KFP_SERVICE_ACCOUNT", help="Kubernetes service account of the pods.")
]
PipelineRoot = Annotated[str, typer.Option(help="Where artifacts go, s3://bucket/prefix.")]
Push = Annotated[bool, typer.Option("--push", help="First copy to the store what it lacks of the data set.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be sent, and send nothing.")]
AllowDirty = Annotated[bool, typer.Option("--allow-dirty", help="Submit although the checkout has changes.")]
Runs = Annotated[Path, typer.Option(help="Where results are kept.")]


def submit(
    host: Host = "",
    namespace: Namespace = "",
    token: Token = "",
    token_file: TokenFile = None,
    cookie: Cookie = "",
    kube_context: KubeContext = "",
    ca_file: CaFile = None,
    ui_host: UiHost = "",
    pipeline: Pipeline = None,
    params: ParamsFile = Path("params.yaml"),
    settings: Settings = None,
    experiment: Experiment = "kfp-textclf",
    run_name: Annotated[str, typer.Option(help="Name of the run.")] = "",
    no_cache: NoCache = False,
    service_account: ServiceAccount = "",
    pipeline_root: PipelineRoot = "",
    wait: Annotated[bool, typer.Option(help="Follow the run to its end.")] = True,
    timeout: Annotated[float, typer.Option(min=0, help="Minutes to wait; 0 for ever.")] = 360.0,
    poll: Annotated[float, typer.Option(min=0.01, help="Seconds between questions.")] = 5.0,
    dry_run: DryRun = False,
    allow_dirty: AllowDirty = False,
    push: Push = False,
    preflight: Annotated[bool, typer.Option("--preflight", help="First look from here at all that it needs.")] = False,
    runs: Runs = Path("runs"),
) -> None:
    """Run a compiled pipeline on a cluster; exit codes: 0 succeeded, 1 failed, 2 refused, 3 cancelled or timed out."""
    from kfp_textclf.pipelines.cluster_run import run_on_cluster

    connection = _connection(host, namespace, token, token_file, cookie, kube_context, ca_file, ui_host)
    if push and not dry_run:
        _push_data(params, settings or [])
    submission = _submission(
        pipeline, params, settings, experiment, run_name, no_cache, service_account, pipeline_root, allow_dirty, runs
    )
    if preflight:
        from kfp_textclf.pipelines import submission as submissions

        submissions.preflight(submission.package, submission.arguments)
    if dry_run:
        typer.echo(submission.as_json())
        return
    code = run_on_cluster(connection, submission, runs, wait=wait, timeout=timeout * 60, poll=poll)
    raise typer.Exit(code)


def schedule(
    name: Annotated[str, typer.Argument(help="Name of the recurring run; an existing one is replaced.")],
    cron: Annotated[str, typer.Option(help='When: "0 3 * * *" (five fields) or six, seconds first.')] = "",
    delete: Annotated[bool, typer.Option("--delete", help="Remove the recurring run.")] = False,
    host: Host = "",
    namespace: Namespace = "",
    token: Token = "",
    token_file: TokenFile = None,
    cookie: Cookie = "",
    kube_context: KubeContext = "",
    ca_file: CaFile = None,
    ui_host: UiHost = "",
    pipeline: Pipeline = None,
    params: ParamsFile = Path("params.yaml"),
    settings: Settings = None,
    experiment: Experiment = "kfp-textclf",
    no_cache: NoCache = False,
    service_account: ServiceAccount = "",
    pipeline_root: PipelineRoot = "",
    dry_run: DryRun = False,
    allow_dirty: AllowDirty = False,
    runs: Runs = Path("runs"),
) -> None:
    """Make or update a recurring run; saying the same twice changes nothing."""
    from kfp_textclf.pipelines.cluster import Cluster
    from kfp_textclf.pipelines.scheduling import remove_schedule, set_schedule

    cluster_at = _connection(host, namespace, token, token_file, cookie, kube_context, ca_file, ui_host)
    if delete:
        typer.echo(remove_schedule(Cluster(cluster_at), name, experiment))
        return
    if not cron:
        raise UserError('--cron: is missing; say when to run, such as --cron "0 3 * * *"')
    submission = _submission(
        pipeline, params, settings, experiment, name, no_cache, service_account, pipeline_root, allow_dirty, runs
    )
    if dry_run:
        typer.echo(submission.as_json())
        return
    typer.echo(set_schedule(Cluster(cluster_at), submission, cron))


def _connection(
    host: str,
    namespace: str,
    token: str,
    token_file: Path | None,
    cookie: str,
    kube_context: str,
    ca_file: Path | None,
    ui_host: str,
) -> "Connection":
    from kfp_textclf.pipelines.cluster import Connection

    return Connection(host, namespace, token, token_file, cookie, kube_context, ca_file, ui_host)


def _push_data(params_file: Path, settings: list[str]) -> None:
    from kfp_textclf.pipelines.data_push import push_dataset
    from kfp_textclf.pipelines.params import load_params, parameter_names

    known = [setting for setting in settings if setting.partition("=")[0].strip() in parameter_names()]
    params = load_params(params_file, known)
    if not params.store:
        raise UserError("--push: there is no store to copy the data to; set store=s3://bucket/prefix")
    for path in push_dataset(params, params_file.resolve().parent, params.store):
        typer.echo(f"{path}: copied to {params.store}", err=True)


def _submission(
    pipeline: Path | None,
    params: Path,
    settings: list[str] | None,
    experiment: str,
    run_name: str,
    no_cache: bool,
    service_account: str,
    pipeline_root: str,
    allow_dirty: bool,
    runs: Path,
) -> "Submission":
    from kfp_textclf.pipelines import submission as submissions
    from kfp_textclf.pipelines.package import Package
    from kfp_textclf.pipelines.sources import PIPELINES

    package = Package.load(pipeline or PIPELINES / "training.yaml")
    arguments = submissions.prepare_arguments(package, params, settings or [], runs)
    submissions.refuse_local_places(arguments)
    if not allow_dirty and "dataset_pin" in package.parameters:
        submissions.refuse_dirty_tree(params.resolve().parent)
        submissions.refuse_unpushed_data(arguments["dataset_pin"])
    return submissions.Submission(
        package.without_caching() if no_cache else package,
        arguments,
        experiment,
        run_name or submissions.default_run_name(package, arguments),
        service_account,
        pipeline_root,
    )
