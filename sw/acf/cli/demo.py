"""``acf demo``: a trained sparse layer on a device, and a page of pictures."""

import time
from pathlib import Path
from typing import Annotated

import typer

from acf.cli.options import DeviceOption, PortOption, PresetOption
from acf.config import preset as find_preset

__all__ = ["demo"]


def demo(
    preset: PresetOption = "base",
    device: DeviceOption = "rtl",
    port: PortOption = None,
    images: Annotated[int, typer.Option("--images", help="Test images to run, of 359.")] = 256,
    seed: Annotated[int, typer.Option("--seed", help="Of the split and the training.")] = 1,
    output: Annotated[Path, typer.Option("--output", "-o", help="Page to write.")] = Path("build/demo/index.html"),
) -> None:
    """Train a small network on digits, prune it to 90 %, run its hidden layer on the fabric, and draw a page about it.

    Exit status 1 if a bit or a prediction differs from the golden model's.
    """
    config = find_preset(preset)
    started = time.monotonic()

    def progress(text: str) -> None:
        print(f"[{time.monotonic() - started:5.1f} s] {text}", flush=True)

    from acf.runtime.demo.experiment import run_demo
    from acf.runtime.demo.page import make_page

    result = run_demo(config, device=device, port=port, images=images, seed=seed, progress=progress)
    report = result.measurement.report()
    agreeing = int((result.predictions == result.golden_predictions).sum())
    progress(f"bits {'as' if report['bit_exact'] else 'NOT as'} the golden product's, "
             f"{agreeing} of {len(result.labels)} predictions as the golden model's, "
             f"accuracy {100 * result.fabric_accuracy:.1f} %")  # fmt: skip
    if report["cycles"] is not None:
        progress(f"{report['cycles']:,} cycles, {report['dense_cycles']:,} with skipping off: "
                 f"{report['speedup']:.1f} x, ideal {report['ideal_speedup']:.1f} x; "
                 f"{100 * report['utilization']:.0f} % utilization")  # fmt: skip
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(make_page(result), encoding="utf-8")
    progress(f"drew {output}")
    if not result.succeeded:
        raise RuntimeError(f"the {device} device and the golden model differ (seed {seed})")
