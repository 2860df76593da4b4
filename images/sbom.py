"""Write a CycloneDX bill of materials of the Python packages in each image, or in those named, to ``build/sbom/``."""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from kfp_textclf.pipelines.sources import CHECKOUT, current_images

SITE_PACKAGES = "lib/python3.11/site-packages"
PACK = f"cd /opt/venv/{SITE_PACKAGES} && tar -c -- *.dist-info"


def write_sbom(image: str, output: Path) -> None:
    """Write the bill of materials of one image.

    The tool reads the metadata of an environment's packages, so the image's metadata are put into an empty one.
    """
    with tempfile.TemporaryDirectory() as directory:
        venv.create(directory)
        site = Path(directory, "lib", f"python3.{sys.version_info.minor}", "site-packages")
        container = ["docker", "run", "--rm", "--network=none", image, "sh", "-c", PACK]
        packed = subprocess.run(container, stdout=subprocess.PIPE, check=True).stdout  # noqa: S603
        subprocess.run(["tar", "-x", "-C", str(site)], input=packed, check=True)  # noqa: S603, S607
        command = [sys.executable, "-m", "cyclonedx_py", "environment", directory, f"--output-file={output}"]
        subprocess.run([*command, "--output-reproducible", "--spec-version=1.6"], check=True)  # noqa: S603


if __name__ == "__main__":
    folder = CHECKOUT / "build" / "sbom"
    folder.mkdir(parents=True, exist_ok=True)
    images = current_images()
    for target in sys.argv[1:] or images:
        write_sbom(images[target], folder / f"{target}.cdx.json")
        print(folder / f"{target}.cdx.json")
