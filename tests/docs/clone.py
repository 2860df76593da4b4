"""A fresh clone of this checkout, with an environment of its own that nothing is downloaded for."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

from support import run_git

from kfp_textclf.pipelines.sources import CHECKOUT


def fresh_clone(directory: Path) -> Path:
    """Clone this checkout, with what is not committed yet, as ``make install`` would leave it."""
    run_git(CHECKOUT, "clone", "-q", "--no-local", str(CHECKOUT), str(directory))
    run_git(directory, "checkout", "-q", "-B", "main")
    changed = run_git(CHECKOUT, "ls-files", "-z", "--modified", "--others", "--exclude-standard").split("\0")
    for name in filter(None, changed):
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, target) if (CHECKOUT / name).exists() else target.unlink(missing_ok=True)
    commit(directory, "as it is")
    _environment(directory / ".venv")
    return directory


def commit(directory: Path, message: str) -> None:
    """Commit everything."""
    run_git(directory, "add", "--all")
    run_git(directory, "commit", "-q", "--allow-empty", "-m", message)


def _environment(target: Path) -> None:
    """Make a virtual environment with the packages of this one, but the project's own from the clone."""
    venv.create(target, symlinks=True)
    packages = next(target.glob("lib/python*/site-packages"))
    ours = Path(sys.prefix)
    (packages / "packages.pth").write_text(f"{next(ours.glob('lib/python*/site-packages'))}\n")
    for editable in (ours / packages.relative_to(target)).glob("__editable__*"):
        text = editable.read_text(encoding="utf-8").replace(str(CHECKOUT), str(target.parent))
        (packages / editable.name).write_text(text, encoding="utf-8")
    for script in (ours / "bin").iterdir():
        copy = target / "bin" / script.name
        if copy.exists() or not script.is_file() or script.is_symlink():
            continue
        content = script.read_bytes()
        if content.startswith(b"#!" + bytes(ours)):
            copy.write_bytes(content.replace(bytes(ours / "bin"), bytes(target / "bin"), 1))
            copy.chmod(0o755)
        else:
            copy.symlink_to(script)
    (target / ".ready").touch()  # newer than pyproject.toml and constraints.txt: make has nothing to install


def run(command: str, directory: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command as a reader would, in bash, with nothing to read from."""
    return subprocess.run(
        ["bash", "-c", command],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
