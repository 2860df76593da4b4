"""Where DVC keeps pinned bytes: the remotes and the cache that ``.dvc/config`` names."""

import configparser
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kfp_textclf.components.common.errors import UserError

SCHEMES = ("file", "http", "https", "s3")
TEMPLATE = "CHANGE-ME"
ENVIRONMENT = {  # options of a DVC remote, and the variables by which everything else gets to know them
    "endpointurl": "AWS_ENDPOINT_URL_S3",
    "region": "AWS_REGION",
    "profile": "AWS_PROFILE",
    "credentialpath": "AWS_SHARED_CREDENTIALS_FILE",
    "configpath": "AWS_CONFIG_FILE",
    "access_key_id": "AWS_ACCESS_KEY_ID",
    "secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "session_token": "AWS_SESSION_TOKEN",
}


@dataclass(frozen=True)
class Remote:
    """A store of pinned bytes.

    Attributes:
        uri: ``s3://``, ``https://``, ``http://`` or ``file://``; DVC's keys are appended to it.
        name: Its name in ``.dvc/config``, if it stands there.
        options: Its other options there.
    """

    uri: str
    name: str = ""
    options: Mapping[str, str] = field(default_factory=dict, repr=False)

    def use_options(self) -> None:
        """Let this process and its children reach the store as DVC does; what the environment says wins.

        Only there: endpoints and keys belong in no pin.
        """
        if self.uri.startswith("s3://"):
            keys = {"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_ROLE_ARN"} & os.environ.keys()
            for option, variable in ENVIRONMENT.items():
                is_identity = option in ("profile", "access_key_id", "secret_access_key", "session_token")
                if option in self.options and not (is_identity and keys):
                    os.environ.setdefault(variable, self.options[option])


def dvc_root(path: Path) -> Path | None:
    """Return the root of the DVC repository that holds a path, or None."""
    return next((folder for folder in (path, *path.parents) if (folder / ".dvc").is_dir()), None)


def cache_directory(root: Path | None) -> Path | None:
    """Return the directory of DVC's cache; it need not exist."""
    if not root:
        return None
    return _path(_config(root).get("cache", {}).get("dir", "cache"), root / ".dvc")


def resolve_store(store: str, root: Path) -> Remote:
    """Return the store that a parameter names.

    Args:
        store: Name of a DVC remote, a URI, or a directory (from ``root`` on, when relative).
        root: Directory of the parameter file.

    Raises:
        UserError: It is none of these, or a remote that cannot be read by content-addressed keys.
    """
    repository = dvc_root(root)
    remotes = read_remotes(repository) if repository else {}
    if store in remotes and repository:
        return _configured(store, remotes, repository)
    if "://" in store:
        if store.partition("://")[0] not in SCHEMES:
            raise UserError(f"store={store!r}: cannot be read; use {', '.join(f'{s}://' for s in SCHEMES)}")
        return Remote(store.rstrip("/"))
    if not _path(store, root).is_dir():
        known = ", ".join(remotes) or "none"
        raise UserError(f"store={store!r}: is neither a URI, a directory, nor a DVC remote ({known})")
    return Remote(_path(store, root).as_uri())


def default_remote(root: Path) -> Remote | None:
    """Return DVC's default remote, else the only one that is set up, else None.

    Raises:
        UserError: The default remote does not exist or cannot be read.
    """
    repository = dvc_root(root)
    if not repository:
        return None
    remotes = read_remotes(repository)
    name = _config(repository).get("core", {}).get("remote", "")
    if name:
        return resolve_store(name, root)
    usable = [name for name, options in remotes.items() if TEMPLATE not in options.get("url", "")]
    return _configured(usable[0], remotes, repository) if len(usable) == 1 else None


def read_remotes(root: Path) -> dict[str, dict[str, str]]:
    """Return the options of every remote of a DVC repository by its name."""
    sections = {name.strip("'"): options for name, options in _config(root).items()}
    return {name[8:-1]: options for name, options in sections.items() if name.startswith('remote "')}


def _configured(name: str, remotes: Mapping[str, dict[str, str]], root: Path, depth: int = 0) -> Remote:
    options = dict(remotes[name])
    url = options.pop("url", "")
    where = f"remote {name!r} of {root / '.dvc' / 'config'}"
    if not url or TEMPLATE in url:
        raise UserError(f"{where}: its url is a template; put yours there: dvc remote modify {name} url URL")
    if options.get("version_aware", "").lower() == "true" or options.get("worktree", "").lower() == "true":
        raise UserError(f"{where}: is a cloud-versioned one, which has no content-addressed keys; use another remote")
    scheme, separator, rest = url.partition("://")
    if scheme == "remote" and separator:
        base, _, below = rest.partition("/")
        if base not in remotes or depth > len(remotes):
            raise UserError(f"{where}: is relative to the remote {base!r}, which does not exist; correct its url")
        parent = _configured(base, remotes, root, depth + 1)
        return Remote(f"{parent.uri}/{below}".rstrip("/"), name, {**parent.options, **options})
    if separator and scheme not in SCHEMES:
        raise UserError(f"{where}: {scheme}:// cannot be read; use {', '.join(f'{s}://' for s in SCHEMES)}")
    for option in ("credentialpath", "configpath"):
        if option in options:
            options[option] = str(_path(options[option], root / ".dvc"))
    return Remote(url.rstrip("/") if separator else _path(url, root / ".dvc").as_uri(), name, options)


def _path(text: str, base: Path) -> Path:
    return Path(os.path.normpath(base / Path(text).expanduser()))


def _config(root: Path) -> dict[str, dict[str, str]]:
    """Return the sections of ``.dvc/config``, with what ``.dvc/config.local`` says instead."""
    parser = configparser.ConfigParser(interpolation=None, strict=False, inline_comment_prefixes=("#",))
    try:
        parser.read([root / ".dvc" / "config", root / ".dvc" / "config.local"], encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{root / '.dvc' / 'config'}: cannot be read ({reason}); see dvc config --list") from error
    return {name: {option: value.strip("'\"") for option, value in parser[name].items()} for name in parser.sections()}
