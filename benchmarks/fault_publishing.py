"""What publishers and readers of models do under faults."""

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fault_scenarios import Harm, Outcome, Place, Scenario, differences

from kfp_textclf.components.common.artifacts import MANIFEST, atomic_directory, write_json
from kfp_textclf.components.common.model_store import ModelStore
from kfp_textclf.components.common.published import open_version
from kfp_textclf.components.publish.stage import publish

METRICS = {"matthews_correlation": 0.75}


class Published(Scenario):
    """A store with two champions, the second of them in office, and models to come."""

    keys = ("", r"champion\.json", r"manifest\.json", r"versions/\w+/(model|config)", "list-type")

    def prepare(self) -> None:  # noqa: D102
        self.truth: dict[str, dict[str, bytes]] = {}  # the content of every version
        self.before: list[str] = []
        store = ModelStore.open(self.place.uri)
        for number in (100, 101):
            files = self._model(number)
            version = store.add({name: files / name for name in ("model.onnx", "config.json")}, "test")
            store.promote(version, store.uri_of(self.before[-1]) if self.before else "", METRICS)
            self._learn(version, {name: (files / name).read_bytes() for name in ("model.onnx", "config.json")})
            self.before.append(version)
            if number == 100:
                self.remember("champion.json", f"versions/{version}/{MANIFEST}")
        self.publishers = [self._publisher(number, store.uri_of(self.before[-1])) for number in range(self.clients)]

    def judge(self, outcomes: list[Outcome], harm: Harm) -> None:  # noqa: D102
        objects = self.objects()
        for version in {key.split("/")[1] for key in objects if key.endswith("/" + MANIFEST)}:
            self._judge_version(version, objects, harm)
        record = self._judge_champion(objects, harm)
        if record is None:
            return
        known = [record["version"], *(entry["version"] for entry in record["history"])]
        told = {outcome.value["version"] for outcome in outcomes if outcome.how == "right"}
        harm.champions_lost += [f"told that {version} is champion: {known}" for version in told if version not in known]
        if len(told) > 1:
            harm.champions_lost.append(f"several won over the same champion: {told}")
        self.judge_history(known, harm)

    def judge_history(self, known: list[str], harm: Harm) -> None:
        """Note champions that are forgotten; ``known`` is newest first."""
        if known[-2:] != self.before[::-1] or not set(known[:-2]) <= {*self.publishers}:
            harm.champions_lost.append(f"{self.before} were champions, now {known}")

    def may_refuse(self, message: str) -> bool:  # noqa: D102
        return "the champion is now" in message and self.clients > 1

    def _model(self, number: int) -> Path:
        """Write a model as the export leaves it."""
        draw, directory = random.Random(f"{self.place.seed} {number}"), self.place.directory / f"model-{number}"  # noqa: S311
        with atomic_directory(directory, "test") as target:
            (target / "model.onnx").write_bytes(draw.randbytes(100_000))
            write_json(target / "config.json", {"number": number})
        return directory

    def _publisher(self, number: int, champion: str) -> str:
        """Write what a publisher starts from; return the version that it will publish."""
        self._model(number)
        with atomic_directory(self.place.directory / f"evaluation-{number}", "test") as target:
            variants = {"shipped": "onnx_int8", "variants": {"onnx_int8": METRICS}}
            figures = {"verdict": "promote", "labels": ["a", "b"], "rows": 10, **variants}
            write_json(target / "metrics.json", {**figures, "champion": None})
        elsewhere = self.place.directory / f"elsewhere-{number}"
        version = self.publish(self.place.directory, number, elsewhere.as_uri(), "there").version
        files = {path.name: path.read_bytes() for path in (elsewhere / "versions" / version).iterdir()}
        self._learn(version, {name: content for name, content in files.items() if name != MANIFEST})
        with atomic_directory(self.place.directory / f"evaluation-{number}", "test") as target:
            write_json(target / "metrics.json", {**figures, "champion": {"uri": champion}})
        return version

    @staticmethod
    def publish(directory: Path, number: int, uri: str, output: str, keep: int = 0) -> Any:
        """Run the step ``publish_model``."""
        model, evaluation, published = (directory / f"{name}-{number}" for name in ("model", "evaluation", output))
        return publish(str(model), str(evaluation), str(published), publish_to=uri, keep_versions=keep)

    def _learn(self, version: str, files: dict[str, bytes]) -> None:
        hashes = "".join(f"{name}\0{hashlib.sha256(files[name]).hexdigest()}\n" for name in sorted(files))
        if hashlib.sha256(hashes.encode()).hexdigest()[:16] != version:
            raise AssertionError(f"{version} is not the version of {sorted(files)}")
        self.truth[version] = files

    def _judge_version(self, version: str, objects: Mapping[str, bytes], harm: Harm) -> None:
        start = f"versions/{version}/"
        files = {key.removeprefix(start): content for key, content in objects.items() if key.startswith(start)}
        try:
            listed = json.loads(files.pop(MANIFEST))["files"]
            whole = {name: entry["sha256"] for name, entry in listed.items()} == {
                name: hashlib.sha256(content).hexdigest() for name, content in files.items()
            }
        except (ValueError, KeyError, TypeError) as error:
            whole, files = False, {"?": repr(error).encode()}
        if not whole:
            harm.half_published.append(f"{version} is visible with {sorted(files)}")
        elif files != self.truth.get(version):
            harm.corrupt_accepted.append(f"{version} holds what nobody published")

    def _judge_champion(self, objects: Mapping[str, bytes], harm: Harm) -> dict[str, Any] | None:
        try:
            record = json.loads(objects["champion.json"])
            if f"versions/{record['version']}/{MANIFEST}" not in objects:
                harm.half_published.append(f"the champion {record['version']} is no version")
            entries = [record, *record["history"]]
            if (
                any(entry["metrics"] != METRICS for entry in entries)
                or record["uri"].split("/")[-1] != record["version"]
            ):
                harm.corrupt_accepted.append(f"the champion's record says {record}")
        except (ValueError, KeyError, TypeError) as error:
            harm.champions_lost.append(f"champion.json cannot be used: {error!r}")
            return None
        return record


class Publish(Published):
    """One publisher."""

    @staticmethod
    def act(place: Place, number: int) -> Any:  # noqa: D102
        return asdict(Published.publish(place.directory, number, place.uri, "published"))


class PublishTogether(Publish):
    """Two publishers whose models were compared with the same champion."""

    clients = 2


class PublishAndPrune(Published):
    """One publisher that deletes old versions afterwards."""

    @staticmethod
    def act(place: Place, number: int) -> Any:  # noqa: D102
        return asdict(Published.publish(place.directory, number, place.uri, "published", keep=1))

    def judge_history(self, known: list[str], harm: Harm) -> None:  # noqa: D102
        allowed = [[*self.publishers, self.before[1], self.before[0]], [self.before[1], self.before[0]]]
        if known not in (*allowed, [*self.publishers, self.before[1]]):
            harm.champions_lost.append(f"{self.before} were champions, now {known}")


class Rollback(Published):
    """Back to the champion before."""

    @staticmethod
    def act(place: Place, number: int) -> Any:  # noqa: D102
        return ModelStore.open(place.uri).rollback()

    def judge_history(self, known: list[str], harm: Harm) -> None:  # noqa: D102
        if known not in (self.before[::-1], self.before[:1]):
            harm.champions_lost.append(f"{self.before} were champions, now {known}")

    def may_refuse(self, message: str) -> bool:  # noqa: D102
        return "there was no champion before" in message  # it was rolled back already, and the answer lost


class Read(Published):
    """A reader of the champion, as `predict` and the evaluation are."""

    @staticmethod
    def act(place: Place, number: int) -> Any:  # noqa: D102
        directory = open_version(place.uri)
        return {"version": directory.name, "directory": str(directory)}

    def judge(self, outcomes: list[Outcome], harm: Harm) -> None:  # noqa: D102
        super().judge(outcomes, harm)
        for outcome in outcomes:
            if outcome.how == "right":
                truth = self.truth.get(outcome.value["version"], {})
                harm.corrupt_accepted += differences(Path(outcome.value["directory"]), truth)
