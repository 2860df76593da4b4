"""``kfp-textclf submit`` and ``schedule`` as processes, against the stand-in of the server."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from kfp_stand_in import Behaviour, Moment, StandIn, Task, stand_in
from support import read

SUCCEEDED = Moment("SUCCEEDED", [Task("first-step", "SUCCEEDED"), Task("second-step", "SUCCEEDED")])
RUNNING = Moment("RUNNING", [Task("first-step", "RUNNING")])
Submit = Callable[..., SimpleNamespace]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled pipeline with parameters of every type and a nested step."""
    from kfp import compiler, dsl

    @dsl.component(base_image="python", packages_to_install=[], install_kfp_package=False)
    def first_step(count: int) -> str:
        return str(count)

    @dsl.component(base_image="python", packages_to_install=[], install_kfp_package=False)
    def second_step(text: str):
        print(text)

    @dsl.pipeline(name="example")
    def example(
        gpu_count: str,
        count: int = 1,
        rate: float = 0.1,
        fast: bool = True,
        names: list = ["a"],  # noqa: B006
        options: dict = {},  # noqa: B006
    ):
        first = first_step(count=count)
        with dsl.If(first.output == "1"):  # type: ignore[attr-defined]
            second_step(text=gpu_count)

    path = tmp_path_factory.mktemp("package") / "example.yaml"
    compiler.Compiler().compile(example, str(path))  # type: ignore[arg-type]
    return path


@pytest.fixture
def submit(tmp_path: Path, package: Path) -> Submit:
    """Call ``kfp-textclf submit`` on the example pipeline."""

    def call(server: StandIn | str, *options: str, command: str = "submit", **environment: str) -> SimpleNamespace:
        host = server if isinstance(server, str) else server.url
        arguments = [command, *(["--host", host] if host else []), "--pipeline", str(package), "--set", "gpu_count=0"]
        arguments += ["--poll", "0.05"] if command == "submit" else ["nightly"]
        known = {name: value for name, value in os.environ.items() if not name.startswith(("KFP_", "KF_", "KUBE"))}
        done = subprocess.run(
            [sys.executable, "-m", "kfp_textclf.pipelines.cli", *arguments, *options],
            cwd=tmp_path,
            env={**known, "HOME": str(tmp_path), **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return SimpleNamespace(
            code=done.returncode, out=done.stdout, err=done.stderr, last=done.stderr.splitlines()[-1:]
        )

    return call


def one_line_error(done: SimpleNamespace, code: int, *parts: str) -> None:
    """Hold that a command ended with a code and one line that says all of ``parts``."""
    assert "Traceback" not in done.err
    assert done.code == code, done.err
    assert done.last, done.out
    assert done.last[0].startswith("error: ")
    for part in parts:
        assert part in done.last[0]


def test_success(submit: Submit, tmp_path: Path) -> None:
    with stand_in(Behaviour(course=[Moment("PENDING"), RUNNING, SUCCEEDED])) as server:
        done = submit(server, "--run-name", "monday", "--experiment", "texts", "--service-account", "runner")
    assert done.code == 0, done.err
    (run,) = server.runs.values()
    assert (run["display_name"], run["service_account"]) == ("monday", "runner")
    assert run["runtime_config"]["parameters"] == {"gpu_count": "0"}
    assert f"{server.url}/#/runs/details/{run['run_id']}" in done.out
    assert "[1/2] first-step         running" in done.err
    assert "[2/2] second-step        succeeded" in done.err
    assert [e["display_name"] for e in server.experiments.values()] == ["texts"]
    assert read(tmp_path / "runs" / run["run_id"] / "metrics.json")["steps"]["second-step"]["state"] == "SUCCEEDED"


def test_values_are_converted_by_the_types_of_the_pipeline(submit: Submit) -> None:
    settings = {"count": "3", "rate": "1e-5", "fast": "false", "names": "[x, y]", "options": "{a: 1}", "gpu_count": "2"}
    with stand_in() as server:
        done = submit(server, "--no-wait", *(part for pair in settings.items() for part in ("--set", "=".join(pair))))
    assert done.code == 0, done.err
    (run,) = server.runs.values()
    assert run["runtime_config"]["parameters"] == {
        "count": 3,
        "rate": 1e-5,
        "fast": False,
        "names": ["x", "y"],
        "options": {"a": 1},
        "gpu_count": "2",
    }


@pytest.mark.parametrize(
    ("setting", "parts"),
    [
        ("count=many", ("count='many'", "is not a whole number")),
        ("count=1.5", ("count=1.5", "is not a whole number")),
        ("rate=fast", ("rate='fast'", "is not a number")),
        ("fast=2", ("fast=2", "true or false")),
        ("names=a", ("names='a'", "is not a list")),
        ("cuont=2", ("cuont: is no parameter of pipeline example", "did you mean count?")),
        ("count", ("'count': is not of the form name=value",)),
    ],
)
def test_wrong_values_never_reach_the_server(submit: Submit, setting: str, parts: tuple[str, ...]) -> None:
    with stand_in() as server:
        one_line_error(submit(server, "--set", setting), 2, *parts)
    assert server.requests == []


def test_failed_run_names_step_and_last_lines(submit: Submit, tmp_path: Path) -> None:
    failed = Moment("FAILED", [Task("first-step", "FAILED", "loading\nerror: data.csv: line 3: is not UTF-8")])
    with stand_in(Behaviour(course=[RUNNING, failed])) as server:
        done = submit(server)
    one_line_error(done, 1, "step first-step failed", "data.csv: line 3: is not UTF-8", "#/runs/details/")
    assert "  loading" in done.err
    (run_id,) = server.runs
    record = read(tmp_path / "runs" / run_id / "metrics.json")
    assert (record["state"], record["failed_step"]) == ("FAILED", "first-step")


def test_failed_run_without_details(submit: Submit) -> None:
    with stand_in(Behaviour(course=[Moment("FAILED", error="workflow error: no such template")])) as server:
        one_line_error(submit(server), 1, "no such template")


def test_cancelled_run(submit: Submit) -> None:
    with stand_in(Behaviour(course=[RUNNING, Moment("CANCELED", [])])) as server:
        one_line_error(submit(server), 3, "was cancelled")


def test_run_that_lacks_a_gpu_is_not_waited_for(submit: Submit) -> None:
    why = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu"
    with stand_in(Behaviour(course=[Moment("RUNNING", [Task("first-step", "PENDING", why)])])) as server:
        done = submit(server, "--timeout", "0.01")
    one_line_error(done, 3, "has not ended", "first-step: its pod waits", "Insufficient nvidia.com/gpu")


def test_pending_run_without_details_times_out(submit: Submit) -> None:
    with stand_in(Behaviour(course=[Moment("PENDING")])) as server:
        one_line_error(submit(server, "--timeout", "0.01"), 3, "no step has started")


def test_states_that_lag_behind_are_read_again(submit: Submit, tmp_path: Path) -> None:
    lagging = Moment("SUCCEEDED", [Task("first-step", "RUNNING")])
    with stand_in(Behaviour(course=[lagging, SUCCEEDED])) as server:
        assert submit(server).code == 0
    (run_id,) = server.runs
    assert read(tmp_path / "runs" / run_id / "metrics.json")["steps"]["first-step"]["state"] == "SUCCEEDED"


def test_same_content_is_uploaded_once(submit: Submit) -> None:
    with stand_in() as server:
        assert [submit(server, "--no-wait").code for _ in range(2)] == [0, 0]
        uploads = [request for request in server.requests if "upload" in request]
        assert uploads == ["POST /apis/v2beta1/pipelines/upload", "POST /apis/v2beta1/pipelines/upload_version"]
        assert submit(server, "--no-wait", "--no-cache").code == 0
    assert len(server.versions) == 3
    assert len(server.runs) == 3


def test_no_cache_reaches_nested_tasks(submit: Submit) -> None:
    with stand_in() as server:
        assert submit(server, "--no-wait", "--no-cache").code == 0
    (run,) = server.runs.values()
    version = server.versions[run["pipeline_version_reference"]["pipeline_version_id"]]
    spec = version["pipeline_spec"]["pipeline_spec"]
    tasks = [
        task
        for component in (spec["root"], *spec["components"].values())
        for task in component.get("dag", {}).get("tasks", {}).values()
    ]
    assert len(tasks) == 3
    assert not any(task["cachingOptions"].get("enableCache") for task in tasks)


def test_dry_run_sends_nothing(submit: Submit) -> None:
    done = submit("http://127.0.0.1:9", "--dry-run", "--set", "count=2")
    assert done.code == 0, done.err
    assert json.loads(done.out)["arguments"] == {"count": 2, "gpu_count": "0"}


@pytest.mark.parametrize(
    ("behaviour", "options", "parts"),
    [
        (Behaviour(token="secret"), (), ("401", "log in")),
        (Behaviour(token="secret"), ("--token", "wrong"), ("401", "log in")),
        (Behaviour(cookie="authservice_session=x"), (), ("401", "log in")),
        (Behaviour(login_page=True), (), ("answers with a page", "log in")),
        (Behaviour(multi_user=True), (), ("name yours: --namespace",)),
        (Behaviour(multi_user=True, namespaces=("a",)), ("--namespace", "b"), ("403", "namespace b")),
        (Behaviour(faults={"GET .*/healthz": (404, 1)}), (), ("404",)),
        (Behaviour(faults={"POST .*/upload$": (500, 9)}), (), ("500", "try again")),
        (Behaviour(faults={"POST .*/runs": (403, 1)}), (), ("403", "you may not do that")),
        (Behaviour(faults={"POST .*/runs": (409, 1)}), (), ("409",)),
        (Behaviour(faults={"POST .*/runs": ("drop", 9)}), (), ("cannot be reached",)),
    ],
)
def test_refusals(submit: Submit, behaviour: Behaviour, options: tuple[str, ...], parts: tuple[str, ...]) -> None:
    with stand_in(behaviour) as server:
        one_line_error(submit(server, *options), 2, *parts)
    assert server.runs == {}


@pytest.mark.parametrize("way", ["--token", "KFP_TOKEN", "--token-file", "KFP_COOKIE"])
def test_ways_to_log_in(submit: Submit, tmp_path: Path, way: str) -> None:
    (tmp_path / "token").write_text("secret")
    behaviour = Behaviour(cookie="authservice_session=x") if way == "KFP_COOKIE" else Behaviour(token="secret")
    values = {"--token-file": str(tmp_path / "token"), "KFP_COOKIE": "authservice_session=x"}
    value = values.get(way, "secret")
    with stand_in(behaviour) as server:
        done = submit(server, "--no-wait", **{way: value}) if way.isupper() else submit(server, "--no-wait", way, value)
    assert done.code == 0, done.err
    assert "secret" not in done.out + done.err


def test_namespace_of_a_multi_user_installation(submit: Submit) -> None:
    with stand_in(Behaviour(multi_user=True, namespaces=("team-a",))) as server:
        assert submit(server, "--no-wait", "--namespace", "team-a").code == 0
    assert [e["namespace"] for e in server.experiments.values()] == ["team-a"]


@pytest.mark.parametrize(
    ("host", "options", "parts"),
    [
        ("http://127.0.0.1:9", (), ("cannot be reached", "check --host")),
        ("http://no-such-host.invalid", (), ("cannot be reached",)),
        ("not a host", (), ("is not an address",)),
        ("", (), ("set --host",)),
        ("", ("--kube-context", "nowhere"), ("nowhere", "no kubeconfig can be read")),
        ("http://127.0.0.1:9", ("--token-file", "missing"), ("there is no such file",)),
        ("http://127.0.0.1:9", ("--pipeline", "missing.yaml"), ("missing.yaml", "run make compile")),
    ],
)
def test_no_server(submit: Submit, host: str, options: tuple[str, ...], parts: tuple[str, ...]) -> None:
    one_line_error(submit(host, *options), 2, *parts)


def test_short_outages_are_survived(submit: Submit) -> None:
    faults: dict[str, tuple[int | str | float, int]] = {"GET .*/runs/": (500, 3)}
    with stand_in(Behaviour(course=[RUNNING, SUCCEEDED], faults=faults)) as server:
        done = submit(server)
    assert done.code == 0, done.err
    assert "asking again" in done.err


def test_slow_server_is_waited_for(submit: Submit) -> None:
    with stand_in(Behaviour(faults={"POST .*/runs": (1.5, 1)})) as server:
        assert submit(server, "--no-wait").code == 0
    assert len(server.runs) == 1


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda spec: spec.update(schemaVersion="2.0.0"), ("schema version 2.1.0",)),
        (lambda spec: spec.pop("root"), ("is no compiled pipeline",)),
        (lambda spec: spec.update(surprise=1), ("is no compiled pipeline",)),
        (lambda spec: spec["components"].pop("comp-first-step"), ("'comp-first-step', which it lacks",)),
    ],
)
def test_broken_pipeline_is_refused_here(submit: Submit, package: Path, tmp_path: Path, change, parts) -> None:
    spec = yaml.safe_load(package.read_text())
    change(spec)
    broken = tmp_path / "broken.yaml"
    broken.write_text(yaml.safe_dump(spec))
    with stand_in() as server:
        one_line_error(submit(server, "--pipeline", str(broken)), 2, "broken.yaml", *parts)
    assert server.requests == []


def test_schedule_is_made_updated_and_removed(submit: Submit) -> None:
    with stand_in() as server:
        made = submit(server, "--cron", "0 3 * * *", command="schedule")
        assert (made.code, made.out.split("(")[0]) == (0, "nightly: made "), made.err
        (first,) = server.recurring_runs.values()
        assert first["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"
        assert first["runtime_config"]["parameters"] == {"gpu_count": "0"}
        same = submit(server, "--cron", "0 3 * * *", command="schedule")
        assert "is as wanted already" in same.out
        assert list(server.recurring_runs) == [first["recurring_run_id"]]
        changed = submit(server, "--cron", "0 3 * * *", "--set", "count=2", command="schedule")
        assert "updated" in changed.out
        (second,) = server.recurring_runs.values()
        assert second["runtime_config"]["parameters"] == {"gpu_count": "0", "count": 2}
        assert submit(server, "--delete", command="schedule").code == 0
        assert server.recurring_runs == {}
        one_line_error(submit(server, "--delete", command="schedule"), 2, "there is no recurring run of this name")


@pytest.mark.parametrize(
    ("cron", "part"), [("", "--cron: is missing"), ("0 3", "has 2 fields"), ("x " * 7, "has 7 fields")]
)
def test_malformed_schedule(submit: Submit, cron: str, part: str) -> None:
    with stand_in() as server:
        one_line_error(submit(server, *(["--cron", cron] if cron else []), command="schedule"), 2, part)
    assert server.recurring_runs == {}
