"""``kfp-textclf report``: a run for the people who review a pull request, in Markdown that GitHub shows."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kfp_textclf.components.common.report import (
    Block,
    Facts,
    Links,
    Log,
    Quantity,
    Section,
    Table,
    Verdict,
    format_bytes,
    render_sections,
)
from kfp_textclf.components.common.significance import METRICS, in_words
from kfp_textclf.components.compare.comparison_report import comparison_blocks
from kfp_textclf.components.evaluate.evaluation_report import METRIC_NAMES, variant_names
from kfp_textclf.components.select.sweep_report import candidates_table
from kfp_textclf.pipelines import run_changes
from kfp_textclf.pipelines.advice import advice
from kfp_textclf.pipelines.compare import compare_runs
from kfp_textclf.pipelines.comparison_report import sentence
from kfp_textclf.pipelines.run_diagrams import learning_curve, steps_diagram
from kfp_textclf.pipelines.run_record import CANCELED, FAILED, SUCCEEDED, RunRecord

LONGEST = 60_000  # bytes: GitHub takes comments of 65,536 characters
LAST_LINES, LOG_LINES = 15, 200
SPLITS = ("train", "validation", "test")


def run_report(records: Sequence[RunRecord]) -> str:
    """Return the report on a run; further ones are those that it is compared with.

    Sections for which the record lacks what they need are left out, and named.

    Args:
        records: At least one run.
    """
    record = records[0]
    sections: list[Section] = [Section("verdict", _verdict(record), 0)]
    missing: list[str] = []

    def add(name: str, rank: int, blocks: Callable[[], Sequence[Block]]) -> None:
        try:
            found = blocks()
        except (LookupError, TypeError, ValueError, AttributeError):
            missing.append(name)
            return
        if found:
            sections.append(Section(name, found, rank))

    content, others = record.content, records[1:]
    add("places", 2, lambda: _places(record))
    if record.state != SUCCEEDED:
        add("failure", 1, lambda: _failure(record))
    elif content:
        add("champion", 1, lambda: _champion(content))
        add("other runs", 2, lambda: _against(record, others))
        add("candidates", 3, lambda: _candidates(content))
        add("variants", 3, lambda: [_variants(content)])
        add("classes that changed", 6, lambda: run_changes.classes(content, _reference(content, others)))
        add("confusions that got worse", 5, lambda: run_changes.confusions(content, _reference(content, others)))
    add("data", 4, lambda: _data(content))
    add("time and cost", 5, lambda: _steps(record))
    add("learning curve", 8, lambda: learning_curve(content))
    add("parameters", 9, lambda: _parameters(content))
    add("log", 10, lambda: _log(record))
    notes = [record.problem, f"The record of the run lacks what these need: {', '.join(missing)}." if missing else ""]
    subtitle = " ".join(filter(None, (_subtitle(record), *notes)))
    return render_sections(f"Run {record.name}", subtitle, sections, LONGEST)


def _verdict(record: RunRecord) -> list[Block]:
    reason = str(record.content.get("reason") or "")
    last = record.error.splitlines()[-1:] or ["its log tells why"]
    if record.state == FAILED:
        return [Verdict(f"Failed at {record.failed_step or 'an unknown step'}", last[0], good=False, alarm=True)]
    if record.state == CANCELED:
        return [Verdict("Cancelled", f"{_progress(record)} Nothing was published.", good=False)]
    if record.state != SUCCEEDED:
        text = f"The run goes on, or was killed. {_progress(record)} Nothing is known of its result."
        return [Verdict("Not finished", text, good=False, alarm=True)]
    if record.content.get("verdict") == "promote":
        return [Verdict(f"Promote{_in_short(record.content)}", reason, good=True)]
    if record.content.get("verdict") == "reject":
        return [Verdict(f"Reject{_in_short(record.content)}", reason, good=False)]
    return [Verdict("Succeeded", "The run left no evaluation that can be read from here.", good=True)]


def _in_short(content: Mapping[str, Any]) -> str:
    """Return what the tests say of the model beside the champion; empty when there is none."""
    try:
        found = content["champion"]["comparison"]["metrics"][METRICS[0]]
        return f", {in_words(found['second'] - found['first'], found['p_value'])} against the champion"
    except (KeyError, TypeError):
        return ""


def _progress(record: RunRecord) -> str:
    done = [step.name for step in record.steps if step.state == SUCCEEDED]
    return f"Finished steps: {', '.join(done)}." if done else "No step had finished."


def _subtitle(record: RunRecord) -> str:
    dataset = record.content.get("dataset")
    parts = []
    if isinstance(dataset, dict) and isinstance(dataset.get("rows"), dict):
        counts = [(split, dataset["rows"].get(split)) for split in SPLITS]
        rows = ", ".join(f"{count:,} {split}" for split, count in counts if isinstance(count, int))
        parts.append(f"Data{' ' + str(dataset['name']) if dataset.get('name') else ''}: rows {rows}.")
    arguments = record.content.get("arguments")
    if isinstance(arguments, dict) and arguments.get("base_model"):
        parts.append(f"Base model {arguments['base_model']}.")
    return " ".join(parts)


def _failure(record: RunRecord) -> list[Block]:
    """Return the last lines of what failed, and what to do."""
    step = record.failed_step or (record.steps[-1].name if record.steps else "")
    own = next((lines for name, lines in record.logs.items() if step and name.endswith(f"-{step}")), [])
    lines = (own or record.error.splitlines() or [[], *record.logs.values()][-1])[-LAST_LINES:]
    blocks: list[Block] = [Log(f"Last lines of {step or 'the run'}", lines, folded=False)] if lines else []
    on_cluster = "link" in record.content
    if record.state == FAILED or not on_cluster:
        what = advice([*lines, *record.error.splitlines()], on_cluster)
    else:
        what = "Look at the run's page. A run that goes on needs nothing; one that has ended may be submitted again."
    if record.state != CANCELED:
        blocks.append(Facts([("What to do", what)]))
    return blocks


def _champion(content: Mapping[str, Any]) -> list[Block]:
    champion = content.get("champion")
    if not champion:
        return []
    comparison = champion["comparison"]
    rows = [
        (METRIC_NAMES[name], *_difference(found, "second", "first", found["p_value"]))
        for name, found in comparison["metrics"].items()
    ]
    note = (
        f"On the same {comparison['rows']:,} held-out texts: paired bootstrap. Only the champion is right on "
        f"{comparison['only_first_right']:,}, only this model on {comparison['only_second_right']:,}: exact McNemar "
        f"test p {comparison['mcnemar_p']:.2g}."
    )
    columns = ("metric", "this model", "champion", "difference", "95 % interval", "p", "")
    return [Table(f"Against the champion {champion['version']}", columns, rows, note)]


def _difference(found: Mapping[str, Any], this: str, other: str, p_value: float) -> tuple[Any, ...]:
    """Return the cells of a metric of two models, this one minus the other; what was tested is second minus first."""
    low, high = (found["low"], found["high"]) if this == "second" else (-found["high"], -found["low"])
    difference = found[this] - found[other]
    words = in_words(difference, p_value)
    return (
        found[this],
        found[other],
        Quantity(f"{difference:+.4f}"),
        Quantity(f"{low:+.4f} to {high:+.4f}"),
        Quantity(f"{p_value:.2g}"),
        words,
    )


def _against(record: RunRecord, others: Sequence[RunRecord]) -> list[Block]:
    """Return the comparison with other runs that have a result, and name those that have none."""
    if not others:
        return []
    blocks: list[Block] = []
    known = [other for other in others if other.run]
    without = [(other.name, other.state.lower()) for other in others if not other.run]
    if record.run and known:
        comparison = compare_runs([record.run, *(other.run for other in known if other.run)])
        for i, (other, entry) in enumerate(zip(known, comparison["significance"], strict=True), start=1):
            if "metrics" not in entry:
                without.append((other.name, sentence(entry, i, len(known) + 1)))
                continue
            rows = [
                (METRIC_NAMES[name], *_difference(found, "first", "second", found["p_adjusted"]))
                for name, found in entry["metrics"].items()
            ]
            columns = ("metric", "this run", "the other", "difference", "95 % interval", "p", "")
            note = f"On {entry['common_rows']:,} common held-out texts."
            blocks.append(Table(f"Against the run {other.name}", columns, rows, note))
        if comparison["parameters"]:
            names = ["parameter", "this run", *(other.name for other in known)]
            rows = [(name, *("" if v is None else str(v) for v in vs)) for name, vs in comparison["parameters"].items()]
            blocks.append(Table("Parameters that differ", names, rows))
    if without:
        blocks.append(Table("Not compared", ("run", "why"), without))
    return blocks


def _reference(content: Mapping[str, Any], others: Sequence[RunRecord]) -> run_changes.Reference | None:
    """Return what the classes are compared with: the champion, else the first other run."""
    champion = content.get("champion")
    if champion and "confusion_matrix" in champion:
        return run_changes.Reference.of_champion(champion)
    found = next((other for other in others if other.run and "confusion_matrix" in other.content), None)
    return run_changes.Reference.of_run(found.name, found.content) if found else None


def _variants(content: Mapping[str, Any]) -> Table:
    rows: list[Sequence[Any]] = [
        (
            name,
            *(figures[metric] for metric in METRIC_NAMES),
            Quantity(format_bytes(figures["size_bytes"])),
            Quantity(f"{figures['latency_ms_p50']:.2f} / {figures['latency_ms_p99']:.2f}"),
            round(figures["rows_per_second"]),
        )
        for name, figures in ((name, content["variants"][variant]) for variant, name in variant_names(content).items())
    ]
    for name, figures in content["baselines"].items():
        rows.append((f"baseline {name}", *(figures[metric] for metric in METRIC_NAMES), "", "", ""))
    columns = ("model", *METRIC_NAMES.values(), "size", "p50 / p99 ms", "rows/s")
    return Table("Variants", columns, rows, f"On {content['rows']:,} held-out texts.")


def _candidates(content: Mapping[str, Any]) -> list[Block]:
    sweep = content.get("sweep")
    return [candidates_table(sweep["ranking"], sweep["metric"])] if sweep else []


def _data(content: Mapping[str, Any]) -> list[Block]:
    """Return what changed since the champion's data, and else what the data are."""
    changes = content.get("data_changes")
    if changes and changes["champion"]:
        before, now = changes["dataset"]["before"], changes["dataset"]["now"]
        if before and before["files"] == now["files"]:
            return [Facts([("Data", "the same files as the champion's")])]
        return comparison_blocks(changes)
    files = content.get("dataset", {}).get("files", {})
    return [Table("Data", ("file", "md5"), [(path, file["md5"]) for path, file in files.items()])] if files else []


def _steps(record: RunRecord) -> list[Block]:
    if not record.steps:
        return []
    rows = [
        (
            step.title,
            "reused" if step.cached else step.state.lower(),
            Quantity("" if step.cached or step.seconds is None else f"{step.seconds:,.1f} s"),
            Quantity("" if step.energy_wh is None else f"{step.energy_wh:.2f} Wh"),
            Quantity("" if step.cost is None else f"{step.cost:.4f}"),
        )
        for step in record.steps
    ]
    total = sum(step.seconds or 0.0 for step in record.steps if not step.cached)
    costs = [step.cost for step in record.steps if step.cost is not None]
    note = f"In all {total:,.0f} s." if total else ""
    if costs:
        note += f" Cost {sum(costs):.4f}, by the price table of the parameters."
    return [steps_diagram(record.steps), Table("", ("step", "state", "time", "energy", "cost"), rows, note)]


def _places(record: RunRecord) -> list[Block]:
    """Return where to look on: the dashboard, W&B or how to get it there, and what was published."""
    content = record.content
    items = [("KFP run", str(content["link"]))] if content.get("link") else []
    tracking = content.get("tracking") or {}
    items += [(f"W&B, {step}", str(tracked["url"])) for step, tracked in tracking.items() if tracked.get("url")]
    published = content.get("published")
    if published:
        items.append((f"Published as version {published['version']}", str(published["uri"])))
    blocks: list[Block] = [Links(items)] if items else []
    offline = [str(tracked["directory"]) for tracked in tracking.values() if tracked.get("directory")]
    if offline and all(map(os.path.isdir, offline)):
        where = os.path.relpath(os.path.commonpath(offline))
        blocks.append(Facts([("W&B", f"tracked offline; to send it: kfp-textclf track sync {where}")]))
    return blocks


def _parameters(content: Mapping[str, Any]) -> list[Block]:
    arguments = content.get("arguments") or {}
    rows = [
        (name, str(value)) for name, value in sorted(arguments.items()) if name not in ("dataset_pin", "candidates")
    ]
    return [Table("Parameters", ("parameter", "value"), rows, folded=True)] if rows else []


def _log(record: RunRecord) -> list[Block]:
    lines = [line for name, log in record.logs.items() for line in (f"== {name}", *log)]
    left_out = [f"... {len(lines) - LOG_LINES:,} lines before"] if len(lines) > LOG_LINES else []
    return [Log("Log", [*left_out, *lines[-LOG_LINES:]])] if lines else []
