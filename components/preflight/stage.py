"""Look at everything that a run needs before a GPU node is started for it."""

import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from kfp_textclf.components.common.artifacts import MANIFEST
from kfp_textclf.components.common.base_models import check_base_model, versioned
from kfp_textclf.components.common.dataset_pin import DatasetPin, check_pinned
from kfp_textclf.components.common.errors import UserError
from kfp_textclf.components.common.model_store import ModelStore
from kfp_textclf.components.common.object_store import ABSENT, open_store
from kfp_textclf.components.common.published import NO_CHAMPION, version_uri
from kfp_textclf.components.preflight.surroundings import gpu_pool_note, wandb_note

AT_A_TIME = 16


@dataclass(frozen=True)
class Preflight:
    """What was found.

    Attributes:
        base_model: URI of the base model, with the version of what lies there now.
        champion: URI of the published version to beat; empty for none.
        notes: What may be right all the same.
    """

    base_model: str
    champion: str
    notes: list[str]


def preflight(
    dataset_pin: dict[str, Any],
    *,
    base_model: str,
    publish_to: str,
    champion_uri: str = "",
    checkpoint_uri: str = "",
    node_selector: Mapping[str, str] | None = None,
) -> Preflight:
    """Look at every place that a run reads from or writes to; nothing is downloaded and nothing is left behind.

    Args:
        dataset_pin: See `DatasetPin.parse`.
        base_model: URI of the base model.
        publish_to: URI of the model store.
        champion_uri: URI of a published version or of a store, which means its champion; empty for that of
            ``publish_to``, ``none`` for none.
        checkpoint_uri: Where checkpoints are kept; empty for nowhere.
        node_selector: Labels of the nodes that train.

    Raises:
        UserError: Something is wrong; the message names everything that is.
    """
    now: dict[str, str] = {}
    checks: list[Callable[[], Any]] = [
        lambda: now.update(base_model=_base_model(base_model)),
        lambda: _check_writable(publish_to, "publish_to"),
    ]
    if checkpoint_uri:
        checks.append(lambda: _check_writable(checkpoint_uri, "checkpoint_uri"))
    checks.append(lambda: now.update(champion=_champion(champion_uri, publish_to)))
    problems: list[str] = []
    try:
        checks = [lambda file=file: check_pinned(file) for file in DatasetPin.parse(dataset_pin).files] + checks
    except UserError as error:
        problems.append(str(error))
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        found = pool.map(_problem, checks)
        notes = [note for note in (wandb_note(), gpu_pool_note(node_selector or {})) if note]
        problems += [problem for problem in found if problem]
    for line in [*(f"note: {note}" for note in notes), *(f"problem: {problem}" for problem in problems)]:
        print(line, flush=True)
    if problems:
        raise UserError(" | ".join(dict.fromkeys(problems)))
    print(f"{len(checks)} places are as the run needs them", flush=True)
    return Preflight(now["base_model"], now["champion"], notes)


def _problem(check: Callable[[], Any]) -> str:
    try:
        check()
    except UserError as error:
        return str(error)
    return ""


def _check_writable(uri: str, name: str) -> None:
    """Refuse a store in which an object cannot be made and deleted."""
    store = open_store(uri, name)
    key = f".preflight/{uuid.uuid4().hex}"
    try:
        store.write(key, b"written by preflight_run, and deleted at once\n", expected=ABSENT)
        store.delete(key)
    except UserError as error:
        raise UserError(f"{name}={uri}: cannot be written: {error}") from error


def _base_model(uri: str) -> str:
    check_base_model(uri)
    return versioned(uri)


def _champion(uri: str, publish_to: str) -> str:
    """Return the URI of the version to beat, or refuse one that is not there."""
    if uri == NO_CHAMPION:
        return ""
    if not uri:
        store = ModelStore.open(publish_to, "publish_to")
        champion = store.champion()
        return store.uri_of(champion["version"]) if champion else ""
    version = version_uri(uri, "champion_uri")
    if open_store(version, "champion_uri").size(MANIFEST) is None:
        raise UserError(f"champion_uri={uri!r}: is neither a published version nor a store with a champion; correct it")
    return version
