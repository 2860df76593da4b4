"""Run clients against a real S3 server through a proxy that makes faults, and look for harm.

    make bench-faults [SCHEDULES=200] [SEED=0]

Each schedule is drawn from its seed (`fault_proxy.Schedule`) and plays in an empty prefix of one server: clients in
processes of their own ingest, publish, read, roll back or prune through the proxy (`SCENARIOS`). Each
of them must end in the right result or in one clear error, and so must one that tries again without faults afterwards.
The server is then read without faults, by code that shares nothing with what is tested.

Writes benchmarks/results/faults.json:

schedules           that were run
corrupt_accepted    artifacts, versions or records that came to be with other bytes than the true ones
half_published      versions that are visible but not whole; champions that are no version
champions_lost      champions forgotten; successes told that did not happen; two winners over the same champion
unclear             clients that hung, or ended in anything but a result or one line that names the place
outcomes            how clients ended, by scenario and by the first fault that was met (``none``: none was)

The exit code is 1 when any of the four counts is not 0; the lines say what happened, and the seed to repeat it with.
"""

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fault_publishing import Publish, PublishAndPrune, PublishTogether, Read, Rollback
from fault_scenarios import Harm, Ingest, IngestHttp, Objects, Outcome, Place, Scenario, run_client

from kfp_textclf.components.common.artifacts import write_json
from kfp_textclf.pipelines.dev_s3 import S3Server, s3_server

sys.path.append(str(Path(__file__).parents[1] / "tests"))  # the proxy is the tests'
from fault_proxy import FaultProxy, Schedule

SCENARIOS: dict[str, type[Scenario]] = {
    "ingest_s3": Ingest,
    "ingest_http": IngestHttp,
    "objects": Objects,
    "publish": Publish,
    "publish_together": PublishTogether,
    "publish_and_prune": PublishAndPrune,
    "rollback": Rollback,
    "read": Read,
}
RESULTS = Path(__file__).parent / "results" / "faults.json"
HUNG = 240.0  # seconds after which a client counts as hung; retries of everything end long before
TOGETHER = 6  # schedules at once: they mostly wait
IMPATIENT = {"KFP_TEXTCLF_S3_TIMEOUT": "2", "AWS_MAX_ATTEMPTS": "3"}
UNCHECKED = {  # as for a store that knows no checksums
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
}


def run_schedules(server: S3Server, numbers: Iterable[int], seed: str, directory: Path) -> dict[str, Any]:
    """Run some schedules.

    Args:
        server: A running server.
        numbers: Which; a number decides the scenario, and with the seed everything else.
        seed: Of all.
        directory: An empty directory for what clients write.

    Returns:
        What `RESULTS` holds; and ``details``, a line about each harm.
    """
    os.environ.update(server.environment)
    multiprocessing.get_context("forkserver").set_forkserver_preload(["fault_publishing"])
    names, outcomes, harm, count = list(SCENARIOS), Counter[tuple[str, str, str]](), asdict(Harm()), 0

    def run(number: int) -> tuple[Harm, list[tuple[str, str, str]]]:
        place = directory / str(number)
        place.mkdir()
        return _run_schedule(server, names[number % len(names)], f"{seed}/{number}", place)

    with ThreadPoolExecutor(TOGETHER) as pool:
        for found, ended in pool.map(run, numbers):
            count += 1
            outcomes.update(ended)
            for kind, lines in asdict(found).items():
                harm[kind] += lines
    return {
        "schedules": count,
        **{kind: len(lines) for kind, lines in harm.items()},
        "outcomes": _nested(outcomes),
        "details": [f"{kind}: {line}" for kind, lines in harm.items() for line in lines],
    }


def _run_schedule(server: S3Server, name: str, seed: str, directory: Path) -> tuple[Harm, list[tuple[str, str, str]]]:
    """Return the harm done in one schedule, and scenario, fault and ending of each client."""
    kind, harm = SCENARIOS[name], Harm()
    uri = f"s3://{server.bucket}/{name}-{time.time_ns()}"
    calm = {**server.environment, "KFP_TEXTCLF_CACHE": str(directory / "cache")}
    with ExitStack() as stack:
        proxies = [stack.enter_context(FaultProxy(server.endpoint).running()) for _ in range(kind.clients)]
        scenario = kind(Place(uri, directory, seed, proxies[0].url), server)
        scenario.prepare()
        settings = []
        for number, proxy in enumerate(proxies):
            proxy.first.update(proxies[0].first)
            proxy.schedule = Schedule.from_seed(f"{seed} {number}", kind.keys)
            unchecked = UNCHECKED if proxy.schedule.draw.random() < 0.5 else {}
            settings.append({**calm, **IMPATIENT, **unchecked, "AWS_ENDPOINT_URL_S3": proxy.url})
        first = _run_clients(scenario, settings, proxies)
        met = [proxy.schedule.hits for proxy in proxies]
        scenario.judge(first, harm)
        for proxy in proxies:
            proxy.schedule = Schedule()
        last = list(first)
        for number, outcome in enumerate(first):
            if not _is_clear(outcome, met[number]):
                harm.unclear.append(f"{outcome.how}: {outcome.value}")
            if outcome.how != "right":
                last[number] = _run_clients(scenario, [calm], numbers=[number])[0]
                if last[number].how != "right" and not scenario.may_refuse(str(last[number].value)):
                    harm.unclear.append(f"after {outcome.value}, without faults: {last[number].value}")
        if last != first:
            scenario.judge(last, harm)
    ended = [(name, min(hits, default="none"), outcome.how) for hits, outcome in zip(met, first, strict=True)]
    story = f"[{name}, seed {seed}, {[dict(hits) for hits in met]}]"
    told = {kind: [f"{line} {story}" for line in dict.fromkeys(lines)] for kind, lines in asdict(harm).items()}
    return Harm(**told), ended


def _run_clients(
    scenario: Scenario,
    settings: Sequence[Mapping[str, str]],
    proxies: Sequence[FaultProxy] = (),
    numbers: Sequence[int] | None = None,
) -> list[Outcome]:
    """Run clients at once, each in a process of its own with the environment that it is given."""
    context = multiprocessing.get_context("forkserver")
    running = []
    for number, environment in zip(numbers or range(len(settings)), settings, strict=True):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=run_client, args=(sender, type(scenario), scenario.place, number, environment))
        process.start()
        sender.close()
        if proxies:
            proxies[number].kill = process.kill
        running.append((process, receiver))
    deadline = time.monotonic() + HUNG
    outcomes = []
    for process, receiver in running:
        try:
            in_time = receiver.poll(max(0.0, deadline - time.monotonic()))
            outcomes.append(receiver.recv() if in_time else Outcome("hung"))
        except EOFError:
            process.join()
            outcomes.append(Outcome("killed", process.exitcode))
        process.kill()
        process.join()
        receiver.close()
    return outcomes


def _is_clear(outcome: Outcome, met: Mapping[str, int]) -> bool:
    """Whether a client ended as it may: a result, one line that names the place, or a death that was our doing."""
    if outcome.how == "error":
        return "\n" not in outcome.value and "/" in outcome.value and "Traceback" not in outcome.value
    return outcome.how == "right" or (outcome.how == "killed" and any(fault.startswith("kill") for fault in met))


def _nested(counts: Mapping[tuple[str, str, str], int]) -> dict[str, dict[str, dict[str, int]]]:
    nested: dict[str, dict[str, dict[str, int]]] = {}
    for (scenario, fault, ending), count in counts.items():
        nested.setdefault(scenario, {}).setdefault(fault, {})[ending] = count
    return nested


def main() -> int:
    """Run the schedules that the command line asks for and write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--schedules", type=int, default=200)
    parser.add_argument("--seed", default="0", help="of all; the seeds of schedules are SEED/0, SEED/1, ...")
    parser.add_argument("--only", type=int, help="run just this one of them, and write no results")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    numbers = range(options.schedules) if options.only is None else [options.only]
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kfp-textclf-faults-") as scratch:
        (Path(scratch) / "places").mkdir()
        with s3_server(Path(scratch) / "server") as server:
            results = run_schedules(server, numbers, options.seed, Path(scratch) / "places")
    details = results.pop("details")
    print(json.dumps(results, indent=2))
    print("\n".join(details))
    print(f"{results['schedules']} schedules in {time.monotonic() - start:.0f} s")
    if options.only is None:
        options.output.parent.mkdir(exist_ok=True)
        write_json(options.output, results)
    return int(bool(details))


if __name__ == "__main__":
    sys.exit(main())
