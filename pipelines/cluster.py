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
HOW_TO_LOG_IN = "log in: --token-file, KFP_TOKEN, KFP_COOKIE or --kube-context"


class LostConnection(UserError):
    """The server did not answer; asking again may help."""


@dataclass(frozen=True)
class Connection:
    """How to reach a server.

    Attributes:
        host: Its URL; empty inside the cluster, or to go by the kube context.
        namespace: Profile in a multi-user installation; empty otherwise.
        token: Bearer token.
        token_file: File that holds one, read again when it expires.
        cookie: Cookie of a login page, such as ``authservice_session=...``.
        kube_context: Context of the kubeconfig whose API server forwards to the server.
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
        return self.host or (f"kube context {self.kube_context}" if self.kube_context else "the cluster")


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

    def call(self, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Call a method of ``client`` and return its answer.

        Raises:
            LostConnection: There was no answer, or the server has a problem of its own (5xx).
            UserError: The server refuses.
        """
        with translated(self.connection), contextlib.redirect_stdout(io.StringIO()):  # it prints links as it likes
            return function(*arguments, **options)

    def experiment(self, name: str) -> str:
        """Return the id of an experiment, making it if there is none of this name."""
        found = self.call(self.client.create_experiment, name, namespace=self.connection.namespace or None)
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
        """Return the address of a run in the dashboard."""
        base = self.connection.ui_host or self.connection.host
        if base and "://" not in base:
            base = f"https://{base}"
        return f"{base.rstrip('/')}/#/runs/details/{run_id}"

    def _connect(self) -> "kfp.Client":
        connection = self.connection
        for name, path in (("--token-file", connection.token_file), ("--ca-file", connection.ca_file)):
            if path and not path.is_file():
                raise UserError(f"{name} {path}: there is no such file")
        if connection.host and not re.fullmatch(r"(https?://)?[\w.-]+(:\d+)?(/\S*)?", connection.host):
            raise UserError(
                f"--host {connection.host!r}: is not an address such as https://kubeflow.example.com/pipeline"
            )
        if not connection.host and not connection.kube_context and "KUBERNETES_SERVICE_HOST" not in os.environ:
            raise UserError("no server: set --host (or KFP_ENDPOINT), or --kube-context for a port of the API server")
        if connection.kube_context:
            _require_context(connection.kube_context)
        import kfp
        from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials

        class Client(kfp.Client):
            def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
                """Ask once: kfp's own asks five times and prints a traceback each time."""
                return self._healthz_api.healthz_service_get_healthz()

        credentials = (
            ServiceAccountTokenVolumeCredentials(str(connection.token_file)) if connection.token_file else None
        )
        with translated(connection), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Client(
                host=connection.host or None,
                namespace=connection.namespace or "kubeflow",
                existing_token=connection.token or None,
                credentials=credentials,
                cookies=connection.cookie or None,
                kube_context=connection.kube_context or None,
                ssl_ca_cert=str(connection.ca_file) if connection.ca_file else None,
                ui_host=connection.ui_host or None,
            )


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
        LostConnection: There was no answer, or the server has a problem of its own (5xx).
        UserError: The server refuses.
    """
    from kfp_server_api.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    where = connection.address
    try:
        yield
    except ApiException as error:
        reason = _reason(error)
        if error.status == 401:
            raise UserError(f"{where}: does not know you (401 {reason}); {HOW_TO_LOG_IN}") from error
        if error.status == 403:
            namespace = f" in namespace {connection.namespace}" if connection.namespace else ""
            raise UserError(
                f"{where}: you may not do that{namespace} (403 {reason}); ask for the role kubeflow-edit there"
            ) from error
        if error.status and error.status < 500:
            raise UserError(f"{where}: {error.status} {reason}") from error
        raise LostConnection(f"{where}: the server has a problem ({error.status} {reason}); try again") from error
    except HTTPError as error:
        reason = getattr(error, "reason", None) or error
        raise LostConnection(
            f"{where}: cannot be reached ({_short(str(reason))}); check --host and the network"
        ) from error
    except (OSError, ValueError) as error:
        raise UserError(f"{where}: {_short(str(error))}; check --host and the credentials") from error


def _reason(error: Any) -> str:
    """Return what the server says, without the trace of its source that it adds."""
    body = error.body or ""
    with contextlib.suppress(ValueError, TypeError, AttributeError):
        answer = json.loads(body)
        body = answer.get("error_message") or answer.get("message") or answer.get("error") or body
    return _short(str(body if body and "<" not in str(body)[:1] else error.reason or "no reason given"))


def _short(text: str, length: int = 300) -> str:
    text = " ".join(re.sub(r"<[^>]*object at 0x[0-9a-f]+>:? ?", "", text).split())
    return text if len(text) <= length else f"{text[:length]}..."
