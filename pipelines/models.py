"""Published models: list them, go back to an earlier one, delete old ones."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kfp_textclf.components.common.errors import UserError

if TYPE_CHECKING:
    from kfp_textclf.components.common.model_store import ModelStore

app = typer.Typer(no_args_is_help=True, help=__doc__)

Store = Annotated[str, typer.Argument(help="file:///path, s3://bucket/prefix, or a directory.")]


@app.command(name="list")
def list_(store: Store) -> None:
    """List the published versions, newest first."""
    models = open_models(store)
    champion = models.champion()
    typer.echo(f"{'version':<18}{'published':<21}{'MCC':>8}{'accuracy':>10}{'size':>11}  ")
    for line in _lines(models, champion):
        typer.echo(line.rstrip())


def _lines(models: "ModelStore", champion: dict[str, Any] | None) -> Iterator[str]:
    from kfp_textclf.components.common.report import format_bytes

    rows, damaged = [], []
    for version in models.versions():
        try:
            manifest = models.manifest(version) or {"files": {}}
            rows.append((manifest.get("published_at", ""), version, manifest["files"]))
        except UserError as error:
            damaged.append((version, error))
    for published_at, version, files in sorted(rows, key=lambda row: row[:2], reverse=True):
        metrics = models.metrics(version)
        figures = [f"{metrics[name]:.4f}" if name in metrics else "" for name in ("matthews_correlation", "accuracy")]
        size = format_bytes(sum(entry["size"] for entry in files.values()))
        time = published_at[:19].replace("T", " ")
        yield f"{version:<18}{time:<21}{figures[0]:>8}{figures[1]:>10}{size:>11}  {_role(version, champion)}"
    for version, error in damaged:
        yield f"{version:<18}damaged: {error}"


def _role(version: str, champion: dict[str, Any] | None) -> str:
    if not champion:
        return ""
    if version == champion["version"]:
        return "champion"
    if version in champion["deleting"]:
        return "being deleted"
    earlier = [entry["version"] for entry in champion["history"]]
    return f"champion {earlier.index(version) + 1} before" if version in earlier else ""


@app.command()
def rollback(
    store: Store,
    to: Annotated[str, typer.Option(help="Version; the champion before this one when not given.")] = "",
) -> None:
    """Make an earlier version the champion again, after verifying every byte of it."""
    models = open_models(store)
    before = models.champion()
    record = models.rollback(to)
    if before and before["version"] == record["version"]:
        typer.echo(f"{record['version']} is the champion already")
    else:
        typer.echo(f"champion is {record['version']} again, was {before['version'] if before else 'none'}")


@app.command()
def prune(
    store: Store,
    keep: Annotated[int, typer.Option(min=1, help="How many of the newest versions to keep.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
) -> None:
    """Delete old versions, but never the champion, nor the one before it."""
    deleted = open_models(store).prune(keep, dry_run)
    for version in deleted:
        typer.echo(f"{'would delete' if dry_run else 'deleted'} {version}")
    if not deleted:
        typer.echo("nothing to delete")


def open_models(store: str) -> "ModelStore":
    """Return the store at a URI or in a directory.

    Raises:
        UserError: There is none.
    """
    from kfp_textclf.components.common.model_store import ModelStore

    models = ModelStore.open(store if "://" in store else Path(store).resolve().as_uri(), "STORE")
    if not models.champion() and not models.versions():
        raise UserError(f"{store}: holds no published models; name the place that publish_to names")
    return models
