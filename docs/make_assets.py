"""Make the pictures of the documentation from real runs: ``make docs-assets``.

``docs/assets/run.svg`` is what ``make run`` prints on a terminal. The screenshots are of the report of a run on ATIS,
whose texts must not be published: every part of the page that shows one is taken away first.
"""

import argparse
import csv
import io
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "docs" / "assets"
ATIS = [ROOT / "data" / "atis" / f"atis_intents_{split}.csv" for split in ("train", "test")]
NEEDED = ("Makefile", "params.yaml", "pyproject.toml", "constraints.txt", "data")
COLUMNS = 100
SHOTS = {  # name: colour scheme, width and height in CSS pixels, pixels of the picture for each
    "report-light": ("light", 1120, 1500, 1.0),
    "report-dark": ("dark", 1120, 1500, 1.0),
    "report-phone": ("light", 390, 1500, 1.5),
}
COLOURS = 64
# Takes away the parts of the page that show one of the texts, and returns the texts that are still there.
HIDE = """const texts = arguments[0];
  const shown = element => (element.textContent || "").toLowerCase();
  for (const part of document.querySelectorAll("main section, main details"))
    if (texts.some(text => shown(part).includes(text))) part.remove();
  return texts.filter(text => shown(document.documentElement).includes(text));"""


def main() -> None:
    """Run the pipeline on the sample and on ATIS, and draw what they show."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--report", type=Path, help="Report of a run on ATIS, in place of a new run.")
    report = parser.parse_args().report
    if missing := [path for path in ATIS if not path.exists()]:
        sys.exit(f"error: {missing[0]}: is not there; run `make data` first")
    ASSETS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name in NEEDED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
            copy(ROOT / name, Path(scratch) / name)
        command = ["make", "--no-print-directory", "run", f"VENV={sys.prefix}"]
        shown = typed(command, Path(scratch))
        for here, there in ((os.path.relpath(sys.prefix, scratch), ".venv"), (scratch, "~/kfp-textclf")):
            shown = shown.replace(here, there)
        (ASSETS / "run.svg").write_text(terminal_svg("make run", shown), encoding="utf-8")
        if not report:
            typed([*command, "DATASET=atis"], Path(scratch))
            report = Path(scratch) / "runs" / "latest" / "report.html"
        screenshots(report, corpus(ATIS))


def typed(command: list[str], directory: Path) -> str:
    """Run a command on a terminal and return what stands there at the end, colours included.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    shown, terminal = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "TERM": "xterm-256color", "OMP_WAIT_POLICY": "PASSIVE"}
    process = subprocess.Popen(  # noqa: S603
        command, cwd=directory, env=environment, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    output = b""
    try:
        while part := os.read(shown, 65536):
            output += part
    except OSError:  # how Linux says that the other end was closed
        pass
    os.close(shown)
    if process.wait():
        raise subprocess.CalledProcessError(process.returncode, command, output)
    lines = output.decode(errors="replace").replace("\r\n", "\n").split("\n")
    return "\n".join(re.split(r"\r(?:\x1b\[K)?", line)[-1] for line in lines)


def terminal_svg(prompt: str, output: str) -> str:
    """Return a terminal with a command and its output as SVG, without fonts from the network."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print(Text(f"$ {prompt}", style="bold"))
    console.print(Text.from_ansi(output.rstrip()))
    svg = console.export_svg(title="kfp-textclf", unique_id="run")
    return re.sub(r" *@font-face \{.*?\}\n", "", svg, flags=re.DOTALL)


def corpus(files: Collection[Path]) -> list[str]:
    """Return the texts of CSV files of labels and texts, in lower case; those of one word are labels as well."""
    texts = (row[-1].strip().lower() for file in files for row in csv.reader(file.read_text("utf-8").splitlines()))
    return sorted({text for text in texts if " " in text})


def screenshots(report: Path, texts: Collection[str]) -> None:
    """Write a screenshot of a report for every shot, without the parts that show one of the texts."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for flag in ("--headless", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(flag)
    with webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver"))) as browser:
        for name, (scheme, width, height, scale) in SHOTS.items():
            media = [{"name": "prefers-color-scheme", "value": scheme}]
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
            window = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 500}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
            browser.get(report.resolve().as_uri())
            if left := browser.execute_script(HIDE, list(texts)):
                raise RuntimeError(f"{len(left)} texts of the corpus are still on the page")
            save(browser.get_screenshot_as_png(), ASSETS / f"{name}.png")


def save(picture: bytes, path: Path) -> None:
    """Write a screenshot with as few colours as it needs: a third of its size."""
    from PIL import Image

    Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS).save(path, optimize=True)


if __name__ == "__main__":
    main()
