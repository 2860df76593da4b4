"""Measure the images of this checkout, for docs/images.md: sizes, what takes the space, cold start of each step."""

import json
import statistics
import subprocess
import time

from kfp_textclf.pipelines.sources import RECORD, current_images

REPEATS = 5
STEPS = {  # step: its image, and the libraries that its work imports
    "ingest": ("cpu", ()),
    "prepare": ("cpu", ("tokenizers", "pyarrow.parquet", "matplotlib.figure", "jinja2")),
    "train": ("gpu", ("torch", "transformers.trainer", "pyarrow.parquet")),
    "export": ("export", ("torch", "transformers", "onnx", "onnxruntime.quantization", "pyarrow.parquet")),
    "evaluate": ("cpu", ("onnxruntime", "tokenizers", "sklearn.svm", "pyarrow.parquet", "matplotlib.figure", "jinja2")),
    "publish": ("cpu", ()),
}
START = "import os; os.environ['_KFP_RUNTIME'] = 'true'; import kfp.dsl.executor_main, kfp_textclf.components.{}.stage"
SPACE = """
import pathlib
site = pathlib.Path("/opt/venv/lib/python3.11/site-packages")
sizes = {p.name: sum(f.lstat().st_size for f in [p, *p.rglob("*")] if f.is_file()) for p in site.iterdir()}
code = sum(f.stat().st_size for f in site.rglob("*.pyc"))
largest = sorted(sizes, key=sizes.get, reverse=True)[:9]
print(", ".join(f"{name} {sizes[name] / 1e6:.0f}" for name in largest), f"; byte code of all {code / 1e6:.0f}")
"""


def output(*command: str) -> str:
    """Return what a command prints."""
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()  # noqa: S603


def compressed_bytes(image: str) -> int:
    """Return the bytes of ``docker save IMAGE | gzip``."""
    return int(output("sh", "-c", 'docker save "$1" | gzip | wc -c', "sh", image))


def seconds(image: str, *command: str) -> float:
    """Return the median time of a command in a new container, as a step runs: read-only, without network."""
    container = ["docker", "run", "--rm", "--read-only", "--tmpfs=/tmp", "--network=none", image, *command]
    times = []
    for _ in range(REPEATS):
        started = time.monotonic()
        output(*container)
        times.append(time.monotonic() - started)
    return statistics.median(times)


def main() -> None:
    """Print the tables."""
    images = current_images()
    base = json.loads(RECORD.read_text(encoding="utf-8"))["build_arguments"].get("BASE_IMAGE")
    print("| image | MB | MB compressed | of it packages, MB |\n|---|---|---|---|")
    for target, image in {**({"base": base} if base else {}), **images}.items():
        size = int(output("docker", "image", "inspect", "--format={{.Size}}", image))
        space = output("docker", "run", "--rm", image, "python3", "-c", SPACE) if target in images else ""
        print(f"| {target} | {size / 1e6:.0f} | {compressed_bytes(image) / 1e6:.0f} | {space} |")
    print("\n| step | container, s | first line of work, s | its libraries, s |\n|---|---|---|---|")
    for step, (target, libraries) in STEPS.items():
        start = START.format(step)
        measured = (
            seconds(images[target], "true"),
            seconds(images[target], "python3", "-c", start),
            seconds(images[target], "python3", "-c", "\n".join([start, *(f"import {name}" for name in libraries)])),
        )
        print(f"| {step} | " + " | ".join(f"{figure:.2f}" for figure in measured) + " |", flush=True)


if __name__ == "__main__":
    main()
