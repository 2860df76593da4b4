"""Checks of single rows with pandera, batch by batch: counts and first examples, never a list of failures."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kfp_textclf.components.common.data_checks import EXAMPLES, ROW_CHECKS, CheckSettings, Finding, example
from kfp_textclf.components.prepare.cleaning import LABEL_SEPARATOR
from kfp_textclf.components.prepare.readers import place_of

if TYPE_CHECKING:
    import pandas as pd

# In RE2's syntax: linear in the length of the text, whatever the text.
PATTERNS = {
    "control_characters": r"[\x00-\x1F\x7F-\x9F\x{202A}-\x{202E}\x{2066}-\x{2069}]",
    # U+FFFD, and UTF-8 that was read as Latin-1 or Windows-1252: the lead bytes C2, C3, E2 and F0 as letters
    "replacement_characters": r"\x{FFFD}|[ÂÃ][\x{80}-\x{BF}]|â€|ï»¿|ðŸ",
    "no_letters": r"^[^\p{L}]+$",
    "markup": r"(?i)<[/!]?[a-z][^<>]*>|<\s*/?\s*script\b|&(?:[a-z]{2,8}|#x?[0-9a-f]{2,6});|javascript:",
    # OWASP, CSV injection: a cell that begins with = + - @; the last three only before a call or a pipe, because
    # dialogues begin with a dash and mentions with @
    "formula": r"^(?:=\s*[^\s=]|[+\-@][\p{L}\d_.+\-*/]*[(|!])",
    "link": r"(?i)\b(?:https?://|www\.)\S",
    "email_address": r"[\p{L}\d._%+-]+@[\p{L}\d-]+(?:\.[\p{L}\d-]+)*\.\p{L}{2,}",
}

# Of labels, where a class is wrong that looks like another or like nothing: also what is invisible (without joiners,
# which scripts need inside words), and any sign before more than a number
LABEL_PATTERNS = {
    "control_characters": PATTERNS["control_characters"] + r"|[\x{200B}\x{2060}\x{FEFF}]|^\p{Cf}+$",
    "formula": r"^(?:[=@].|[+\-][\d.,]*[^\d.,])",
}


class RowChecks:
    """Counts over batches of rows what each check looks for, and keeps the first few examples with their places."""

    def __init__(self, settings: CheckSettings) -> None:
        """Build the pandera schema of the checks that are not off."""
        self.settings = settings
        self.rows = 0
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {name: [] for name in ROW_CHECKS}
        self._schema = self._build_schema()

    def add(self, path: Path, numbers: Sequence[int], texts: Sequence[str], labels: Sequence[str]) -> None:
        """Look at the next rows of a file, normalised.

        Args:
            path: The file.
            numbers: Line or row number of each row.
            texts: Their texts.
            labels: Their labels.
        """
        import pandas as pd
        from pandera.errors import SchemaErrors

        self.rows += len(numbers)
        frame = pd.DataFrame({"text": pd.Series(texts, dtype="str"), "label": pd.Series(labels, dtype="str")})
        try:
            self._schema.validate(frame, lazy=True)
        except SchemaErrors as errors:
            for error in errors.schema_errors:
                name = getattr(error.check, "name", None)
                if name not in ROW_CHECKS or error.check_output is None:
                    raise  # not a check of ours: the schema itself, which the readers guarantee
                self._count(name, error.check_output, path, numbers, texts, labels)

    def _count(
        self,
        name: str,
        passed: Any,
        path: Path,
        numbers: Sequence[int],
        texts: Sequence[str],
        labels: Sequence[str],
    ) -> None:
        failed: list[int] = (~passed.to_numpy(dtype=bool)).nonzero()[0].tolist()
        self.counts[name] += len(failed)
        for row in failed[: EXAMPLES - len(self.examples[name])]:
            text, label, place = texts[row], labels[row], place_of(path, numbers[row])
            is_label = name in LABEL_PATTERNS and not _found(PATTERNS[name], [text])[0]
            self.examples[name].append(example(label, f"{place}: label") if is_label else example(text, place, label))

    def findings(self) -> list[Finding]:
        """Return what was found so far, per check that is not off."""
        return [
            Finding.of_share(name, self.counts[name], self.rows, self.examples[name])
            for name in ROW_CHECKS
            if self.settings.wants(name)
        ]

    def _build_schema(self) -> Any:
        import pandera.pandas as pa

        limits = self.settings.limits
        fewest, most = limits["min_characters"], limits["max_characters"]
        functions: dict[str, Callable[[pd.DataFrame], Any]] = {
            "empty": lambda rows: (rows["text"] != "") & (rows["label"] != ""),
            "short_text": lambda rows: (rows["text"] == "") | (rows["text"].str.len() >= fewest),
            "long_text": lambda rows: rows["text"].str.len() <= most,
            "multi_label": lambda rows: ~rows["label"].str.contains(LABEL_SEPARATOR, regex=False),
            **{name: _without(name) for name in PATTERNS},
        }
        checks = [
            pa.Check(functions[name], name=name, n_failure_cases=1) for name in ROW_CHECKS if self.settings.wants(name)
        ]
        columns = {name: pa.Column(str, nullable=False) for name in ("text", "label")}
        return pa.DataFrameSchema(columns, checks=checks, strict=True)


def _without(name: str) -> Callable[["pd.DataFrame"], Any]:
    """Return a function that says for each row whether its text, and its label, are without a pattern."""

    def passed(rows: "pd.DataFrame") -> Any:
        import pandas as pd

        found = _found(PATTERNS[name], rows["text"])
        if name in LABEL_PATTERNS:
            found |= _found(LABEL_PATTERNS[name], rows["label"])
        return ~pd.Series(found, index=rows.index)

    return passed


def _found(pattern: str, values: Any) -> Any:
    """Return for each value whether the pattern occurs in it, as a NumPy array."""
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.call_function("match_substring_regex", [pa.array(values)], pc.MatchSubstringOptions(pattern))
    return found.to_numpy(zero_copy_only=False)
