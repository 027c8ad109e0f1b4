#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The largest Lyapunov exponent of the Lorenz system over a grid of parameters.

    srun --dtask -N4 -n8 --cpus-per-task=4 --mem-per-cpu=50 python3 lyapunov.py
    dtask run -n 4 -- python3 lyapunov.py

Each point (sigma, rho, beta) of the grid in lyapunov.json is one call of `exponent` on a worker.
The results go to lyapunov.csv and, drawn where Matplotlib is installed, to lyapunov.png. The
literature's value at (10, 28, 8/3) is 0.9056.
"""

import argparse
import csv
import itertools
import json
import os
import sys
import time
from fractions import Fraction

import numpy as np

from dtask import Client

CLASSIC = (10.0, 28.0, 8 / 3)
LITERATURE = 0.9056


def exponent(sigma, rho, beta, members, step, settle, shortest, longest, tolerance):
    """The largest exponent (1/time), its standard error, and the time it was averaged over.

    An ensemble of `members` trajectories, each with a tangent vector that is rescaled after every
    tenth step (Benettin et al. 1980), by the classical Runge-Kutta method. After `settle` units
    of time the growth is averaged over `shortest` to `longest` units, until the standard error
    over the ensemble is below `tolerance`.

    Flow and tangent flow together are linear in fourteen numbers, the six of the state and eight
    products of two of them: a derivative is one multiplication and one small matrix product for
    all members at once.
    """
    X, A, Y, Z, B, C, XY, XZ, XB, XC, AY, AZ = range(12)  # (A, B, C) is tangent to (X, Y, Z)
    h = step * min(1.0, (28 / rho) ** 0.5)  # the faster rotation of a large rho
    linear = np.zeros((6, 14))
    linear[X, [X, Y]] = -sigma, sigma
    linear[Y, [X, Y, XZ]] = rho, -1, -1
    linear[Z, [Z, XY]] = -beta, 1
    linear[A, [A, B]] = -sigma, sigma
    linear[B, [A, B, AZ, XC]] = rho, -1, -1, -1
    linear[C, [C, AY, XB]] = -beta, 1, 1
    steps = h / 2 * linear, h / 2 * linear, h * linear, h * linear
    weights = np.array([2, 4, 2, 1]) / 6

    random = np.random.default_rng(1)
    size = max(rho - 1, 1.0)
    start, stage = np.empty((2, 14, members))  # the state and its products
    state = start[:6]
    state[[X, Y]] = random.uniform(-1, 1, (2, members)) * size**0.5
    state[Z] = random.uniform(0.5, 1.5, members) * size
    state[[A, B, C]] = random.normal(size=(3, members))
    increments = np.empty((4, 6, members))
    increment = np.empty((6, members))

    def derive(numbers, step, out):
        np.multiply(numbers[:2, None], numbers[Y : C + 1], out=numbers[6:].reshape(2, 4, members))
        np.dot(step, numbers, out=out)

    growth = np.zeros(members)
    elapsed = -settle
    while True:
        for _ in range(10):
            derive(start, steps[0], increments[0])
            for k in 1, 2, 3:
                np.add(state, increments[k - 1], out=stage[:6])
                derive(stage, steps[k], increments[k])
            np.dot(weights, increments.reshape(4, -1), out=increment.reshape(-1))
            state += increment
        length = np.sqrt(state[A] ** 2 + state[B] ** 2 + state[C] ** 2)
        state[[A, B, C]] /= length
        elapsed += 10 * h
        if elapsed < 10 * h:  # settling, and the first rescaling after it
            elapsed = min(elapsed, 0.0)
            continue
        growth += np.log(length)
        if elapsed >= shortest:
            error = growth.std() / elapsed / members**0.5
            if error <= tolerance or elapsed >= longest:
                return growth.mean() / elapsed, error, elapsed


def read_parameters(path):
    """The grid (lists sigma, rho, beta) and the settings (dict) of a parameter file."""
    with open(path, encoding="utf-8") as file:
        settings = json.load(file)
    axes = []
    for name in ("sigma", "rho", "beta"):
        axis = settings.pop(name)
        if isinstance(axis, dict):
            axes.append(np.linspace(axis["from"], axis["to"], axis["count"]).tolist())
        else:
            axes.append([float(Fraction(value)) for value in axis])
    return axes, settings


def show_cluster(client):
    """Print the workers and what each may use."""
    print(f"{'worker':<12} {'node':<12} {'CPUs':>4} {'memory limit':>13}")
    for worker in sorted(client.workers(), key=lambda worker: worker.task):
        limit = f"{worker.memory_limit / 2**20:.0f} MiB" if worker.memory_limit else "none"
        print(f"{worker.name:<12} {worker.node:<12} {worker.nthreads:>4} {limit:>13}")
    sys.stdout.flush()


def write_table(path, points, results):
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["sigma", "rho", "beta", "exponent", "standard_error", "time"])
        for point, result in zip(points, results):
            table.writerow([f"{value:.10g}" for value in (*point, *result)])


def draw(path, axes, results):
    """Whether there is a picture: for that Matplotlib must be installed."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot

    sigma, rho, beta = axes
    grid = np.array([result[0] for result in results]).reshape([len(axis) for axis in axes])
    most = np.abs(grid).max()
    figure, panels = pyplot.subplots(
        1, len(beta), figsize=(1.5 + 3.2 * len(beta), 3.8), sharey=True, layout="constrained",
        squeeze=False,
    )
    for index, panel in enumerate(panels[0]):
        image = panel.pcolormesh(
            rho, sigma, grid[:, :, index], cmap="RdBu_r", vmin=-most, vmax=most, shading="nearest"
        )
        panel.set_title(f"beta = {Fraction(beta[index]).limit_denominator(100)}")
        panel.set_xlabel("rho")
        if np.isclose(beta[index], CLASSIC[2]):
            panel.plot(CLASSIC[1], CLASSIC[0], "k+", markersize=9)
    panels[0][0].set_ylabel("sigma")
    figure.colorbar(image, ax=panels[0].tolist(), label="largest Lyapunov exponent")
    figure.savefig(path, dpi=120)
    return True


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parameters", metavar="FILE", default=os.path.join(here, "lyapunov.json"))
    parser.add_argument("--output", metavar="DIR", default=".", help="where the results go")
    arguments = parser.parse_args()
    os.makedirs(arguments.output, exist_ok=True)
    axes, settings = read_parameters(arguments.parameters)
    points = list(itertools.product(*axes))

    with Client() as client:
        client.wait_for_workers(timeout=60)
        show_cluster(client)
        print(f"{len(points)} points", flush=True)
        began = time.monotonic()
        futures = client.map(exponent, *zip(*points), progress=True, **settings)
        results = client.gather(futures)
        print(f"{len(points)} points in {time.monotonic() - began:.1f} s")

    table = os.path.join(arguments.output, "lyapunov.csv")
    picture = os.path.join(arguments.output, "lyapunov.png")
    write_table(table, points, results)
    drawn = draw(picture, axes, results)
    for point, (value, error, _) in zip(points, results):
        if np.allclose(point, CLASSIC):
            print(
                f"largest exponent at (10, 28, 8/3): {value:.4f} +- {error:.4f} "
                f"(literature {LITERATURE}, difference {value - LITERATURE:+.4f})"
            )
    print(f"table:   {os.path.abspath(table)}")
    print(f"picture: {os.path.abspath(picture) if drawn else 'none, for want of Matplotlib'}")


if __name__ == "__main__":
    main()
