"""A picture of a compiled pipeline: its steps by image, what they read and write outside, and the artifacts between."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from typing import Any

import yaml

# Pipeline parameters that name a place outside of the cluster, with what lies there.
PLACES = {
    "dataset_pin": "DVC remote: pinned texts",
    "base_model": "base model",
    "publish_to": "model store: versions",
    "champion_uri": "model store: champion",
    "checkpoint_uri": "checkpoints",
}
COLUMN, ROW, LEFT, TOP, STEP_WIDTH, STEP_HEIGHT = 100, 26, 132, 20, 86, 64
STYLE = """
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1b2430; }
.soft { fill: #5c6675; font-size: 12px; } .label { text-anchor: end; }
.step { font-weight: 600; fill: #fff; text-anchor: middle; }
.small { fill: #fff; font-size: 11px; text-anchor: middle; } .rail { stroke: #8a94a3; stroke-width: 2; fill: none; }
.place { stroke: #b7791f; stroke-width: 2; fill: none; } .dot { fill: #8a94a3; } .hole { fill: #b7791f; }
.cpu { fill: #2563eb; } .export { fill: #7c3aed; } .gpu { fill: #13794a; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6eaf0; } .soft { fill: #9aa5b4; } .step, .small { fill: #fff; }
}
"""


@dataclass
class Step:
    """A step: its name, the image that it runs in, and what reaches and leaves it."""

    name: str
    image: str
    guard: str = ""
    after: list[str] = field(default_factory=list)
    places: set[str] = field(default_factory=set)
    reads: set[tuple[str, str]] = field(default_factory=set)


def picture(compiled: str) -> str:
    """Return the SVG of a compiled pipeline.

    Args:
        compiled: The pipeline as YAML.
    """
    spec = next(iter(yaml.safe_load_all(compiled)))
    steps = _in_order({step.name: step for step in _steps(spec, spec["root"]["dag"], {}, {}, "", [])})
    column = {step.name: LEFT + index * COLUMN for index, step in enumerate(steps)}
    places = [name for name in PLACES if any(name in step.places for step in steps)]
    outputs = sorted({source for step in steps for source in step.reads}, key=lambda o: (column[o[0]], o[1]))
    middle = TOP + ROW * len(places)
    bottom = middle + STEP_HEIGHT + 22
    drawn = []
    for row, place in enumerate(places):
        ends = [column[step.name] + STEP_WIDTH / 2 for step in steps if place in step.places]
        drawn += _rail(PLACES[place], TOP + ROW * row, ends, middle, "place", "hole")
    for row, (producer, name) in enumerate(outputs):
        users = [step.name for step in steps if (producer, name) in step.reads]
        ends = [column[step] + STEP_WIDTH / 2 for step in (producer, *users)]
        drawn += _rail(name, bottom + ROW * row, ends, middle + STEP_HEIGHT, "rail", "dot")
    for step in steps:
        drawn += _box(step, column[step.name], middle)
    width, height = LEFT + COLUMN * len(steps), bottom + ROW * len(outputs) + 24
    images = sorted({step.image for step in steps})
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">',
            f"<title>{escape(spec['pipelineInfo']['name'])}: {escape(', '.join(step.name for step in steps))}</title>",
            f"<style>{STYLE}</style>",
            *_legend(images, height - 16),
            *drawn,
            "</svg>",
            "",
        ]
    )


def _steps(
    spec: dict[str, Any],
    dag: dict[str, Any],
    parameters: dict[str, str],
    artifacts: dict[str, set[tuple[str, str]]],
    guard: str,
    after: list[str],
) -> Iterator[Step]:
    """Yield the steps of a graph and of those within it.

    Args:
        spec: The whole pipeline.
        dag: The graph.
        parameters: Pipeline parameter behind each of the graph's input parameters; empty at the root: the same.
        artifacts: Outputs of steps behind each of the graph's input artifacts.
        guard: Condition under which the graph runs.
        after: Steps that end before it begins.
    """
    tasks, leaves = dag["tasks"], {name: list(_names(spec, dag, name)) for name in dag["tasks"]}
    for name, task in tasks.items():
        component = spec["components"][task["componentRef"]["name"]]
        inputs = task.get("inputs", {})
        named = {}
        for key, value in inputs.get("parameters", {}).items():
            source = value.get("componentInputParameter", "")
            named[key] = parameters.get(source, "" if parameters else source)
            if "taskOutputParameter" in value and key in PLACES:  # preflight_run says what exactly lies there
                named[key] = key
        read = {key: _sources(value, artifacts) for key, value in inputs.get("artifacts", {}).items()}
        before = [*after, *(leaf for other in task.get("dependentTasks", []) for leaf in leaves[other])]
        condition = "if promoted" if "triggerPolicy" in task else guard
        if "dag" in component:
            yield from _steps(spec, component["dag"], named, read, condition, before)
        else:
            image = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]["image"]
            step = Step(name, image.rpartition("kfp-textclf-")[2].partition(":")[0], condition, before)
            step.places = {value for value in named.values() if value in PLACES}
            step.reads = {source for sources in read.values() for source in sources}
            yield step


def _names(spec: dict[str, Any], dag: dict[str, Any], name: str) -> Iterator[str]:
    inner = spec["components"][dag["tasks"][name]["componentRef"]["name"]].get("dag")
    if not inner:
        yield name
    for task in inner["tasks"] if inner else ():
        yield from _names(spec, inner, task)


def _sources(value: dict[str, Any], known: dict[str, set[tuple[str, str]]]) -> set[tuple[str, str]]:
    """Return the (step, output) pairs behind an input artifact."""
    if "componentInputArtifact" in value:
        return known[value["componentInputArtifact"]]
    output = value["taskOutputArtifact"]
    return {(output["producerTask"], output["outputArtifactKey"])}


def _in_order(steps: dict[str, Step]) -> list[Step]:
    """Return the steps so that each comes after those that it waits for, by name where that leaves a choice."""
    ordered: dict[str, Step] = {}
    while len(ordered) < len(steps):
        ready = sorted(n for n, step in steps.items() if n not in ordered and ordered.keys() >= set(step.after))
        ordered[ready[0]] = steps[ready[0]]
    return list(ordered.values())


def _rail(label: str, y: float, ends: list[float], edge: float, line: str, dot: str) -> list[str]:
    """Return a labelled horizontal line that is joined to the steps' edge at every end."""
    drawn = [f'<text class="soft label" x="{min(ends) - 12:g}" y="{y + 4:g}">{escape(label)}</text>']
    drawn.append(f'<path class="{line}" d="M{min(ends):g} {y:g}H{max(ends):g}"/>')
    for x in ends:
        drawn.append(f'<path class="{line}" d="M{x:g} {y:g}V{edge:g}" opacity="0.35"/>')
        drawn.append(f'<circle class="{dot}" cx="{x:g}" cy="{y:g}" r="4"/>')
    return drawn


def _box(step: Step, x: float, y: float) -> list[str]:
    first, _, second = step.name.partition("-")
    lines = [(first, "step"), (second, "step"), (step.guard, "small")]
    box = f'<rect class="{escape(step.image)}" x="{x}" y="{y}" width="{STEP_WIDTH}" height="{STEP_HEIGHT}" rx="8"/>'
    return [box] + [
        f'<text class="{style}" x="{x + STEP_WIDTH / 2:g}" y="{y + 20 + 17 * row}">{escape(text)}</text>'
        for row, (text, style) in enumerate(lines)
        if text
    ]


def _legend(images: list[str], y: float) -> list[str]:
    drawn = [f'<text class="soft" x="8" y="{y + 1}">image of the step</text>']
    for index, image in enumerate(images):
        x = LEFT + index * COLUMN
        drawn.append(f'<rect class="{escape(image)}" x="{x}" y="{y - 10}" width="14" height="14" rx="3"/>')
        drawn.append(f'<text class="soft" x="{x + 20}" y="{y + 1}">{escape(image)}</text>')
    return drawn
