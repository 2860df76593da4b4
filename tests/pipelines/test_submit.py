"""``kfp-textclf submit`` as a process, against the stand-in of the server: one line for each situation that ends it."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from kfp_stand_in import Behaviour, Moment, StandIn, Task, stand_in
from support import heed_interruption, one_line_error, read, step_states

from kfp_textclf.pipelines import cluster
from kfp_textclf.pipelines.run_pods import USER_ERROR

MOVING = "latest"
SUCCEEDED = Moment("SUCCEEDED", [Task("first-step", "SUCCEEDED"), Task("second-step", "SUCCEEDED")])
RUNNING = Moment("RUNNING", [Task("first-step", "RUNNING")])
Submit = Callable[..., SimpleNamespace]


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
    assert ("second-step", "SUCCEEDED") in step_states(read(tmp_path / "runs" / run["run_id"] / "metrics.json"))


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


def kube_config(home: Path, server: StandIn, user: dict | None = None) -> None:
    """Let the home directory have a kubeconfig, whose context ``here`` is the stand-in, logged in as ``user``."""
    cluster = {"name": "here", "cluster": {"server": server.url}}
    context = {"name": "here", "context": {"cluster": "here", "user": "me"}}
    content = {"clusters": [cluster], "contexts": [context], "users": [{"name": "me", "user": user or {}}]}
    (home / ".kube").mkdir()
    (home / ".kube/config").write_text(yaml.safe_dump({**content, "current-context": "here"}))


def plugin(directory: Path) -> dict:
    """A user whose token a program prints, as those of clouds are; it has expired when it is used."""
    status = {"token": "secret", "expirationTimestamp": "2020-01-01T00:00:00Z"}
    version = "client.authentication.k8s.io/v1beta1"
    credential = {"apiVersion": version, "kind": "ExecCredential", "status": status}
    (directory / "credential.json").write_text(json.dumps(credential))
    arguments = [str(directory / "credential.json")]
    return {"exec": {"apiVersion": version, "command": "cat", "args": arguments, "interactiveMode": "Never"}}


@pytest.mark.parametrize("user", ["nobody", "token", "plugin"])
def test_every_login_of_a_kubeconfig_reaches_the_server(submit: Submit, tmp_path: Path, user: str) -> None:
    users = {"nobody": {}, "token": {"token": "secret"}, "plugin": plugin(tmp_path)}
    with stand_in(Behaviour(token="" if user == "nobody" else "secret", forwarded=True)) as server:
        kube_config(tmp_path, server, users[user])
        done = submit("", "--kube-context", "here", KFP_TOKEN="that of another server")
    assert done.code == 0, done.err


@pytest.mark.parametrize("way", ["forwarded port", "kube context"])
@pytest.mark.parametrize(
    ("log", "last", "shown"),
    [
        (f"loading\nTraceback (most recent call last):\n{USER_ERROR}data.csv: line 3", "data.csv: line 3", False),
        ("loading\nZeroDivisionError: division by zero", "ZeroDivisionError: division by zero", True),
    ],
)
def test_failed_run_names_step_and_last_lines(
    submit: Submit, tmp_path: Path, way: str, log: str, last: str, shown: bool
) -> None:
    failed = Moment("FAILED", [Task("first-step", "FAILED", log=log, attempts=3), Task("second-step", None)])
    with stand_in(Behaviour(course=[RUNNING, failed])) as server:
        kube_config(tmp_path, server)
        done = submit(server) if way == "forwarded port" else submit("", "--kube-context", "here")
    one_line_error(done, 1, f"step first-step failed: {last}; see ", *server.runs)
    assert ("  loading" in done.err) is shown
    assert "launcher" not in done.err
    (report,) = (tmp_path / "runs").glob("*/report.md")
    assert "Failed at first-step" in report.read_text()
    assert last in report.read_text()


def test_failed_run_without_a_view_of_its_pods(submit: Submit, tmp_path: Path) -> None:
    failed = Moment("FAILED", [Task("first-step", "FAILED", log="secret of Kubernetes"), Task("second-step", None)])
    with stand_in(Behaviour(course=[RUNNING, failed])) as server:
        done = submit(server)
    one_line_error(done, 1, "step first-step failed: the server does not say why", "--kube-context", "#/runs/details/")
    assert "[2/2] second-step        skipped" in done.err
    (run_id,) = server.runs
    record = read(tmp_path / "runs" / run_id / "metrics.json")
    assert (record["state"], record["failed_step"]) == ("FAILED", "first-step")


@pytest.mark.parametrize(
    ("moment", "parts"),
    [
        (
            Moment("FAILED", error="workflow error: no such template"),
            ("the run failed: workflow error: no such template",),
        ),
        (
            Moment("FAILED", [Task("first-step", None, driver="FAILED")]),
            ("step first-step failed: what prepares its pod",),
        ),
        (Moment("FAILED", [Task("for-loop-1", "FAILED")]), ("the run failed: for-loop-1 failed; see ",)),
        (
            Moment("FAILED", [Task("root", "FAILED"), Task("gate", None, driver="FAILED")]),
            ("the run failed: gate-driver failed; see ",),
        ),
        (Moment("FAILED"), ("the run failed: the server does not say why",)),
    ],
)
def test_failed_run_without_a_failed_step(submit: Submit, moment: Moment, parts: tuple[str, ...]) -> None:
    with stand_in(Behaviour(course=[moment])) as server:
        one_line_error(submit(server), 1, *parts)


@pytest.mark.parametrize("end", [[Moment("CANCELED", [])], [Moment("CANCELING", []), Moment("FAILED", [])]])
def test_cancelled_run(submit: Submit, end: list[Moment]) -> None:
    with stand_in(Behaviour(course=[RUNNING, *end])) as server:
        one_line_error(submit(server), 3, "was cancelled", "#/runs/details/")


INSUFFICIENT = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu"


@pytest.mark.parametrize(
    ("task", "known", "why"),
    [
        (Task("first-step", "RUNNING", waits=INSUFFICIENT), True, f"first-step: its pod waits: {INSUFFICIENT}"),
        (
            Task("first-step", "RUNNING", stuck="ImagePullBackOff"),
            True,
            "first-step: its pod waits: ImagePullBackOff: ",
        ),
        (
            Task("first-step", "RUNNING", waits=INSUFFICIENT),
            False,
            "first-step: its pod does not run yet; no GPU is free",
        ),
    ],
)
def test_pod_that_waits_is_told_and_not_hung_on(
    submit: Submit, tmp_path: Path, task: Task, known: bool, why: str
) -> None:
    with stand_in(Behaviour(course=[Moment("RUNNING", [task])])) as server:
        if known:
            kube_config(tmp_path, server)
        done = submit(server, "--timeout", "0.03")
    one_line_error(done, 3, "has not ended", why, "#/runs/details/")
    assert known or "kubectl describe pods --namespace kubeflow --selector pipeline/runid=" in done.last[0]
    assert why in done.err.splitlines()[-2], "it is said before the end of patience, too"


def test_steps_of_a_loop_are_one_line(submit: Submit, tmp_path: Path) -> None:
    """Each iteration of a loop has a node of the step's name."""
    begun = [Task("first-step", "SUCCEEDED"), Task("first-step", "RUNNING")]
    ended = [Task("first-step", "SUCCEEDED", seconds=4), Task("first-step", "SUCCEEDED", seconds=5)]
    with stand_in(Behaviour(course=[Moment("RUNNING", begun)] * 3 + [Moment("SUCCEEDED", ended)])) as server:
        done = submit(server)
    assert done.code == 0, done.err
    lines = [line.split()[2:] for line in done.err.splitlines() if "first-step" in line]
    assert lines == [["running"], ["succeeded", "9", "s"]]


def test_long_training_is_only_said_to_run(submit: Submit, tmp_path: Path) -> None:
    with stand_in(Behaviour(course=[RUNNING])) as server:
        done = submit(server, "--timeout", "0.03")
    one_line_error(done, 3, "the run goes on, and has not ended", "first-step: running")
    (directory,) = (tmp_path / "runs").iterdir()
    assert step_states(read(directory / "metrics.json")) == [("first-step", "RUNNING")]
    assert "does not run" not in done.err


@pytest.mark.parametrize(("answer", "said"), [("y", "is being terminated"), ("n", "goes on"), ("", "goes on")])
def test_ctrl_c_offers_to_terminate(submit: Submit, package: Path, tmp_path: Path, answer: str, said: str) -> None:
    """In a terminal; without one (no answer here) the run goes on."""
    with stand_in(Behaviour(course=[RUNNING])) as server:
        arguments = [
            "submit",
            "--host",
            server.url,
            "--pipeline",
            str(package),
            "--set",
            "gpu_count=0",
            "--poll",
            "0.05",
        ]
        command = [sys.executable, "-m", "kfp_textclf.pipelines.cli", *arguments]
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            command, cwd=tmp_path, stdin=theirs if answer else subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env={**os.environ, "HOME": str(tmp_path)}, preexec_fn=heed_interruption,
        )  # fmt: skip
        output = ""
        assert process.stdout
        while "running" not in output:
            line = process.stdout.readline().decode()
            assert line, output
            output += line
        process.send_signal(signal.SIGINT)
        os.write(ours, f"{answer}\n".encode())
        output += process.communicate(timeout=60)[0].decode()
        os.close(ours)
        os.close(theirs)
    assert process.returncode == 3, output
    assert said in output
    assert "Traceback" not in output
    assert [bool(run.get("terminated")) for run in server.runs.values()] == [answer == "y"]


def test_pending_run_without_details_times_out(submit: Submit) -> None:
    with stand_in(Behaviour(course=[Moment("PENDING")])) as server:
        one_line_error(submit(server, "--timeout", "0.01"), 3, "no step has started", "kubectl describe pods")


def test_states_that_lag_behind_are_read_again(submit: Submit, tmp_path: Path) -> None:
    lagging = Moment("SUCCEEDED", [Task("first-step", "RUNNING")])
    with stand_in(Behaviour(course=[lagging, SUCCEEDED])) as server:
        assert submit(server).code == 0
    (run_id,) = server.runs
    assert ("first-step", "SUCCEEDED") in step_states(read(tmp_path / "runs" / run_id / "metrics.json"))


def test_same_content_is_uploaded_once(submit: Submit) -> None:
    with stand_in() as server:
        assert [submit(server, "--no-wait").code for _ in range(2)] == [0, 0]
        uploads = [request for request in server.requests if "upload" in request]
        assert uploads == ["POST /apis/v2beta1/pipelines/upload_version"]
        assert submit(server, "--no-wait", "--no-cache").code == 0
    assert [pipeline["display_name"] for pipeline in server.pipelines.values()] == ["example"]
    assert len(server.versions) == 2
    assert len(server.runs) == 3


@pytest.mark.parametrize("listing", ["list_pipelines", "list_versions"])
def test_what_another_made_meanwhile_is_taken(submit: Submit, listing: str) -> None:
    """Two submit at once: the server answers 409 to the second."""
    with stand_in() as server:
        assert submit(server, "--no-wait").code == 0
        seen, asked = getattr(server, listing), []

        def blind_at_first(**options: object) -> dict:
            asked.append(options)
            return seen(**options) if len(asked) > 1 else {}

        setattr(server, listing, blind_at_first)
        done = submit(server, "--no-wait")
    assert done.code == 0, done.err
    assert (len(asked), len(server.pipelines), len(server.versions), len(server.runs)) == (2, 1, 1, 2)


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
        (Behaviour(), ("--namespace", "b"), ("has no namespaces for users", "leave out --namespace")),
        (Behaviour(archived=("texts",)), ("--experiment", "texts"), ("experiment texts: is archived", "--experiment")),
        (Behaviour(faults={"GET .*/healthz": (404, 1)}), (), ("404", "check that --host")),
        (Behaviour(faults={"POST .*/upload_version$": (500, 9)}), (), ("500", "try again")),
        (Behaviour(faults={"GET .*/experiments": ("cut", 9)}), (), ("cannot be reached", "IncompleteRead")),
        (Behaviour(faults={"POST .*/runs": (403, 1)}), (), ("403", "you may not do that")),
        (Behaviour(faults={"POST .*/runs": (429, 1)}), (), ("429", "may have started")),
        (Behaviour(faults={"POST .*/runs": (409, 1)}), (), ("409", "try again")),
        (Behaviour(faults={"POST .*/runs": (500, 9)}), (), ("500", "may have started: look for example-")),
        (
            Behaviour(faults={"POST .*/runs": ("drop", 9)}),
            (),
            ("cannot be reached", "may have started: look for example-"),
        ),
    ],
)
def test_refusals(submit: Submit, behaviour: Behaviour, options: tuple[str, ...], parts: tuple[str, ...]) -> None:
    with stand_in(behaviour) as server:
        one_line_error(submit(server, *options), 2, *parts)
    assert server.runs == {}


@pytest.mark.parametrize("way", ["--token", "KFP_TOKEN", "--token-file", "KFP_COOKIE"])
def test_ways_to_log_in(submit: Submit, tmp_path: Path, way: str) -> None:
    (tmp_path / "token").write_text("secret\n")
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
        ("ftp://127.0.0.1", (), ("is not an address",)),
        ("http://127.0.0.1:9", ("--token-file", "missing"), ("there is no such file",)),
        ("http://127.0.0.1:9", ("--token-file", "."), ("there is no such file",)),
        ("http://127.0.0.1:9", ("--pipeline", "missing.yaml"), ("missing.yaml", "run make compile")),
    ],
)
def test_no_server(submit: Submit, host: str, options: tuple[str, ...], parts: tuple[str, ...]) -> None:
    one_line_error(submit(host, *options), 2, *parts)


def image(spec: dict, name: str) -> None:
    """Put another image into the first step."""
    spec["deploymentSpec"]["executors"]["exec-first-step"]["container"]["image"] = name


def test_short_outages_are_survived(submit: Submit) -> None:
    faults: dict[str, tuple[int | str | float, int]] = {"GET .*/runs/": (500, 3)}
    with stand_in(Behaviour(course=[RUNNING, SUCCEEDED], faults=faults)) as server:
        done = submit(server)
    assert done.code == 0, done.err
    assert "asking again" in done.err


@pytest.mark.parametrize(
    ("fault", "reason"), [(401, "does not know you"), (403, "you may not do that"), (429, "busy"), ("login", "log in")]
)
def test_run_that_cannot_be_followed_goes_on(submit: Submit, tmp_path: Path, fault: int | str, reason: str) -> None:
    """A login that ends, a proxy that refuses: asked again for a while, and what was seen of the run is kept."""
    course = [RUNNING, Moment("RUNNING", [Task("first-step", "SUCCEEDED")]), SUCCEEDED]
    faults: dict[str, tuple[int | str | float, int]] = {"GET .*/runs/": (fault, 3)}
    with stand_in(Behaviour(course=course, faults=faults)) as server:
        assert submit(server).code == 0
        server.behaviour.course, server.polls = course[:2], {}
        server.behaviour.faults["GET .*/healthz"] = (0.0, 1)
        get_run, asked = server.get_run, []

        def refuses_later(**options: Any) -> dict:
            asked.append(options)
            if len(asked) == 2:
                server.behaviour.faults["GET .*/runs/"] = (fault, 99)
            return get_run(**options)

        server.get_run = refuses_later  # type: ignore[method-assign]
        done = submit(server)
    one_line_error(done, 3, "the run goes on, and cannot be followed", reason, "#/runs/details/")
    assert "asking again" in done.err
    run_id = list(server.runs)[-1]
    record = read(tmp_path / "runs" / run_id / "metrics.json")
    assert (record["state"], step_states(record)) == ("RUNNING", [("first-step", "SUCCEEDED")])


def test_slow_server_is_waited_for(submit: Submit) -> None:
    with stand_in(Behaviour(faults={"POST .*/runs": (1.5, 1)})) as server:
        assert submit(server, "--no-wait").code == 0
    assert len(server.runs) == 1


def test_server_that_never_answers_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "TIMEOUT", (0.5, 0.5))
    with (
        stand_in(Behaviour(faults={"GET .*/healthz": (5.0, 9)})) as server,
        pytest.raises(cluster.LostConnection, match=r"cannot be reached .*timed out"),
    ):
        cluster.Cluster(cluster.Connection(server.url))


def test_pod_in_the_cluster_finds_server_and_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    with stand_in(Behaviour(token="secret", multi_user=True, namespaces=("team-a",))) as server:
        monkeypatch.setattr(cluster, "IN_CLUSTER", server.url)
        connected = cluster.Cluster(cluster.Connection(namespace="team-a"))
        assert connected.experiment("texts") in server.experiments
        assert connected.run_link("abc") == "run abc in the dashboard"
    assert cluster.Connection().address == server.url


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (lambda spec: spec.update(schemaVersion="2.0.0"), ("schema version 2.1.0",)),
        (lambda spec: spec.pop("root"), ("is no compiled pipeline",)),
        (lambda spec: spec.update(surprise=1), ("is no compiled pipeline",)),
        (lambda spec: spec["components"].pop("comp-first-step"), ("'comp-first-step', which it lacks",)),
        (lambda spec: image(spec, "registry:5000/mine"), ("image registry:5000/mine has no fixed tag",)),
        (lambda spec: image(spec, f"mine:{MOVING}"), (f"image mine:{MOVING} has no fixed tag",)),
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
