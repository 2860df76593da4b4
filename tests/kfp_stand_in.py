"""A stand-in for the API server of Kubeflow Pipelines 2.17, for tests without a cluster.

It speaks HTTP, checks every request body against the models of kfp-server-api and every pipeline against the protos of
kfp-pipeline-spec, refuses what the real server refuses, and plays a scripted course for each run. It runs no pipeline.
A run's details are the nodes of Argo, as the real server passes them on: without a word on why one failed or waits. It
is for Kubernetes to say that: `pods_stand_in`, behind the same address, as is the way through Kubernetes to the server.
"""

import email.parser
import email.policy
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp_server_api
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as protos
from pods_stand_in import Task, log_of, nodes, pod_list

API = "/apis/v2beta1"
KUBERNETES = "/api/v1/namespaces/kubeflow"
PROXY = f"{KUBERNETES}/services/ml-pipeline:http/proxy"
INT64 = ("interval_second", "max_concurrency")  # JSON may hold them as text or as number
PLAIN_TYPES = {"str": str, "int": int, "bool": bool}
JSON_TYPES = {
    "STRING": (str,),
    "NUMBER_INTEGER": (int, float),
    "NUMBER_DOUBLE": (int, float),
    "BOOLEAN": (bool,),
    "LIST": (list,),
    "STRUCT": (dict,),
}


@dataclass
class Moment:
    """What a run looks like at one poll."""

    state: str
    tasks: list[Task] | None = None  # None: the server does not say yet
    error: str = ""


@dataclass
class Behaviour:
    """How the server behaves.

    Attributes:
        course: What each poll of a run sees; the last moment stays.
        token: Bearer token that is asked for.
        cookie: Cookie that is asked for.
        multi_user: Whether there is a namespace for each user.
        namespaces: Those that may be used in multi-user mode.
        login_page: Send everybody to a page.
        archived: Names of experiments that are archived.
        service_account: What runs and recurring runs get that name none.
        forwarded: Answer only to those who come through Kubernetes.
        faults: Path pattern to what goes wrong there: a status, ``drop`` (no answer), ``cut`` (half of one), ``login``
            (sent to a login page) or seconds of delay; and how many times.
    """

    course: list[Moment] = field(
        default_factory=lambda: [Moment("PENDING"), Moment("RUNNING", []), Moment("SUCCEEDED", [])]
    )
    token: str = ""
    cookie: str = ""
    multi_user: bool = False
    namespaces: tuple[str, ...] = ()
    login_page: bool = False
    archived: tuple[str, ...] = ()
    service_account: str = "pipeline-runner"
    forwarded: bool = False
    faults: dict[str, tuple[int | str | float, int]] = field(default_factory=dict)


class Refused(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class StandIn(ThreadingHTTPServer):
    """The server and its memory."""

    daemon_threads = True

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behaviour = behaviour
        self.lock = threading.Lock()
        self.pipelines: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, dict[str, Any]] = {}
        self.experiments: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.shown: dict[str, Moment] = {}
        self.recurring_runs: dict[str, dict[str, Any]] = {}
        self.polls: dict[str, int] = {}
        self.requests: list[str] = []
        for name in behaviour.archived:
            _kept(self.experiments, {"experiment_id": _new_id(), "display_name": name, "storage_state": "ARCHIVED"})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about clients that went away."""

    def healthz(self, **_: Any) -> dict[str, Any]:
        return {"multi_user": self.behaviour.multi_user, "commit_sha": "stand-in", "pipeline_store": "database"}

    def list_experiments(self, query: dict[str, str], **_: Any) -> dict[str, Any]:
        self._check_namespace(query.get("namespace", ""))
        return {"experiments": _filtered(self.experiments, query)}

    def create_experiment(self, body: dict[str, Any], **_: Any) -> dict[str, Any]:
        check_body(body, "V2beta1Experiment")
        self._check_namespace(body.get("namespace", ""))
        return _kept(self.experiments, {"experiment_id": _new_id(), "storage_state": "AVAILABLE", **body})

    def list_pipelines(self, query: dict[str, str], **_: Any) -> dict[str, Any]:
        self._check_namespace(query.get("namespace", ""))
        return {"pipelines": _filtered(self.pipelines, query)}

    def create_pipeline(self, body: dict[str, Any], **_: Any) -> dict[str, Any]:
        check_body(body, "V2beta1Pipeline")
        self._check_namespace(body.get("namespace", ""))
        if any(pipeline["display_name"] == body["display_name"] for pipeline in self.pipelines.values()):
            raise Refused(409, "Failed to create a pipeline: already exists")
        return _kept(self.pipelines, {"pipeline_id": _new_id(), **body})

    def upload_pipeline(self, query: dict[str, str], file: str, **_: Any) -> dict[str, Any]:
        spec = parse_pipeline(file)
        if any(pipeline["display_name"] == query["name"] for pipeline in self.pipelines.values()):
            raise Refused(409, "Failed to create a pipeline and a pipeline version: already exists")
        made = _kept(self.pipelines, {"pipeline_id": _new_id(), "display_name": query["name"]})
        self._add_version(made["pipeline_id"], query["name"], spec)
        return made

    def upload_version(self, query: dict[str, str], file: str, **_: Any) -> dict[str, Any]:
        spec = parse_pipeline(file)
        if query.get("pipelineid") not in self.pipelines:
            raise Refused(404, "Pipeline not found")
        if any(version["display_name"] == query["name"] for version in self._versions_of(query["pipelineid"])):
            raise Refused(409, "Failed to create a pipeline version: already exists")
        return self._add_version(query["pipelineid"], query["name"], spec)

    def list_versions(self, identifier: str, query: dict[str, str], **_: Any) -> dict[str, Any]:
        versions = {version["pipeline_version_id"]: version for version in self._versions_of(identifier)}
        return {"pipeline_versions": _filtered(versions, query)}

    def create_run(self, body: dict[str, Any], **_: Any) -> dict[str, Any]:
        check_body(body, "V2beta1Run")
        self._check_job(body)
        run = {"run_id": _new_id(), "state": "PENDING", "created_at": _now(), **self._defaults(), **body}
        return _kept(self.runs, run)

    def get_run(self, identifier: str, **_: Any) -> dict[str, Any]:
        if identifier not in self.runs:
            raise Refused(404, f"run {identifier} not found")
        run, poll = self.runs[identifier], self.polls.get(identifier, 0)
        self.polls[identifier] = poll + 1
        moment = self.shown[identifier] = self.behaviour.course[min(poll, len(self.behaviour.course) - 1)]
        shown = {**run, "state": "CANCELED" if run.get("terminated") else moment.state}
        shown.pop("terminated", None)
        if moment.error:
            shown["error"] = {"code": 2, "message": moment.error}
        if moment.tasks is not None:
            shown["run_details"] = {"task_details": nodes(moment.tasks)}
        return shown

    def list_pods(self, query: dict[str, str], **_: Any) -> dict[str, Any]:
        run_id = query.get("labelSelector", "").removeprefix("pipeline/runid=")
        return pod_list((self.shown[run_id].tasks or []) if run_id in self.shown else [])

    def read_log(self, identifier: str, query: dict[str, str], **_: Any) -> str:
        if query.get("container") != "main":
            raise Refused(400, "a container name must be specified")
        return log_of(identifier, [task for moment in self.shown.values() for task in moment.tasks or ()])

    def terminate_run(self, identifier: str, **_: Any) -> dict[str, Any]:
        if identifier not in self.runs:
            raise Refused(404, f"run {identifier} not found")
        self.runs[identifier]["terminated"] = True
        return {}

    def list_recurring_runs(self, query: dict[str, str], **_: Any) -> dict[str, Any]:
        return {"recurringRuns": _filtered(self.recurring_runs, query)}

    def create_recurring_run(self, body: dict[str, Any], **_: Any) -> dict[str, Any]:
        check_body(body, "V2beta1RecurringRun")
        self._check_job(body)
        cron = (body.get("trigger", {}).get("cron_schedule") or {}).get("cron", "")
        if len(cron.split()) != 6:
            raise Refused(400, f"Schedule cron is not supported: {cron!r}")
        status = "ENABLED" if body.get("mode") == "ENABLE" else "DISABLED"
        return _kept(self.recurring_runs, {"recurring_run_id": _new_id(), "status": status, **self._defaults(), **body})

    def delete_recurring_run(self, identifier: str, **_: Any) -> dict[str, Any]:
        if self.recurring_runs.pop(identifier, None) is None:
            raise Refused(404, f"recurring run {identifier} not found")
        return {}

    def _add_version(self, pipeline_id: str, name: str, spec: list[dict[str, Any]]) -> dict[str, Any]:
        version = {"pipeline_id": pipeline_id, "pipeline_version_id": _new_id(), "display_name": name}
        documents = {"pipeline_spec": spec[0], **({"platform_spec": spec[1]} if len(spec) > 1 else {})}
        return _kept(self.versions, {**version, "pipeline_spec": documents}, key="pipeline_version_id")

    def _versions_of(self, pipeline_id: str) -> list[dict[str, Any]]:
        return [version for version in self.versions.values() if version["pipeline_id"] == pipeline_id]

    def _check_namespace(self, namespace: str) -> None:
        if self.behaviour.multi_user and namespace not in self.behaviour.namespaces:
            raise Refused(403, f"User is not authorized to access namespace {namespace!r}")
        if not self.behaviour.multi_user and namespace:
            raise Refused(400, "In single-user mode, a namespace cannot be specified")

    def _defaults(self) -> dict[str, Any]:
        return {"service_account": self.behaviour.service_account}

    def _check_job(self, body: dict[str, Any]) -> None:
        experiment = self.experiments.get(str(body.get("experiment_id")))
        if not experiment:
            raise Refused(404, "Experiment not found")
        if experiment.get("storage_state") == "ARCHIVED":
            raise Refused(400, "The experiment is archived")
        reference = str((body.get("pipeline_version_reference") or {}).get("pipeline_version_id"))
        documents = self.versions.get(reference, {}).get("pipeline_spec") or body.get("pipeline_spec")
        if not documents:
            raise Refused(404, "Pipeline version not found")
        spec = documents.get("pipeline_spec", documents)
        check_references(spec)
        check_arguments(spec, (body.get("runtime_config") or {}).get("parameters") or {})


ROUTES: list[tuple[str, str, str]] = [
    ("GET", "/healthz", "healthz"),
    ("GET", "/experiments", "list_experiments"),
    ("POST", "/experiments", "create_experiment"),
    ("GET", "/pipelines", "list_pipelines"),
    ("POST", "/pipelines", "create_pipeline"),
    ("POST", "/pipelines/upload", "upload_pipeline"),
    ("POST", "/pipelines/upload_version", "upload_version"),
    ("GET", "/pipelines/([^/]+)/versions", "list_versions"),
    ("POST", "/runs", "create_run"),
    ("GET", "/runs/([^/:]+)", "get_run"),
    ("POST", "/runs/([^/:]+):terminate", "terminate_run"),
    ("GET", "/recurringruns", "list_recurring_runs"),
    ("POST", "/recurringruns", "create_recurring_run"),
    ("DELETE", "/recurringruns/([^/:]+)", "delete_recurring_run"),
]
PODS = [("GET", "/pods", "list_pods"), ("GET", "/pods/([^/]+)/log", "read_log")]


class _Handler(BaseHTTPRequestHandler):
    server: StandIn  # type: ignore[assignment]

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_DELETE = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        content = self.rfile.read(length)
        server, path = self.server, urlsplit(self.path).path.removeprefix(PROXY)
        server.requests.append(f"{self.command} {path}")
        fault = self._fault(path)
        if fault == "drop":
            self.connection.close()
            return
        if isinstance(fault, float):
            time.sleep(fault)
        try:
            if path == "/login":
                return self._send(200, b"<html><form action=/login></form></html>", "text/html")
            if server.behaviour.login_page or fault == "login":
                return self._send(302, b"", "text/html", Location="/login")
            if isinstance(fault, int):
                raise Refused(fault, "a scripted fault")
            if server.behaviour.forwarded and not urlsplit(self.path).path.startswith(KUBERNETES):
                raise Refused(404, "the server could not find the requested resource")
            if not path.startswith(KUBERNETES):
                self._check_credentials()
            with server.lock:
                answer = self._route(path, content)
            kind = "text/plain" if isinstance(answer, str) else "application/json"
            encoded = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
            self._send(200, encoded, kind, cut=fault == "cut")
        except Refused as error:
            body = {"error": str(error), "code": 3, "message": str(error), "error_message": str(error)}
            self._send(error.status, json.dumps(body).encode(), "application/json")

    def _fault(self, path: str) -> int | str | float | None:
        faults = self.server.behaviour.faults
        for pattern, (fault, times) in list(faults.items()):
            if times and re.search(pattern, f"{self.command} {path}"):
                faults[pattern] = (fault, times - 1)
                return fault
        return None

    def _check_credentials(self) -> None:
        behaviour = self.server.behaviour
        if behaviour.token and self.headers.get("Authorization") != f"Bearer {behaviour.token}":
            raise Refused(401, "Request header error: there is no user identity header")
        if behaviour.cookie and self.headers.get("Cookie") != behaviour.cookie:
            raise Refused(401, "Request header error: there is no user identity header")

    def _route(self, path: str, content: bytes) -> dict[str, Any] | str:
        query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        routes = [(m, API + pattern, n) for m, pattern, n in ROUTES]
        for method, pattern, name in [*routes, *((m, KUBERNETES + pattern, n) for m, pattern, n in PODS)]:
            found = re.fullmatch(pattern, path)
            if found and method == self.command:
                options: dict[str, Any] = {"query": query}
                if found.groups():
                    options["identifier"] = found[1]
                if "upload" in name:
                    options["file"] = self._uploaded(content)
                elif content and method == "POST" and "terminate" not in name:
                    options["body"] = json.loads(content)
                handler: Callable[..., dict[str, Any]] = getattr(self.server, name)
                return handler(**options)
        raise Refused(404, f"no such path: {self.command} {path}")

    def _uploaded(self, content: bytes) -> str:
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + content)
        part = next(
            part
            for part in message.iter_parts()
            if part.get_param("name", header="content-disposition") == "uploadfile"
        )
        return bytes(part.get_payload(decode=True)).decode()  # type: ignore[arg-type]

    def _send(self, status: int, content: bytes, kind: str, cut: bool = False, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.close_connection = True


def check_body(value: Any, model: str) -> None:
    """Refuse a body that is not of a model of the API: unknown fields, wrong types."""
    kind = getattr(kfp_server_api, model)
    names = {json_name: name for name, json_name in kind.attribute_map.items()}
    if not isinstance(value, dict):
        raise Refused(400, f"{model}: is no object")
    for name, content in value.items():
        if name not in names:
            raise Refused(400, f'unknown field "{name}" in {model}')
        wanted = kind.openapi_types[names[name]]
        if hasattr(kfp_server_api, wanted) and getattr(kfp_server_api, wanted).openapi_types:
            check_body(content, wanted)
        elif name in INT64:
            if not str(content).isdigit():
                raise Refused(400, f"{model}.{name}: is no int64")
        elif wanted in PLAIN_TYPES and not isinstance(content, PLAIN_TYPES[wanted]):
            raise Refused(400, f"{model}.{name}: is no {wanted}")


def parse_pipeline(text: str) -> list[dict[str, Any]]:
    """Return the documents of an uploaded pipeline, or refuse it as the server does."""
    try:
        documents = [document for document in yaml.safe_load_all(text) if document]
        version = documents[0].get("schemaVersion")
        if version != "2.1.0":
            raise Refused(400, f"KFP only supports schema version 2.1.0, but the pipeline spec has version {version}")
        json_format.ParseDict(documents[0], protos.PipelineSpec())  # type: ignore[attr-defined]
        for document in documents[1:]:
            json_format.ParseDict(document, protos.PlatformSpec())  # type: ignore[attr-defined]
        if not documents[0]["pipelineInfo"]["name"] or not documents[0]["root"]:
            raise KeyError
    except (yaml.YAMLError, json_format.ParseError, LookupError, AttributeError) as error:
        raise Refused(400, "unknown template format") from error
    return documents


def check_references(spec: dict[str, Any]) -> None:
    """Refuse a pipeline whose tasks refer to components that are not there, as run creation does."""
    components = spec.get("components", {})
    for component in (spec["root"], *components.values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            if task["componentRef"]["name"] not in components:
                raise Refused(500, "cannot find component ref")


def check_arguments(spec: dict[str, Any], values: dict[str, Any]) -> None:
    """Refuse unknown, missing and mistyped arguments."""
    wanted = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    unknown = [name for name in values if name not in wanted]
    if unknown:
        raise Refused(400, f"parameter(s) provided are not required by pipeline: {', '.join(unknown)}")
    for name, parameter in wanted.items():
        if name not in values:
            if "defaultValue" not in parameter and not parameter.get("isOptional"):
                raise Refused(400, f"input parameter {name} is required and has no value")
            continue
        value, kind = values[name], parameter["parameterType"]
        boolean = isinstance(value, bool) and kind != "BOOLEAN"
        if not isinstance(value, JSON_TYPES[kind]) or boolean or (kind == "NUMBER_INTEGER" and value % 1):
            raise Refused(400, f"input parameter {name} requires type {kind}, but the value is {value!r}")


def _filtered(items: dict[str, dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
    predicates = json.loads(query["filter"])["predicates"] if query.get("filter") else []
    wanted = {predicate["key"]: predicate.get("stringValue", predicate.get("string_value")) for predicate in predicates}
    return [item for item in items.values() if all(item.get(key) == value for key, value in wanted.items())]


def _kept(items: dict[str, dict[str, Any]], item: dict[str, Any], key: str = "") -> dict[str, Any]:
    key = key or next(name for name in item if name.endswith("_id"))
    items[item[key]] = item
    return item


def _new_id() -> str:
    return str(uuid.uuid4())


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


@contextmanager
def stand_in(behaviour: Behaviour | None = None) -> Iterator[StandIn]:
    """Run a stand-in until the block ends."""
    server = StandIn(behaviour or Behaviour())
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
