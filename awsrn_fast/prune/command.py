"""``python -m awsrn_fast.prune``: measuring and removing weak branches of the reconstruction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from rich.table import Table
from torch import Tensor

import awsrn_fast
from awsrn_fast.arguments import Parser, real
from awsrn_fast.checkpoint import save_weights
from awsrn_fast.cli import console, results
from awsrn_fast.commands import spelled
from awsrn_fast.data import crop_to_multiple, downscale, find_images, read_rgb, sample_folder
from awsrn_fast.errors import UserError
from awsrn_fast.inference import Placed
from awsrn_fast.metrics import score, super_resolve
from awsrn_fast.models import SuperResolution
from awsrn_fast.remarks import say_if_slow

from .branches import contributions, without

EPILOG = """
A branch's contribution is E||alpha W * F|| over the images, as a share of all branches'. The branches are linear and
computed as one convolution of the largest kernel, so leaving out any other saves parameters and no work. Fine-tune the
result with the command that is printed at the end.
"""


def parser() -> Parser:
    """The command's arguments."""
    p = Parser(
        "prune",
        description="Remove branches of the reconstruction (AWMS) that contribute little.",
        epilog=EPILOG,
    )
    p.add_argument("weights", metavar="WEIGHTS", help="weights file (.safetensors, .pth) or bundled name")
    p.add_argument("-o", "--out", required=True, type=Path, metavar="FILE", help="pruned weights, .safetensors")
    p.add_argument(
        "--data",
        nargs="+",
        metavar="DIR",
        default=[str(sample_folder() / "valid")],
        help="folders of HR images to measure on, not those of the test (default: two embedded photographs)",
    )
    p.add_argument(
        "--below",
        type=real(0, 1),
        default=0.05,
        metavar="SHARE",
        help="remove branches whose share is below this, 0 to 1 (default: %(default)s)",
    )
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status. Raises UserError on wrong usage, before any computation."""
    args = parser().parse_args(argv)
    if args.out.suffix != ".safetensors":
        raise UserError(f"cannot write {args.out}: the suffix must be .safetensors")
    say_if_slow(torch.device("cpu"))
    model = awsrn_fast.load(args.weights)
    pairs = [_pair(path, model.scale) for path in find_images([Path(folder) for folder in args.data])]
    shares = contributions(model, (_as_tensor(lr) for lr, _ in pairs))
    removed = [k for k, share in shares.items() if share < args.below and share < max(shares.values())]
    results.print(_table(shares, removed))
    if not removed:
        console.print(f"no branch is below {args.below:.1%}: {args.out} is not written")
        return 0
    pruned = without(model, shares, removed)
    _say_what_it_saves(model, pruned, pairs)
    note = {"from": str(args.weights), "removed_kernels": removed, "fine_tuned": False}
    save_weights(args.out, pruned, training={**model.training_facts, "pruned": note})
    kernels = " ".join(map(str, pruned.tail.kernels))
    console.print(f"written: {args.out}; fine-tune it with")
    console.print(
        f"  {spelled('train')} --variant {model.facts.variant} --scale {model.scale} --kernels {kernels} "
        f"--init {args.out} --data ..."
    )
    return 0


def _pair(path: Path, scale: int) -> tuple[np.ndarray, np.ndarray]:
    hr = crop_to_multiple(read_rgb(path), scale)
    return downscale(hr, scale), hr


def _as_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def _table(shares: dict[int, float], removed: Sequence[int]) -> Table:
    table = Table("branch", "contribution", "")
    for k, share in shares.items():
        table.add_row(f"{k}x{k}", f"{share:.1%}", "removed" if k in removed else "")
    return table


def _say_what_it_saves(model: SuperResolution, pruned: SuperResolution, pairs: Sequence) -> None:
    before, after = model.facts, pruned.facts
    results.print(f"parameters: {before.parameters:,} to {after.parameters:,}")
    largest = [network.tail.kernels[-1] for network in (model, pruned)]
    if largest[0] == largest[1]:
        results.print(
            f"work: as before, since the branches are computed as one {largest[0]}x{largest[0]} convolution; only "
            "losing the largest would save some"
        )
    else:
        taps = " to ".join(f"{k * k} taps" for k in largest)
        work = [f"{facts.mult_adds_merged / 1e9:.1f} G" for facts in (before, after)]
        results.print(f"work: {taps}, {work[0]} to {work[1]} mult-adds for an output of 1280x720")
    psnr = [_psnr(network, pairs) for network in (model, pruned)]
    results.print(f"PSNR on {len(pairs)} images, not fine-tuned yet: {psnr[0]:.2f} to {psnr[1]:.2f} dB")


def _psnr(model: SuperResolution, pairs: Sequence) -> float:
    network = Placed(model.fuse())
    return fmean(score(super_resolve(network, lr), hr, model.scale).psnr for lr, hr in pairs)
