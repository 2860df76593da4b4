"""What a model is given of a text, when it is trained, judged and asked alike."""

import unicodedata


def normalise(text: str) -> str:
    """Return the text in Unicode NFC, without white space around it and with single spaces inside."""
    return " ".join(unicodedata.normalize("NFC", text).split())
