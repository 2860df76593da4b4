"""Posting a report where it is read: the summary of the workflow's run, and one comment of its pull request.

A comment carries the workflow's name, unseen, so that each workflow has one comment, which it rewrites: cml's own mark
(``--watermark-title``), or a comment in HTML for gh, whose ``--edit-last`` would rewrite another workflow's.
"""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

LONGEST_COMMENT = 65_000  # characters: GitHub takes 65,536, and cml adds its mark
LONGEST_SUMMARY = 1_000_000  # bytes: GitHub takes 1 MiB for each step
SECONDS = 120  # that a command may take


class NotPosted(Exception):
    """Why a comment was not written, in one line."""


def post(text: str) -> None:
    """Post a report, and say where it is, or why it is nowhere: that fails nothing.

    Args:
        text: Markdown.
    """
    try:
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            _append(Path(summary), text)
    except OSError as error:
        print(f"note: not in the summary of the run: {error}")
    try:
        print(f"comment: {_comment(text, os.environ.get('GITHUB_WORKFLOW') or 'kfp-textclf')}")
    except (NotPosted, OSError) as error:
        print(f"note: no comment: {error}")


def _append(summary: Path, text: str) -> None:
    with summary.open("a", encoding="utf-8") as file:
        file.write(text.encode()[:LONGEST_SUMMARY].decode(errors="ignore") + "\n")


def _comment(text: str, title: str) -> str:
    """Write or rewrite the comment, and return where it is."""
    repository = os.environ.get("GITHUB_REPOSITORY")
    if not repository:
        raise NotPosted("GITHUB_REPOSITORY is not set; outside GitHub nothing is posted")
    number = _pull_request(repository)
    with tempfile.TemporaryDirectory() as scratch:
        if shutil.which("cml"):
            try:
                return _by_cml(_written(Path(scratch), text), repository, number, title)
            except NotPosted as error:
                print(f"note: {error}; gh is tried")
        mark = f"<!-- kfp-textclf: {title} -->"
        return _by_gh(_written(Path(scratch), f"{mark}\n{text}"), repository, number, mark)


def _written(directory: Path, text: str) -> Path:
    path = directory / "comment.md"
    path.write_text(fitted(text), encoding="utf-8")
    return path


def fitted(text: str, longest: int = LONGEST_COMMENT) -> str:
    """Return a text that fits into a comment: cut at a line, with what is open there closed."""
    if len(text) <= longest:
        return text
    kept = text[: longest - 200]
    kept = kept[: kept.rfind("\n") + 1] or kept
    fence = "```\n" if kept.count("\n```") % 2 else ""
    folds = "</details>\n" * max(0, kept.count("<details") - kept.count("</details>"))
    return f"{kept}{fence}{folds}\nThe rest is left out here; the summary of the run has all of it.\n"


def _pull_request(repository: str) -> int:
    """Return the number of the pull request of this run, or of the one that brought its commit."""
    try:
        event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
        number = event.get("pull_request", {}).get("number")
    except (KeyError, OSError, ValueError, AttributeError):
        number = None
    if not number:
        found = _run("gh", "api", f"repos/{repository}/commits/{os.environ.get('GITHUB_SHA', 'HEAD')}/pulls")
        pulls = _json(found)
        number = pulls[0].get("number") if isinstance(pulls, list) and pulls else None
    if not isinstance(number, int):
        raise NotPosted("no pull request belongs to this commit")
    return number


def _by_cml(report: Path, repository: str, number: int, title: str) -> str:
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
    place = ["--driver=github", f"--repo={server}/{repository}", f"--target=pr/{number}"]
    return _run(
        "cml",
        *("comment", "update", *place, f"--watermark-title={title}", "--publish=false", str(report)),
        REPO_TOKEN=os.environ.get("GH_TOKEN") or os.environ.get("GITHUB_TOKEN", ""),
        ITERATIVE_DO_NOT_TRACK="1",
        GIT_CONFIG_GLOBAL=str(report.with_name("gitconfig")),  # where it declares every directory safe
    ).strip()


def _by_gh(report: Path, repository: str, number: int, mark: str) -> str:
    listed = _json(_run("gh", "pr", "view", str(number), f"--repo={repository}", "--json=comments"))
    comments = listed.get("comments", []) if isinstance(listed, dict) else []
    own = [c["url"] for c in comments if c.get("viewerDidAuthor") and str(c.get("body")).startswith(mark)]
    if not own:
        return _run("gh", "pr", "comment", str(number), f"--repo={repository}", f"--body-file={report}").strip()
    identifier = own[-1].rpartition("-")[2]  # ...#issuecomment-123
    _run("gh", "api", "--method=PATCH", f"repos/{repository}/issues/comments/{identifier}", f"--field=body=@{report}")
    return own[-1]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise NotPosted(f"gh answered with no JSON: {text[:80]!r}") from error


def _run(command: str, *arguments: str, **environment: str) -> str:
    """Run a command and return what it prints.

    Raises:
        NotPosted: It is missing or fails.
    """
    try:
        done = subprocess.run(  # noqa: S603
            [command, *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise NotPosted(f"{command} is not installed") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotPosted(f"{command} does not work ({error})") from error
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        raise NotPosted(f"{command} failed: {last}")
    return done.stdout
