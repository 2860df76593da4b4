"""``kfp-textclf schedule`` as a process, against the stand-in of the server."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from kfp_stand_in import Behaviour, stand_in
from support import one_line_error

Schedule = Callable[..., SimpleNamespace]


def test_schedule_is_made_updated_and_removed(submit: Schedule) -> None:
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
def test_malformed_schedule(submit: Schedule, cron: str, part: str) -> None:
    with stand_in() as server:
        one_line_error(submit(server, *(["--cron", cron] if cron else []), command="schedule"), 2, part)
    assert server.recurring_runs == {}


def test_schedule_that_was_disabled_is_enabled_again(submit: Schedule) -> None:
    with stand_in() as server:
        assert submit(server, "--cron", "0 3 * * *", command="schedule").code == 0
        (first,) = server.recurring_runs.values()
        assert (first["mode"], first["max_concurrency"], first["no_catchup"]) == ("ENABLE", 1, True)
        first["status"] = "DISABLED"
        assert "updated" in submit(server, "--cron", "0 3 * * *", command="schedule").out
    assert [run["status"] for run in server.recurring_runs.values()] == ["ENABLED"]


@pytest.mark.parametrize(
    "options", [("--service-account", "mine"), ("--pipeline-root", "s3://bucket/root"), ("--no-cache",)]
)
def test_what_else_a_schedule_has_is_updated_once(submit: Schedule, options: tuple[str, ...]) -> None:
    """The server fills in what was not given; that is no difference."""
    with stand_in(Behaviour()) as server:
        said = [
            submit(server, "--cron", "0 3 * * *", *given, command="schedule").out.split("(")[0]
            for given in ((), (), options, options)
        ]
    assert said == [
        "nightly: made ",
        "nightly: is as wanted already ",
        "nightly: updated ",
        "nightly: is as wanted already ",
    ]
    assert len(server.recurring_runs) == 1


def test_parameters_of_a_schedule_have_the_types_of_the_pipeline(submit: Schedule) -> None:
    values = {"count": "3", "rate": "1e-5", "fast": "false", "names": "[x, y]", "options": "{a: 1}"}
    settings = [part for pair in values.items() for part in ("--set", "=".join(pair))]
    with stand_in() as server:
        assert submit(server, "--cron", "0 0 3 * * 1", *settings, command="schedule").code == 0
        (made,) = server.recurring_runs.values()
        assert "is as wanted already" in submit(server, "--cron", "0 0 3 * * 1", *settings, command="schedule").out
    wanted = {"count": 3, "rate": 1e-5, "fast": False, "names": ["x", "y"], "options": {"a": 1}, "gpu_count": "0"}
    assert made["runtime_config"]["parameters"] == wanted
    assert made["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * 1"


def test_refused_update_leaves_the_old_schedule(submit: Schedule) -> None:
    with stand_in() as server:
        assert submit(server, "--cron", "0 3 * * *", command="schedule").code == 0
        before = dict(server.recurring_runs)
        server.behaviour.faults["POST .*/recurringruns"] = (403, 1)
        one_line_error(submit(server, "--cron", "0 4 * * *", command="schedule"), 2, "403")
    assert server.recurring_runs == before
