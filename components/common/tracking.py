"""Weights & Biases: the one place that decides whether a step is tracked there, and keeps its faults from the step.

Read from the environment alone, so that nothing of it enters parameters, KFP's cache key or an artifact:

- ``WANDB_MODE``: ``online``, ``offline`` or ``disabled``; unset: online with a ``WANDB_API_KEY``, none without;
- ``KFP_TEXTCLF_RUN``: the pipeline run, by which W&B groups its steps: the label ``pipeline/runid`` of a pod, the
  directory of a local run;
- ``WANDB_PROJECT``, ``WANDB_ENTITY``, ``WANDB_BASE_URL``, ``WANDB_DIR`` and others as W&B documents them.

Where W&B cannot be reached or refuses, a step is tracked offline; where that fails too, not at all.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.tracking_environment import (
    flat,
    group_name,
    plain,
    reason_of,
    safe_name,
    usable_environment,
    wanted_mode,
    without_secrets,
)

INIT_SECONDS, FINISH_SECONDS = 8, 15


class TrackedRun:
    """What a step logs to. No method raises; the first fault ends the tracking, and `metadata` says so.

    Attributes:
        mode: ``online``, ``offline`` or ``none``: where the figures go.
        note: Why that is not what was asked for, or not all of them; empty otherwise.
        url: The run's page; empty when there is none.
        directory: What ``kfp-textclf track sync`` sends later; empty unless offline.
    """

    def __init__(self) -> None:
        """Start as a run that is not tracked."""
        self.mode, self.note, self.url, self.directory = "none", "", "", ""
        self._run: Any = None
        self._broken = False

    def metadata(self) -> dict[str, str]:
        """Return the attributes that are not empty, for the artifact's metadata."""
        shown = {name: getattr(self, name) for name in ("mode", "note", "url", "directory")}
        return {name: value for name, value in shown.items() if value}

    def log(self, figures: Mapping[str, Any], step: int) -> None:
        """Log figures of an optimizer step."""
        self._guarded(lambda run: run.log(dict(figures), step=step))

    def summary(self, figures: Mapping[str, Any]) -> None:
        """Set figures of the whole run; names of those within a mapping are joined by a slash."""
        self._guarded(lambda run: run.summary.update(dict(flat(figures))))

    def reference_artifact(
        self, name: str, uri: str, aliases: Sequence[str] = (), metadata: Mapping[str, Any] | None = None
    ) -> None:
        """Log a model by the URI where it lies; nothing but the URI is sent.

        Args:
            name: Its name in W&B, that of all its versions.
            uri: Such as ``s3://bucket/prefix``, or a path.
            aliases: Such as ``candidate``; W&B moves them here from the version that had them.
            metadata: Figures shown with it.
        """

        def log_reference(run: Any) -> None:
            import wandb

            artifact = wandb.Artifact(safe_name(name), type="model", metadata=plain(metadata or {}))
            artifact.add_reference(without_secrets(uri if "://" in uri else Path(uri).as_uri()), checksum=False)
            run.log_artifact(artifact, aliases=[safe_name(alias) for alias in aliases])

        self._guarded(log_reference)

    def _guarded(self, action: Callable[[Any], object]) -> None:
        if self._run is None or self._broken:
            return
        try:
            action(self._run)
        except Exception as error:
            self._broken = True
            self._note(f"not all was tracked, {reason_of(error)}")

    def _note(self, note: str) -> None:
        self.note = "; ".join(filter(None, (self.note, note)))
        print(f"tracking: {note}", file=sys.stderr, flush=True)

    def _start(self, mode: str, step: str, config: dict[str, Any]) -> None:
        """Start the W&B run; a retried step of a pipeline run, configured the same, goes on with the one it had."""
        import wandb

        group = group_name()
        resumable = bool(group) and mode == "online"  # offline, the id would be refused after an attempt to go online
        work = json.dumps([group, step, config], sort_keys=True).encode()
        settings = wandb.Settings(
            init_timeout=INIT_SECONDS,
            login_timeout=INIT_SECONDS,
            finish_timeout=FINISH_SECONDS,
            finish_timeout_raises=True,
            silent=True,
            console="off",
            save_code=False,
            disable_code=True,
            disable_git=True,  # the remote's URL may hold credentials
            x_disable_meta=True,  # command line, user, paths
        )
        self._run = wandb.init(
            project=os.environ["WANDB_PROJECT"],
            dir=os.environ["WANDB_DIR"],  # wandb itself reads it once a process
            mode="online" if mode == "online" else "offline",
            id=hashlib.sha256(work).hexdigest()[:16] if resumable else None,
            resume="allow" if resumable else None,
            name=safe_name(f"{step}-{group}"),
            group=group or None,
            job_type=safe_name(step),
            config=config,
            reinit="create_new",
            settings=settings,
        )
        self.mode, self.url = mode, without_secrets(self._run.url or "") if mode == "online" else ""
        self.directory = str(Path(self._run.settings.sync_dir).resolve()) if mode == "offline" else ""
        print(f"tracking {mode}: {self.url or self.directory}", file=sys.stderr, flush=True)

    def _finish(self, exit_code: int) -> None:
        try:
            self._run.finish(exit_code=exit_code)
        except TimeoutError:
            self._note(f"not all was sent within {FINISH_SECONDS} s, but lies in {self._run.settings.sync_dir}")
        except Exception as error:
            self._note(f"not all was tracked, {reason_of(error)}")


@contextmanager
def track(step: str, config: Mapping[str, Any]) -> Iterator[TrackedRun]:
    """Yield the W&B run of a step; where there can be none, one that does nothing.

    Args:
        step: Name of the step: the job type, and part of the run's name.
        config: Parameters and data set pin.
    """
    tracked = TrackedRun()
    with ExitStack() as stack:
        _begin(tracked, step, config, stack)
        if tracked._run is not None:
            stack.push(lambda kind, error, trace: tracked._finish(0 if kind is None else 1))
        yield tracked


def _begin(tracked: TrackedRun, step: str, config: Mapping[str, Any], stack: ExitStack) -> None:
    mode, reason = wanted_mode()
    if mode == "none":
        tracked._note(f"not tracked, {reason}")
        return
    try:
        import wandb  # noqa: F401
    except Exception as error:
        tracked._note(f"not tracked, wandb cannot be imported ({reason_of(error)}); pip install 'kfp-textclf[track]'")
        return
    try:
        if moved := stack.enter_context(usable_environment()):
            tracked._note(moved)
        if mode == "online":
            try:
                return tracked._start(mode, step, plain(config))
            except Exception as error:
                tracked._note(f"offline instead of online, {reason_of(error)}")
        tracked._start("offline", step, plain(config))
    except Exception as error:
        tracked._note(f"not tracked, {reason_of(error)}")
