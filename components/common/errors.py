"""The error that is the user's to mend."""


class UserError(Exception):
    """Something in the input is wrong.

    The message is one line that names the thing, the place and the fix. Command lines print it without a traceback and
    exit with code 2; inside a Kubeflow step it is the last line of the log.
    """

    def __init__(self, message: str) -> None:
        """Keep ``message`` on one line."""
        super().__init__(" ".join(message.split()))
