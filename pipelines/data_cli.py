"""``kfp-textclf data``: versions of data sets, pinned by DVC."""

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Versions of data sets: pin, look, compare.")

ParamsFile = Annotated[Path, typer.Option("--params", help="Parameter file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def add(
    targets: Annotated[list[Path], typer.Argument(help="Files of texts and labels, or directories with such files.")],
    remote: Annotated[str, typer.Option(help="DVC remote to push to; the default one if not given.")] = "",
    push: Annotated[bool, typer.Option(help="Push and read back what was pinned.")] = True,
    params: ParamsFile = Path("params.yaml"),
) -> None:
    """Pin files as a new version: checked, pushed, read back; if anything fails, the old version stays pinned."""
    from kfp_textclf.pipelines.data_add import add_version, show_added

    show_added(add_version(targets, params, remote, push))


@app.command()
def status(
    dataset: Annotated[str, typer.Argument(help="Data set: a name in params.yaml, or a file.")] = "",
    remote: Annotated[str, typer.Option(help="DVC remote, URI or directory.")] = "",
    verify: Annotated[bool, typer.Option("--verify", help="Read the bytes in cache and remote.")] = False,
    as_json: AsJson = False,
    params: ParamsFile = Path("params.yaml"),
) -> None:
    """Show where the pinned bytes of a data set are; exit code 1 if something is to be done."""
    from kfp_textclf.pipelines.data_status import data_status

    found = data_status(params, dataset, remote, verify)
    if as_json:
        print(json.dumps(found.as_dict(), indent=2))
    else:
        from kfp_textclf.pipelines.terminal import print_blocks

        print_blocks([found.table()])
    if not found.good:
        raise typer.Exit(1)


@app.command()
def diff(
    rev1: Annotated[str, typer.Argument(help="Git revision of the older version.")],
    rev2: Annotated[str, typer.Argument(help="Git revision of the newer version; the checkout if not given.")] = "",
    dataset: Annotated[str, typer.Option(help="Data set: a name in params.yaml, or a file.")] = "",
    remote: Annotated[str, typer.Option(help="DVC remote, URI or directory.")] = "",
    examples: Annotated[int, typer.Option(min=0, help="Texts shown of each kind of change.")] = 5,
    as_json: AsJson = False,
    html: Annotated[Path | None, typer.Option(help="Also write an HTML page.")] = None,
    params: ParamsFile = Path("params.yaml"),
) -> None:
    """Compare two versions of a data set: rows, classes, labels, and which texts are new, removed or relabelled."""
    from kfp_textclf.pipelines.data_versions import compare_versions, show_comparison

    show_comparison(compare_versions(params, rev1, rev2, dataset, remote, examples), as_json, html)


@app.command()
def report(
    rev: Annotated[str, typer.Argument(help="Git revision of the older version; the newer one is the checkout.")],
    remote: Annotated[str, typer.Option(help="DVC remote, URI or directory.")] = "",
    output: Annotated[Path | None, typer.Option(help="Write the report there, not to standard output.")] = None,
    params: ParamsFile = Path("params.yaml"),
) -> None:
    """Describe in Markdown, for a pull request, what changed in each data set of params.yaml since a revision."""
    from kfp_textclf.pipelines.data_report import data_report
    from kfp_textclf.pipelines.terminal import print_or_write

    print_or_write(data_report(params, rev, remote), output)
