"""The command line ``kfp-textclf``."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.pipelines import data_cli, models
from kfp_textclf.pipelines.cluster_commands import schedule, submit
from kfp_textclf.pipelines.start import run as run_command

# Commands import what they need when they run: `predict` answers without loading kfp, torch or pydantic.
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(data_cli.app, name="data")

app.add_typer(models.app, name="models")

ParamsFile = Annotated[Path, typer.Option("--params", help="Parameter file.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="Override a parameter: train.epochs=2. Repeatable.")]
Dataset = Annotated[str, typer.Option(help="Data set: a name in params.yaml, or a file.")]
Runs = Annotated[Path, typer.Option(help="Where runs are kept.")]
Cache = Annotated[bool, typer.Option(help="Reuse steps that ran before with the same inputs and code.")]


@app.command()
def run(
    dataset: Dataset = "",
    runs: Runs = Path("runs"),
    params: ParamsFile = Path("params.yaml"),
    settings: Settings = None,
    cache: Cache = True,
    runner: Annotated[
        Literal["subprocess", "docker"], typer.Option(help="Run each step here, or in a container of its image.")
    ] = "subprocess",
    memory: Annotated[str, typer.Option(help="Most memory of a step in a container.")] = "8g",
    store: Annotated[str, typer.Option(help="Keep data, models and checkpoints below this URI: s3://bucket/x.")] = "",
) -> None:
    """Run the training pipeline on this machine; a run that was interrupted continues where it was."""
    from kfp_textclf.pipelines.training_run import run_training

    overrides = [*(settings or []), *([f"dataset={dataset}"] if dataset else [])]
    run_training(params, overrides, runs, caching=cache, memory=memory if runner == "docker" else "", store=store)


@app.command()
def sweep(
    dataset: Dataset = "",
    runs: Runs = Path("runs"),
    params: ParamsFile = Path("params.yaml"),
    settings: Settings = None,
    cache: Cache = True,
) -> None:
    """Try the candidates of the sweep section of params.yaml on this machine, and publish the winner if it is good."""
    from kfp_textclf.pipelines.training_run import run_training

    overrides = [*(settings or []), *([f"dataset={dataset}"] if dataset else [])]
    run_training(params, overrides, runs, caching=cache, pipeline="sweep")


@app.command(name="compile")
def compile_(
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if a file would change.")] = False,
    to: Annotated[
        Path | None, typer.Option(help="Write the pipelines there, for the images of the checkout as it is.")
    ] = None,
) -> None:
    """Write every component.yaml, pipeline YAML and component README of the checkout, for the images of the release."""
    if to:
        from kfp_textclf.pipelines.sources import use_current_images

        use_current_images()
    from kfp_textclf.pipelines.generate import generated_files, pipelines_in, write_or_check

    changed = write_or_check(pipelines_in(to) if to else generated_files(), check=check)
    if check and changed:
        names = ", ".join(str(path) for path in changed)
        raise UserError(f"{names}: differs from its source; run `make compile` and commit the result")
    typer.echo(f"{len(changed)} files written" if changed else "everything is up to date", err=True)


@app.command()
def predict(
    model: Annotated[
        str, typer.Argument(help="Directory of a model, or URI of a published version or of a store (its champion).")
    ],
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts; read from standard input, one a line, when none.")
    ] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="CSV with a header; written back with two more columns.")
    ] = None,
    column: Annotated[str, typer.Option(help="Column of the texts in the CSV.")] = "text",
) -> None:
    r"""Label texts with an ONNX model: label, probability and text, separated by tabs; torch is not needed.

    A tab, line feed, carriage return or backslash in a text is written as \t, \n, \r or \\. All is in UTF-8.
    """
    from kfp_textclf.pipelines.predict import lines_of, predict_csv, predict_texts

    if csv_file and texts:
        raise UserError(f"--csv {csv_file}: takes no texts beside it; label them by a command of their own")
    if csv_file:
        predict_csv(model, csv_file, column, sys.stdout)
    elif texts:
        predict_texts(model, texts, sys.stdout)
    else:
        predict_texts(model, lines_of(sys.stdin), sys.stdout, place="standard input: line")


@app.command()
def compare(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN_A RUN_B...",
            help="A run below runs/ or its directory, `latest`, `workspace` (outputs of dvc repro), a DVC revision or "
            "experiment, kfp:RUN_ID, or the directory of an offline W&B run.",
        ),
    ],
    runs: Runs = Path("runs"),
    html: Annotated[Path | None, typer.Option(help="Write the comparison as a page, too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of text.")] = False,
) -> None:
    """Compare runs with the first: metrics, parameters, data, and whether they differ by more than chance."""
    import json

    from kfp_textclf.pipelines.compare import compare_runs, load_run
    from kfp_textclf.pipelines.comparison_report import in_html, in_text

    if len(names) < 2:
        raise UserError("compare: needs at least two runs, such as `kfp-textclf compare latest workspace`")
    comparison = compare_runs([load_run(name, runs) for name in names])
    if html:
        try:
            html.write_text(in_html(comparison), encoding="utf-8")
        except OSError as error:
            raise UserError(f"{html}: cannot be written ({error.strerror}); choose another file") from error
    print(json.dumps(comparison, indent=2) if as_json else in_text(comparison))


@app.command()
def report(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="The run to report on, as `compare` takes it, whether or not it ended well; further ones are compared "
            "with it.",
        ),
    ],
    runs: Runs = Path("runs"),
    output: Annotated[Path | None, typer.Option(help="Write the report there, not to standard output.")] = None,
    post: Annotated[bool, typer.Option("--post", help="In a GitHub workflow: post it, too; see `post`.")] = False,
) -> None:
    """Describe a run in Markdown for a pull request: verdict, changes against the champion, data, steps, log."""
    from kfp_textclf.pipelines.run_record import find_record
    from kfp_textclf.pipelines.run_report import run_report

    text = run_report([find_record(name, runs) for name in names])
    if output:
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UserError(f"{output}: cannot be written ({error.strerror}); choose another file") from error
    elif not post:
        print(text)
    if post:
        from kfp_textclf.pipelines.posting import post as publish

        publish(text)


@app.command()
def post(report: Annotated[Path, typer.Argument(metavar="REPORT", help="Markdown file.")]) -> None:
    """In a GitHub workflow: put a report into the run's summary and the pull request's comment."""
    from kfp_textclf.pipelines.posting import post as publish

    try:
        text = report.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"{report}: cannot be read ({error.strerror}); write it first: kfp-textclf report") from error
    publish(text)


track = typer.Typer(no_args_is_help=True, help="What is tracked in Weights & Biases.")
app.add_typer(track, name="track")


@track.command()
def sync(
    runs: Annotated[list[Path] | None, typer.Argument(help="Directories of runs, or of single W&B runs.")] = None,
    seconds: Annotated[float, typer.Option("--timeout", help="Longest time to send one run, in seconds.")] = 120,
) -> None:
    """Send what was tracked offline to Weights & Biases."""
    from kfp_textclf.pipelines.track import SyncFailed
    from kfp_textclf.pipelines.track import sync as send

    try:
        send(runs or [Path("runs")], seconds)
    except SyncFailed as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


app.command()(submit)
app.command()(schedule)


def main() -> None:
    """Run the command line; a user error is one line and exit code 2."""
    run_command(app)


if __name__ == "__main__":
    main()
