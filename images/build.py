"""Build the images of this checkout, and push them; what they are called is recorded in ``build/images.json``."""

import argparse
import json
import subprocess
import sys

from kfp_textclf.components.images import REGISTRY, TARGETS, VERSION, image_name
from kfp_textclf.pipelines.sources import CHECKOUT, RECORD, content_hash, current_images


class BuildError(Exception):
    """The one line a user reads: what is wrong, and how to fix it."""


def docker(*arguments: str) -> str:
    """Run the docker command and return what it prints.

    Raises:
        BuildError: It is missing or fails.
    """
    try:
        done = subprocess.run(["docker", *arguments], stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603, S607
    except FileNotFoundError as error:
        raise BuildError("docker: command not found; install Docker") from error
    except subprocess.CalledProcessError as error:
        raise BuildError(f"docker {arguments[0]} failed (exit code {error.returncode}); see above") from error
    return done.stdout


def build(target: str, name: str, build_arguments: dict[str, str]) -> None:
    """Build the image of a target; the newest commit and the base image are among its labels."""
    print(f"building {name}", file=sys.stderr)
    docker("build", "--quiet", *_options(target, name, build_arguments))


def build_with_attestations(target: str, name: str, build_arguments: dict[str, str]) -> str:
    """Build and push an image, with its provenance and its bill of materials, and return its name by digest."""
    print(f"building {name}", file=sys.stderr)
    metadata = RECORD.with_name(f"{target}.json")
    metadata.parent.mkdir(exist_ok=True)
    attestations = ["--provenance=mode=max", "--sbom=true", f"--metadata-file={metadata}"]
    docker("buildx", "build", "--push", *attestations, *_options(target, name, build_arguments))
    digest = json.loads(metadata.read_text(encoding="utf-8"))["containerimage.digest"]
    return f"{name.rpartition(':')[0]}@{digest}"


def _options(target: str, name: str, build_arguments: dict[str, str]) -> list[str]:
    labels = {"title": f"kfp-textclf-{target}", "version": VERSION, "revision": _revision()}
    if base := build_arguments.get("BASE_IMAGE"):
        labels["base.name"] = base
    options = [f"--label=org.opencontainers.image.{label}={value}" for label, value in labels.items()]
    options += [f"--build-arg={argument}={value}" for argument, value in build_arguments.items()]
    return [*options, f"--file={CHECKOUT / 'images/Dockerfile'}", f"--target={target}", f"--tag={name}", str(CHECKOUT)]


def push(name: str) -> str:
    """Push an image and return its name by digest."""
    docker("push", "--quiet", name)
    repository = name.rpartition(":")[0]
    digests = json.loads(docker("image", "inspect", "--format={{json .RepoDigests}}", name))
    return next(digest for digest in digests if digest.startswith(f"{repository}@"))


def in_registry(name: str) -> str:
    """Return the name by digest of an image that the registry has, or an empty string."""
    command = ["docker", "buildx", "imagetools", "inspect", "--format={{json .Manifest}}", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return f"{name.rpartition(':')[0]}@{json.loads(done.stdout)['digest']}" if done.returncode == 0 else ""


def is_here(name: str) -> bool:
    """Return whether the container engine has an image."""
    return bool(docker("image", "ls", "--quiet", name).strip())


def record(images: dict[str, str], build_arguments: dict[str, str]) -> None:
    """Write what the images of the present content are called."""
    RECORD.parent.mkdir(exist_ok=True)
    here = {target: name for target, name in images.items() if is_here(name)}
    sizes = {target: int(docker("image", "inspect", "--format={{.Size}}", name)) for target, name in here.items()}
    content = {
        "content_hash": content_hash(build_arguments),
        "build_arguments": build_arguments,
        "images": images,
        "bytes": sizes,
    }
    RECORD.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _revision() -> str:
    command = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--abbrev=40", "--match="]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603


def main() -> None:
    """Build, and push if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE", help="as of docker build")
    parser.add_argument("--registry", default=REGISTRY)
    parser.add_argument("--tag", help="default: the hash of everything that goes into the images")
    parser.add_argument("--missing", action="store_true", help="do nothing when the images are here already")
    parser.add_argument("--push", action="store_true", help="unless a tag is given, only what the registry lacks")
    parser.add_argument("--attest", action="store_true", help="push with provenance and bill of materials (buildx)")
    options = parser.parse_args()
    if options.missing and all(is_here(name) for name in current_images().values()):
        return
    build_arguments = dict(sorted(argument.split("=", 1) for argument in options.build_arg))
    tag = options.tag or content_hash(build_arguments)
    images = {target: image_name(target, tag, options.registry) for target in TARGETS}
    for target, name in images.items():
        if options.push and not options.tag and (pushed := in_registry(name)):
            images[target] = pushed
        elif options.push and options.attest:
            images[target] = build_with_attestations(target, name, build_arguments)
        else:
            build(target, name, build_arguments)
            if options.push:
                images[target] = push(name)
    record(images, build_arguments)
    print("\n".join(images.values()))


if __name__ == "__main__":
    try:
        main()
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
