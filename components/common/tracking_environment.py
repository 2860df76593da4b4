"""What Weights & Biases finds in the environment of a step: mode, names it accepts, places it can write, no secrets."""

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kfp_textclf.components.common.artifacts import read_json

RUN_ENVIRONMENT = "KFP_TEXTCLF_RUN"
PROJECT = "kfp-textclf"
DEFAULT_SERVER = "https://api.forge.coreweave.com"  # as wandb has it, which need not be installed
MODES = {"online": "online", "run": "online", "offline": "offline", "dryrun": "offline", "disabled": "none"}
LONGEST_NAME = 128
_USER_INFO = re.compile(r"(\w://)[^/@\s\"]+@")
_QUERY = re.compile(r"(\w://[^\s\"?#]+)\?[^\s\"]*")


def wanted_mode() -> tuple[str, str]:
    """Return ``online``, ``offline`` or ``none`` as the environment asks, and for none the reason."""
    asked = os.environ.get("WANDB_MODE", "").strip().lower()
    if asked:
        mode = MODES.get(asked, "none")
        return mode, f"WANDB_MODE is {without_secrets(asked)!r}" if mode == "none" else ""
    if os.environ.get("WANDB_API_KEY", "").strip():
        return "online", ""
    return "none", "neither WANDB_MODE nor WANDB_API_KEY is set"


def group_name() -> str:
    """Return the name that groups the steps of a pipeline run; empty when the run is not known."""
    return safe_name(os.environ.get(RUN_ENVIRONMENT, "") or os.environ.get("WANDB_RUN_GROUP", ""))


def safe_name(name: str) -> str:
    """Return a name of letters, digits, dots, dashes and underscores alone, as W&B's runs and artifacts allow."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:LONGEST_NAME].rstrip("-.")


def without_secrets(text: str) -> str:
    """Return a text without the API key, and without user names, passwords and queries (signatures) of URIs."""
    if key := os.environ.get("WANDB_API_KEY", "").strip():
        text = text.replace(key, "***")
    return _QUERY.sub(r"\1", _USER_INFO.sub(r"\1", text))


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration as JSON values, without secrets."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: clean(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [clean(inner) for inner in value]
        return without_secrets(value) if isinstance(value, str) else value

    return clean(json.loads(json.dumps(config, default=str)))


def reason_of(error: Exception) -> str:
    """Return the first line of an error, without secrets."""
    lines = without_secrets(str(error)).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def flat(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (name, value) of the leaves of nested figures, names joined by a slash."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def dataset_pin(artifact: Path) -> dict[str, Any]:
    """Return git revision, and path and md5 of each file, of the data that a prepared data set or evaluation is of.

    Args:
        artifact: Directory with ``profile.json``; without one the pin is empty.
    """
    if not (artifact / "profile.json").is_file():
        return {}
    pin = read_json(artifact / "profile.json").get("dataset", {})
    files = [{"path": path, "md5": file.get("md5", "")} for path, file in sorted(pin.get("files", {}).items())]
    return {"git_rev": pin.get("git_rev", ""), "files": files}


@contextmanager
def usable_environment() -> Iterator[str]:
    """Set what W&B reads for the time of the block; yield a note when its directory had to be another one.

    Its own telemetry is turned off: it would be waited for at exit, and nobody asked for it.

    Raises:
        OSError: Not even the directory of temporary files can be written.
    """
    root, note = _root()
    values = {
        "OTEL_SDK_DISABLED": "true",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_SILENT": "true",
        "WANDB_PROJECT": safe_name(os.environ.get("WANDB_PROJECT", "")) or PROJECT,
        "WANDB_DIR": str(root),
        "WANDB_DATA_DIR": _place("WANDB_DATA_DIR", "", root),
        "WANDB_CACHE_DIR": _place("WANDB_CACHE_DIR", "", root),
        "WANDB_CONFIG_DIR": _place("WANDB_CONFIG_DIR", "~/.config/wandb", root),
        "WANDB_RUN_ID": None,  # that of one step would be every step's
        "WANDB_RUN_GROUP": None,
        "WANDB_NAME": None,
        "WANDB_RESUME": None,
    }
    before = {name: os.environ.get(name) for name in values}
    _set(values)
    try:
        yield note
    finally:
        _set(before)


def _root() -> tuple[Path, str]:
    """Return where run directories go, and a note when that is not ``WANDB_DIR``."""
    asked = os.environ.get("WANDB_DIR", "")
    if asked and _writable(Path(asked)):
        return Path(asked).resolve(), ""
    root = Path.cwd()
    if asked or not _writable(root):
        root = Path(tempfile.gettempdir())
    return root, f"WANDB_DIR={asked} cannot be written, {root} is used" if asked else ""


def _place(name: str, default: str, root: Path) -> str:
    place = os.environ.get(name) or os.path.expanduser(default)
    return place if place and _writable(Path(place)) else str(root / "wandb" / name.split("_")[1].lower())


def _writable(directory: Path) -> bool:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError:
        return False
    return True


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
