"""The command line ``kfp-textclf``."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from kfp_textclf.components.common.errors import UserError
from kfp_textclf.pipelines.cluster_commands import schedule, submit

# Commands import what they need when they run: `predict` answers without loading kfp, torch or pydantic.
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

ParamsFile = Annotated[Path, typer.Option("--params", help="Parameter file.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="Override a parameter: train.epochs=2. Repeatable.")]


@app.command()
def run(
    dataset: Annotated[str, typer.Option(help="Data set: a name in params.yaml, or a file.")] = "",
    runs: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("runs"),
    params: ParamsFile = Path("params.yaml"),
    settings: Settings = None,
    cache: Annotated[bool, typer.Option(help="Reuse steps that ran before with the same inputs and code.")] = True,
    runner: Annotated[
        Literal["subprocess", "docker"], typer.Option(help="Run each step here, or in a container of its image.")
    ] = "subprocess",
    memory: Annotated[str, typer.Option(help="Most memory of a step in a container.")] = "8g",
) -> None:
    """Run the training pipeline on this machine; a run that was interrupted continues where it was."""
    from kfp_textclf.pipelines.training_run import run_training

    overrides = [*(settings or []), *([f"dataset={dataset}"] if dataset else [])]
    run_training(params, overrides, runs, caching=cache, memory=memory if runner == "docker" else "")


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
    model: Annotated[Path, typer.Argument(help="Directory of a published or exported model.")],
    texts: Annotated[
        list[str] | None, typer.Argument(help="Texts; read from standard input, one a line, when none.")
    ] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="CSV with a header; written back with two more columns.")
    ] = None,
    column: Annotated[str, typer.Option(help="Column of the texts in the CSV.")] = "text",
) -> None:
    """Label texts with an ONNX model: label, probability and text, separated by tabs; torch is not needed."""
    from kfp_textclf.pipelines.predict import predict_csv, predict_texts

    if csv_file:
        predict_csv(model, csv_file, column, sys.stdout)
    else:
        predict_texts(model, texts or (line.rstrip("\r\n") for line in sys.stdin), sys.stdout)


app.command()(submit)
app.command()(schedule)


def main() -> None:
    """Run the command line; a user error is one line and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)


if __name__ == "__main__":
    main()
