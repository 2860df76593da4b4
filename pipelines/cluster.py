"""Talking to a Kubeflow Pipelines server: address, credentials, and one clear line for whatever it answers."""

import contextlib
import io
import json
import os
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kfp_textclf.components.common.errors import UserError

if TYPE_CHECKING:
    import kfp

T = TypeVar("T")
TIMEOUT = (10.0, 120.0)  # seconds to connect, and between two parts of an answer
IN_CLUSTER = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
REFUSALS = {
    400: "refuses; correct what it names",
    404: "has no such thing; check that --host is the pipeline server, often .../pipeline",
    409: "somebody else has just created it; try again",
}
BUSY = (408, 429)  # statuses below 500 after which asking again may help
HOW_TO_LOG_IN = "log in: --token-file, KFP_TOKEN, KFP_COOKIE or --kube-context"


class LostConnection(UserError):
    """The server did not answer, or has no time; asking again may help."""


@dataclass(frozen=True)
class Connection:
    """How to reach a server.

    Attributes:
        host: Its URL; empty inside a pod of the cluster, or to go by the kube context.
        namespace: Profile in a multi-user installation; empty otherwise.
        token: Bearer token.
        token_file: File that holds one, read again when it expires.
        cookie: Cookie of a login page, such as ``authservice_session=...``.
        kube_context: Context of the kubeconfig whose API server forwards to the server, and knows the runs' pods.
        ca_file: Certificate authorities to trust, PEM.
        ui_host: URL of the dashboard, if it differs from ``host``.
    """

    host: str = ""
    namespace: str = ""
    token: str = ""
    token_file: Path | None = None
    cookie: str = ""
    kube_context: str = ""
    ca_file: Path | None = None
    ui_host: str = ""

    @property
    def address(self) -> str:
        """What to call the server in messages."""
        return self.host or (f"kube context {self.kube_context}" if self.kube_context else IN_CLUSTER)

    @property
    def dashboard(self) -> str:
        """URL of the dashboard; empty where it is not known."""
        base = self.ui_host or self.host
        return (base if "://" in base or not base else f"https://{base}").rstrip("/")


class Cluster:
    """A server that has answered."""

    def __init__(self, connection: Connection) -> None:
        """Connect, and make sure that it is a Kubeflow Pipelines server.

        Raises:
            UserError: There is no server, or it refuses.
        """
        self.connection = connection
        self.client = self._connect()
        health = self.call(self.client.get_kfp_healthz)
        if getattr(health, "multi_user", None) is None:
            raise UserError(f"{connection.address}: answers with a page, not as Kubeflow Pipelines; {HOW_TO_LOG_IN}")
        if health.multi_user and not connection.namespace:
            raise UserError(f"{connection.address}: has a namespace for each user; name yours: --namespace")
        if connection.namespace and not health.multi_user:
            raise UserError(f"{connection.address}: has no namespaces for users; leave out --namespace (KFP_NAMESPACE)")

    def call(self, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Call a method of ``client`` and return its answer.

        Raises:
            LostConnection: There was no answer, or the server is busy or has a problem of its own (5xx).
            UserError: The server refuses.
        """
        with translated(self.connection), contextlib.redirect_stdout(io.StringIO()):  # it prints links as it likes
            return function(*arguments, **options)

    def known_experiment(self, name: str) -> str:
        """Return the id of an experiment, archived or not; empty if there is none of this name."""
        namespace = self.connection.namespace or None
        found = self.call(self.client.list_experiments, filter=named(name), namespace=namespace).experiments or ()
        return next((item.experiment_id for item in found if item.display_name == name), "")

    def experiment(self, name: str) -> str:
        """Return the id of an experiment, making it if there is none of this name.

        Raises:
            UserError: It is archived, or the server refuses.
        """
        found = self.call(self.client.create_experiment, name, namespace=self.connection.namespace or None)
        if str(found.storage_state) == "ARCHIVED":
            raise UserError(
                f"experiment {name}: is archived; restore it in the dashboard, or take another: --experiment"
            )
        return self.identified(found.experiment_id)

    def identified(self, identifier: str | None) -> str:
        """Return an id that the server gave.

        Raises:
            UserError: It gave none: what answers is a login page, to which everything looks like success.
        """
        if not identifier:
            raise UserError(f"{self.connection.address}: answers without an id, as login pages do; {HOW_TO_LOG_IN}")
        return identifier

    def run_link(self, run_id: str) -> str:
        """Return the address of a run in the dashboard, or where to look for it there."""
        base = self.connection.dashboard
        return f"{base}/#/runs/details/{run_id}" if base else f"run {run_id} in the dashboard"

    def _connect(self) -> "kfp.Client":
        connection = self.connection
        for name, path in (("--token-file", connection.token_file), ("--ca-file", connection.ca_file)):
            if path and not (path.is_file() and os.access(path, os.R_OK)):
                raise UserError(f"{name} {path}: {'cannot be read' if path.is_file() else 'there is no such file'}")
        if connection.host and not re.fullmatch(r"(https?://)?[\w.-]+(:\d+)?(/\S*)?", connection.host):
            raise UserError(
                f"--host {connection.host!r}: is not an address such as https://kubeflow.example.com/pipeline"
            )
        in_cluster = "KUBERNETES_SERVICE_HOST" in os.environ and not connection.kube_context
        if not connection.host and not connection.kube_context and not in_cluster:
            raise UserError("no server: set --host (or KFP_ENDPOINT), or --kube-context for a port of the API server")
        if connection.kube_context:
            _require_context(connection.kube_context)
        forwarded = bool(connection.kube_context and not connection.host)  # with the login of the kubeconfig
        with translated(connection), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            client = _client_class()(
                host=connection.host or (IN_CLUSTER if in_cluster else None),
                existing_token=(connection.token if not forwarded else "") or None,
                credentials=None if forwarded else _credentials(connection, in_cluster),
                cookies=connection.cookie or None,
                kube_context=connection.kube_context or None,
                ssl_ca_cert=str(connection.ca_file) if connection.ca_file else None,
            )
        client._context_setting["namespace"] = connection.namespace
        client._existing_config.host = client._existing_config.host.rstrip("/")
        if forwarded:
            _keep_host(client._existing_config)
        rest: Any = client._run_api.api_client.rest_client
        rest.request = _with_timeout(rest.request)
        return client


def named(name: str) -> str:
    """Return the filter of a list to what has a name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _with_timeout(request: Callable[..., T]) -> Callable[..., T]:
    """Give each request of the client an end; its own have none."""

    def limited(*arguments: Any, **options: Any) -> T:
        return request(*arguments, **{**options, "_request_timeout": TIMEOUT})

    return limited


def _keep_host(configuration: Any) -> None:
    """Let a login be renewed before each request, but not the address: it would become that of the API server alone."""
    renew, host = configuration.refresh_api_key_hook, configuration.host

    def renewed(configuration: Any) -> None:
        renew(configuration)  # sets itself as the hook, too
        configuration.host, configuration.refresh_api_key_hook = host, renewed

    if renew:
        configuration.refresh_api_key_hook = renewed


def _client_class() -> "type[kfp.Client]":
    import kfp

    class Client(kfp.Client):
        """``kfp.Client`` without what it remembers in the home directory, and without its five tries.

        Its own ``namespace`` is that of the server in one place and that of the user in another.
        """

        def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
            return self._healthz_api.healthz_service_get_healthz()

        def _load_context_setting_or_default(self) -> None:
            self._context_setting = {"namespace": "not asked for yet"}

    return Client


def _credentials(connection: Connection, in_cluster: bool) -> Any:
    """Return what reads a token from a file: the one given, or that which Kubernetes projects into a pod."""
    from kfp.client import KF_PIPELINES_SA_TOKEN_ENV, KF_PIPELINES_SA_TOKEN_PATH
    from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials

    projected = os.environ.get(KF_PIPELINES_SA_TOKEN_ENV, KF_PIPELINES_SA_TOKEN_PATH)
    file = connection.token_file or (Path(projected) if in_cluster and Path(projected).is_file() else None)
    return ServiceAccountTokenVolumeCredentials(str(file)) if file and not connection.token else None


def _require_context(name: str) -> None:
    from kubernetes.config import ConfigException, list_kube_config_contexts

    try:
        known: Any = list_kube_config_contexts()[0]
    except (ConfigException, OSError) as error:
        raise UserError(f"--kube-context {name}: no kubeconfig can be read ({_short(str(error))})") from error
    contexts = [context["name"] for context in known]
    if name not in contexts:
        raise UserError(f"--kube-context {name}: is not in the kubeconfig ({', '.join(contexts)})")


@contextlib.contextmanager
def translated(connection: Connection) -> Iterator[None]:
    """Turn what the client raises in the block into one line.

    Raises:
        LostConnection: There was no answer, or the server is busy or has a problem of its own (5xx).
        UserError: The server refuses.
    """
    from kfp_server_api.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    where = connection.address
    try:
        yield
    except ApiException as error:
        reason = _reason(error)
        if error.status == 401 or (error.status == 403 and _is_page(error.body)):
            raise UserError(f"{where}: does not know you ({error.status} {reason}); {HOW_TO_LOG_IN}") from error
        if error.status == 403:
            namespace = f" in namespace {connection.namespace}" if connection.namespace else ""
            raise UserError(
                f"{where}: you may not do that{namespace} (403 {reason}); ask for the role kubeflow-edit there"
            ) from error
        if error.status and error.status < 500 and error.status not in BUSY:
            raise UserError(
                f"{where}: {REFUSALS.get(error.status, REFUSALS[400])} ({error.status} {reason})"
            ) from error
        raise LostConnection(
            f"{where}: the server is busy or has a problem ({error.status} {reason}); try again"
        ) from error
    except HTTPError as error:
        reason = str(getattr(error, "reason", None) or (error.args[0] if error.args else error))
        untrusted = "CERTIFICATE_VERIFY_FAILED" in reason
        how = (
            "name the authority that signed its certificate: --ca-file" if untrusted else "check --host and the network"
        )
        raise LostConnection(f"{where}: cannot be reached ({_short(reason)}); {how}") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{where}: {_short(str(error))}; check --host and the credentials") from error


def _reason(error: Any) -> str:
    """Return what the server says, without the trace of its source that it adds."""
    body = error.body or ""
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        answer = json.loads(body)
        body = answer.get("error_message") or answer.get("message") or answer.get("error") or body
    return _short(str(body if body and not _is_page(body) else error.reason or "no reason given"))


def _is_page(body: Any) -> bool:
    return str(body or "").lstrip().startswith("<")


def _short(text: str, length: int = 300) -> str:
    text = " ".join(re.sub(r"<[^>]*object at 0x[0-9a-f]+>:? ?", "", text).split())
    return text if len(text) <= length else f"{text[:length]}..."
