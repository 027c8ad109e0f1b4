# SPDX-License-Identifier: Apache-2.0
"""Pictures of what bench/run found, as SVG: ``plots.py ROWS.json DIRECTORY`` draws them again."""

import json
import os
import re
import sys

COLOURS = {"dtask": "#1f6f8b", "Dask, saturation 1.1": "#c8553d", "Dask, saturation inf": "#e0a458"}


def draw(rows, directory):
    """Draw `grain.svg` and `scale.svg` there, of what the rows have."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "dtask", "svg.fonttype": "none", "font.size": 9, "axes.grid": True,
                                "grid.alpha": 0.3, "axes.spines.top": False,
                                "axes.spines.right": False})
    from matplotlib import pyplot

    os.makedirs(directory, exist_ok=True)
    curves = {}
    for row in rows:
        curves.update(row.get("points") or {})
    if curves:
        grain(pyplot, curves, os.path.join(directory, "grain.svg"))
    costs = [row for row in rows if row["unit"] == "us a task"]
    if costs:
        scale(pyplot, costs, os.path.join(directory, "scale.svg"))


def save(pyplot, figure, path):
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


def grain(pyplot, curves, path):
    figure, (rate, efficiency) = pyplot.subplots(1, 2, figsize=(8, 3))
    for peer, points in curves.items():
        grains = [point["grain_us"] for point in points]
        for axes, what in ((rate, "tasks_per_s"), (efficiency, "efficiency")):
            axes.plot(grains, [point[what] for point in points], marker="o", markersize=3,
                      label=peer, color=COLOURS.get(peer))
    rate.set(xscale="log", yscale="log", xlabel="grain, µs", ylabel="tasks a second")
    efficiency.set(xscale="log", ylim=(0, 1.05), xlabel="grain, µs", ylabel="efficiency")
    efficiency.axhline(0.5, color="grey", linewidth=0.8, linestyle="--")
    rate.legend(frameon=False)
    save(pyplot, figure, path)


def scale(pyplot, rows, path):
    tasks, workers = {}, {}
    for row in rows:
        found = re.fullmatch(r"(\w+) of ([\d.]+)(k|M|), (\d+) workers?", row["what"])
        if not found:
            continue
        shape, count, unit, n = found.groups()
        count = float(count) * {"": 1, "k": 1e3, "M": 1e6}[unit]
        if row["against"]:
            workers.setdefault(f"{shape} of {found[2]}{unit}", []).append((int(n), row["ours"]))
        elif shape == "map":
            tasks.setdefault(f"{shape}, {n} workers", []).append((count, row["ours"]))
    figure, both = pyplot.subplots(1, 2, figsize=(8, 3), sharey=True)
    for axes, lines, name in zip(both, (tasks, workers), ("tasks", "simulated workers")):
        for label, points in lines.items():
            axes.plot(*zip(*sorted(points)), marker="o", markersize=3, label=label)
        axes.set(xscale="log", xlabel=name)
        axes.legend(frameon=False)
    both[0].set_ylim(0, None)  # of both, once all lines are drawn
    both[0].set_ylabel("scheduler's CPU time, µs a task")
    save(pyplot, figure, path)


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:
        draw(json.load(file), sys.argv[2])
