"""Order, probability and threshold of the bundled scorer on judged collections.

    python benchmarks/quality.py --data DIR

`DIR` holds the collections that the calibration's recipe names, in BEIR's layout. Every figure is out of fold: the
weights that score a question were fitted without it. Two tables: all questions of the dev splits, and the first ones
only, in file order (the settings of the trial that the targets come from). Then the shipped weights, which were fitted
on these questions too, for comparison. Intervals are 95 % bootstrap intervals over questions.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from rich.progress import Progress, TaskID

from limiar.cli.model import print_figures
from limiar.modelbuild.candidates import gather
from limiar.modelbuild.fit import FloatArray, out_of_fold_logits
from limiar.modelbuild.recipe import DEFAULT_RECIPE, load_recipe
from limiar.modelbuild.report import Figures, figures
from limiar.scoring.late_interaction import LateInteractionScorer

TRIAL_QUESTIONS = {"juristcu": 75, "squad_pt": 150, "faquad": 150, "cranfield": 60}
CACHE_MB = 4000


def main(argv: Sequence[str] | None = None) -> None:
    """Gather, fit out of fold, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--recipe", type=Path, default=DEFAULT_RECIPE)
    parser.add_argument("--json", type=Path, help="write the figures there")
    args = parser.parse_args(argv)

    recipe = load_recipe(args.recipe)
    scorer = LateInteractionScorer(cache_mb=CACHE_MB)
    with Progress() as bar:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        gathered = gather(args.data, recipe, scorer, progress)

    def table(title: str, logits: Sequence[FloatArray], first: dict[str, int] | None = None) -> list[Figures]:
        rows = [
            figures(entry.name, gathered, logits, first=first.get(entry.name) if first else None)
            for entry in recipe.collections
        ]
        print_figures(title, rows)
        return rows

    held_out = out_of_fold_logits(gathered, recipe)
    shipped = [scorer.logits_of(candidates.features) for candidates in gathered]
    results = {
        "out_of_fold": table("Out of fold, all dev questions", held_out),
        "out_of_fold_first": table("Out of fold, the first dev questions", held_out, TRIAL_QUESTIONS),
        "shipped": table("Shipped weights (fitted on these questions too)", shipped),
    }
    if args.json:
        args.json.write_text(
            json.dumps({key: [vars(row) for row in rows] for key, rows in results.items()}, indent=2), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
