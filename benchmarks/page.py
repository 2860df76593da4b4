"""Write docs/performance.md and its drawings from benchmarks/results: every word of it comes from the scripts."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import measure

DOCS = Path(__file__).parents[1] / "docs"
ASSETS = "assets/performance"
INTRODUCTION = """# Performance

Written by `make bench` from `benchmarks/results/`; not edited by hand. Speeds are ratios of medians of
interleaved runs (A B A B ...) in one process group on the same data, with pinned threads and warm-up apart. A ratio is
expressed so that higher is better. Minimum, median and maximum of each speed are in `benchmarks/results/*.json`.

Most of the first ratios is "stop padding to 128 tokens": a text has about 14 of them, and anyone can do that. What is
this project's own are the rows that are compared with the same batching, and the shares of what the machine can do.
"""
NUMBER = re.compile(r"[-+]?[\d.,]+ ?[x%]?")
ORDER = ("training", "quality", "export", "scoring", "predict", "overhead", "growth")


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a Markdown table; numbers are aligned to the right."""
    numeric = [bool(rows) and all(NUMBER.fullmatch(str(row[i])) for row in rows) for i in range(len(columns))]
    lines = [columns, ["---:" if right else "---" for right in numeric], *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def number(value: float) -> str:
    """Return a figure with four significant digits, large ones with all of theirs."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def row_table(ratios: Mapping[str, Mapping[str, Any]], words: Mapping[str, Mapping[str, str]]) -> str:
    """Return the table of some rows of ``ratios.json``."""
    rows = []
    for name, row in ratios.items():
        met = "met" if row["ratio"] >= row["target"] else "**missed**"
        figures = [number(row[key]) for key in ("ratio", "target")]
        sides = [f"{number(row['a'])} {row['unit']}", f"{number(row['b'])} {row['unit']}"]
        rows.append([name.replace("_", " "), *figures, met, *sides, words.get(name, {}).get("against", "")])
    return table(["row", "ratio", "target", "", "ours", "other", "the other is"], rows)


def section(script: str, ratios: Mapping[str, Mapping[str, Any]], result: Mapping[str, Any]) -> str:
    """Return the section of one script."""
    words = result.get("rows", {})
    parts = [f"## {result.get('title', script.capitalize())}", machine(result)]
    own = {name: ratios[name] for name in words if name in ratios}
    parts += [row_table(own, words)] if own else []
    said = [sentence for name in own if (sentence := row_words(name, words[name]))]
    parts += ["\n".join(said)] if said else []
    parts += result.get("notes", [])
    for given in result.get("tables", []):
        parts += [f"**{given['title']}**", table(given["columns"], given["rows"])]
    for given in result.get("plots", []):
        parts += [f"![{given['name']}]({draw(given)})"]
    return "\n\n".join(part for part in parts if part)


def row_words(name: str, words: Mapping[str, str]) -> str:
    """Return what a row's script says of it, as one item of a list."""
    labels = (("limit", "limit"), ("rest", "what takes the rest"), ("notes", ""))
    said = [f"{label}: {words[key]}" if label else words[key] for key, label in labels if words.get(key)]
    return f"- {name.replace('_', ' ')}: {'. '.join(part.rstrip('.') for part in said)}." if said else ""


def machine(result: Mapping[str, Any]) -> str:
    """Return where and on what a script was run."""
    found = result.get("machine")
    if not found:
        return ""
    flags = ", ".join(found["cpu_flags"]) or "none"
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    data = f" Data: {result['data']}." if result.get("data") else ""
    return f"{found['threads']} thread{'s' * (found['threads'] > 1)}, {found['cpu']} ({flags}); {versions}.{data}"


def draw(plot: Mapping[str, Any]) -> str:
    """Draw a plot, and return its path below ``docs``."""
    from matplotlib import colormaps

    from kfp_textclf.components.common import plots

    panels = {
        title: {name: [(float(x), float(y)) for x, y in points] for name, points in lines.items()}
        for title, lines in plot["panels"].items()
    }
    figure = plots.curves(panels, plot["x"])
    for axis in figure.axes:
        if plot.get("log"):
            axis.set(xscale="log", yscale="log")
        if len(axis.get_lines()) > 1:
            for place, line in enumerate(axis.get_lines()):
                line.set_color(colormaps["tab10"](place))
            axis.legend(loc="upper left", bbox_to_anchor=(0, -0.15))  # below: lines cross the whole panel
            figure.set_size_inches(12, 6.5)
    path = DOCS / ASSETS / f"{plot['name']}.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(plots.to_svg(figure), encoding="utf-8")
    return f"{ASSETS}/{path.name}"


def overview(ratios: Mapping[str, Mapping[str, Any]]) -> str:
    """Draw how far every row is from its target, and count those that are met."""
    from kfp_textclf.components.common import plots

    met = [row["ratio"] >= row["target"] for row in ratios.values()]
    shares = {name.replace("_", " "): row["ratio"] / row["target"] for name, row in ratios.items()}
    figure = plots.bars({"ratio / target (1: met)": shares})
    figure.set_size_inches(9, 0.9 + 0.24 * len(shares))
    path = DOCS / ASSETS / "overview.svg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(plots.to_svg(figure), encoding="utf-8")
    counted = f"{sum(met)} of the {len(met)} targets that were measured are met."
    return f"{counted}\n\n![ratio over target]({ASSETS}/{path.name})"


def main() -> None:
    """Write the page."""
    ratios = measure.load(measure.RATIOS)
    parts = [INTRODUCTION, *([overview(ratios)] if ratios else [])]
    results = {script: measure.load(f"{script}.json") for script in ORDER}
    if missing := [script for script, result in results.items() if not result.get("rows")]:
        parts.append(f"Not measured here yet: {', '.join(missing)}. `make bench ONLY=NAME` measures their rows.")
    parts += [section(script, ratios, result) for script, result in results.items() if result]
    text = "\n\n".join(part.strip() for part in parts) + "\n"
    (DOCS / "performance.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
