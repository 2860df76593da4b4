"""The command ``kfp-textclf``: given texts are labelled at once; the rest is `cli`, which takes longer to load."""

import errno
import sys
from collections.abc import Callable

from kfp_textclf.components.common.errors import UserError


def run(command: Callable[[], object]) -> None:
    """Run a command; a user error, and a full disk, is one line and exit code 2."""
    try:
        command()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror}; make room, and give the same command again", file=sys.stderr)
        sys.exit(2)


def main() -> None:
    """Run the command line."""
    run(_label if _only_texts(sys.argv[1:]) else _commands)


def _only_texts(arguments: list[str]) -> bool:
    """Return whether the arguments are ``predict MODEL TEXT...`` without options, so that there is nothing to parse."""
    return len(arguments) > 2 and arguments[0] == "predict" and not any(text.startswith("-") for text in arguments)


def _label() -> None:
    from kfp_textclf.pipelines.predict import predict_texts

    _, model, *texts = sys.argv[1:]
    predict_texts(model, texts, sys.stdout)


def _commands() -> None:
    from kfp_textclf.pipelines.cli import app

    app()


if __name__ == "__main__":
    main()
